"""The package as a wheel: it has all its files, and works in a fresh environment, far from any checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from nram.results import CHECKOUT

TINY = (
    "--budget 1 --cases 5 --max-complexity 4 --quiet --set population=4 --set train_difficulty=3 --set kernel=reference"
)
LARGEST = 5_000_000  # bytes


def test_every_package_is_listed():
    setuptools = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {path.parent.relative_to(CHECKOUT) for path in (CHECKOUT / "nram").rglob("__init__.py")}
    data = set(setuptools["package-dir"])
    assert set(setuptools["packages"]) == {".".join(folder.parts) for folder in found} | data
    assert all((CHECKOUT / folder).is_dir() for folder in setuptools["package-dir"].values())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("nram", "notebooks", "results/paper", "results/recorded"):
        shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    pip = [sys.executable, "-m", "pip", "--isolated", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "--wheel-dir", str(folder), str(source)], check=True)
    (path,) = folder.glob("*.whl")
    shutil.rmtree(source)
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The interpreter of a fresh environment with the wheel; everything else is that of the running environment."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--isolated", "--python", str(python), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True)
    return python


@pytest.mark.slow
def test_the_wheel_is_small_and_has_the_recorded_runs(wheel):
    assert wheel.stat().st_size < LARGEST, "then recorded runs do not belong in it"
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (CHECKOUT / "results" / "recorded").rglob("*.*"):
        if not path.name.startswith("."):
            assert f"nram/recorded/{path.relative_to(CHECKOUT / 'results' / 'recorded').as_posix()}" in names
    assert {"nram/paper/table1_results.csv", "nram/notebooks/10_task.ipynb", "nram/report/assets/style.css"} <= names


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the environment's folders have other names")
def test_the_commands_work_from_an_empty_folder(python, tmp_path):
    def nram(arguments: str) -> str:
        command = [str(python), "-m", "nram", *arguments.split()]
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        kept["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")  # has nbconvert's templates
        done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    asked = [str(python), "-c", "import nram; print(nram.__file__)"]
    where = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(where).is_relative_to(python.parent.parent), "not the checkout's"
    assert "| access | len(A) |" in nram(f"train --task access {TINY}") and (tmp_path / "results" / "runs").is_dir()
    assert "| access | len(A) |" in nram("table")
    assert "| task | measure | recorded | mine |" in nram("compare")
    assert "access" in nram("verify results/runs --cases 5 --max-complexity 4 --quiet")
    nram("report --runs results/runs")
    assert "Access" in (tmp_path / "results" / "report" / "index.html").read_text(encoding="utf-8")
