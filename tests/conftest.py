"""Settings that all tests share: one thread, no deadline for property tests, the same examples on every CI run."""

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tests")
