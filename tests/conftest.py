"""Settings that all tests share: one thread, no deadline for property tests, the same examples on every CI run."""

import os
from functools import partial

import matplotlib
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tests")


@pytest.fixture
def execute(monkeypatch):
    """execute(name, **parameters): execute a notebook in this process, in its folder; what it shows."""
    from builders import execute_notebook

    from nram import results

    matplotlib.use("agg")
    monkeypatch.chdir(results.NOTEBOOKS)
    return partial(execute_notebook, monkeypatch=monkeypatch)
