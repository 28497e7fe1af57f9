"""Compiled code finds a place to stay, or does without one."""

import importlib
import os
import subprocess
import sys
import textwrap

import pytest

import nram

# As in a checkout of root's, for a user without a home: Numba finds no place but the one that it is given.
NO_PLACE = """
import sys, tempfile
from numba.core import caching
caching.CacheImpl._locator_classes = [caching.UserProvidedCacheLocator]
"""


def python(script: str, **options):
    code = NO_PLACE + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)


@pytest.mark.slow
def test_without_a_place_the_cache_is_temporary_and_shared_with_other_processes(tmp_path):
    script = """
        import os, subprocess
        from nram.kernels import adam, cache, cpu, share_cache
        share_cache()
        assert cache.CACHED and adam._compiled() and os.path.isdir(os.environ["NUMBA_CACHE_DIR"])
        assert cpu.will_compile()
        print(os.environ["NUMBA_CACHE_DIR"])
        child = ["-c", sys.argv[1] + "from nram.kernels import cache; assert cache.CACHED"]
        sys.exit(subprocess.run([sys.executable, *child]).returncode)
    """
    code = NO_PLACE + textwrap.dedent(script)
    environment = {"TMPDIR": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, NO_PLACE], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path)) and list(tmp_path.iterdir()) == [], "it goes with the process"
    assert done.stderr.count("every command compiles the kernels") == 1


def test_a_user_without_a_home_gets_no_folder_of_that_name(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where the user is in no list
    monkeypatch.setenv("HOME", "")
    importlib.reload(nram)
    assert os.environ["HOME"] == os.devnull


@pytest.mark.slow
def test_without_any_place_everything_runs_uncached():
    done = python(
        """
        def none(*_, **__):
            raise FileNotFoundError(2, "No usable temporary directory found")
        tempfile.mkdtemp = none
        import torch
        from nram.kernels import cache, cpu, fused
        from nram.program import compiled
        assert not cache.CACHED and cpu.will_compile() and compiled.run_batch
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("every process compiles its kernels") == 1
