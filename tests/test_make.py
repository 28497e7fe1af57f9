"""The Makefile on other people's machines: their variables do not leak in, and nothing finished is deleted."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from test_environment import PROJECT

from nram.results import CHECKOUT

# Stands for .venv/bin/python: runs, has pip, and logs its arguments and environment.
FAKE = """#!/bin/sh
{ echo "ran $*"; env; } >> "$LOG"
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with a space in its name that has what the Makefile needs, and a .venv whose interpreter is `FAKE`."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "environment.yml"):
        shutil.copy2(CHECKOUT / name, folder)
    script(folder / ".venv" / "bin" / "python", FAKE)
    return folder


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def finish(checkout: Path) -> Path:
    stamp = checkout / ".venv" / ".made-with-venv"
    stamp.touch()
    return stamp


def make(checkout: Path, *arguments: str, **environment: str):
    """Run make with these variables in the environment: (what it did, what the fake interpreter logged)."""
    log = checkout / "log"
    log.unlink(missing_ok=True)
    environment = {"PATH": os.environ["PATH"], "LOG": str(log)} | environment
    done = subprocess.run(["make", *arguments], cwd=checkout, env=environment, capture_output=True, text=True)
    return done, log.read_text() if log.exists() else ""


def with_conda(tmp_path: Path) -> str:
    """A PATH on which there is a conda; it logs like the fake interpreter."""
    script(tmp_path / "conda" / "conda", FAKE)
    return f"{tmp_path / 'conda'}:{os.environ['PATH']}"


def test_an_exported_conda_is_no_switch(checkout, tmp_path):
    finish(checkout)
    done, log = make(checkout, "env", CONDA="/usr/share/miniconda", PATH=with_conda(tmp_path))
    assert done.returncode == 0 and log == "", done.stderr


def test_conda_leaves_an_environment_of_another_kind_alone(checkout, tmp_path):
    stamp = finish(checkout)
    done, log = make(checkout, "env", "USE_CONDA=1", PATH=with_conda(tmp_path))
    assert done.returncode == 2 and "make clean removes it" in done.stderr
    assert stamp.exists() and "env create" not in log
    (checkout / ".venv" / "conda-meta").mkdir()
    done, log = make(checkout, "env", PATH=with_conda(tmp_path))
    assert done.returncode == 0 and "ran env update --prefix" in log and stamp.exists(), done.stderr


def test_an_environment_whose_interpreter_runs_is_not_cleared(checkout):
    script(checkout / ".venv" / "bin" / "python", '#!/bin/sh\ncase "$*" in *pip*) exit 1;; esac\n')
    mine = checkout / ".venv" / "mine"
    mine.touch()
    done, _ = make(checkout, "env", "PYTHON=false")
    assert done.returncode == 2 and mine.exists(), "without pip, and none can be had: an error, no deletion"


def test_of_pips_settings_only_those_of_the_index_stay(checkout):
    elsewhere = {"PIP_USER": "1", "PIP_TARGET": "/x", "PIP_PREFIX": "/x", "PIP_ROOT": "/x", "PIP_NO_DEPS": "1"}
    elsewhere |= {"PIP_REQUIRE_HASHES": "1", "PYTHONPATH": "/x", "PYTHONHOME": "/x"}
    index = {"PIP_INDEX_URL": "https://index.example/simple", "PIP_CERT": "/c", "PIP_CONFIG_FILE": "/dev/null"}
    done, log = make(checkout, "env", "PYTHON=none", **elsewhere, **index)
    assert done.returncode == 0, done.stderr
    assert "ran -m pip install --disable-pip-version-check --quiet --no-user --requirement requirements.lock" in log
    logged = set(log.splitlines())
    assert not {f"{name}={value}" for name, value in elsewhere.items()} & logged
    assert {f"{name}={value}" for name, value in index.items()} <= logged


def test_variables_count_on_the_command_line_alone(checkout):
    finish(checkout)
    others = {"TASKS": "copy", "BUDGET": "1", "RESULTS": "/x", "JOBS": "7", "DEVICE": "cuda", "LAB": "--x"}
    others |= {"PYTHON": "python2", "USE_CONDA": "1", "ENV": "/x", "RUN": "/x"}
    _, log = make(checkout, "reproduce", **others)
    assert "--tasks all --seed 0 --cases 1000 --results results --jobs 2 --device cpu" in log
    _, log = make(checkout, "reproduce", "BUDGET=7", "RESULTS=~/a b")
    assert "--budget 7 --seed 0 --cases 1000 --results ~/a b" in log


def test_lab_passes_options_on_and_finds_its_own_kernel_first(checkout):
    finish(checkout)
    _, log = make(checkout, "lab", "LAB=--allow-root --no-browser", JUPYTER_PATH="/theirs")
    assert "ran -m jupyterlab notebooks --allow-root --no-browser\n" in log
    assert f"JUPYTER_PATH={checkout}/.venv/share/jupyter:/theirs\n" in log
    _, log = make(checkout, "lab")
    assert f"JUPYTER_PATH={checkout}/.venv/share/jupyter\n" in log


@pytest.mark.slow
def test_make_admits_the_pythons_of_pyproject():
    """Asked of every interpreter that is on this machine."""
    (code,) = re.findall(r"^ADMITTED = (.*)$", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    admitted, tried = SpecifierSet(PROJECT["requires-python"]), 0
    names = [shutil.which(f"python3.{minor}") for minor in range(8, 16)] + [shutil.which("python3"), sys.executable]
    for name in filter(None, names):
        asked = [name, "-c", "import platform; print(platform.python_version())"]
        version = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
        if version:  # else a launcher of versions that has none
            tried += 1
            accepted = subprocess.run([name, "-c", code]).returncode == 0
            assert accepted == admitted.contains(version, prereleases=True), version
    assert tried


@pytest.mark.slow
def test_a_clone_has_the_same_bytes_where_line_ends_are_converted(tmp_path):
    if not (CHECKOUT / ".git").exists():
        pytest.skip("needs a git checkout")
    for setting in ("core.autocrlf=true", "core.eol=crlf"):
        clone = tmp_path / setting
        command = ["git", "-c", setting, "clone", "--quiet", "--config", setting, str(CHECKOUT), str(clone)]
        subprocess.run(command, check=True)
        for name in (".ci/run", "Makefile", "nram/__init__.py", "results/recorded/copy/generalization.csv"):
            assert b"\r" not in (clone / name).read_bytes(), name
