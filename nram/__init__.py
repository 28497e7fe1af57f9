"""Neural Random-Access Machines: the machine, its ten tasks, training and the programs it learns."""

import importlib
import os
from typing import TYPE_CHECKING

from nram import results, tasks

if TYPE_CHECKING:
    from nram.model import Machine, load
    from nram.training.config import TrainConfig

__all__ = ["Machine", "TrainConfig", "load", "results", "tasks"]
__version__ = "0.1.0"

if os.path.expanduser("~") == "~":  # a user without a home: Jupyter would fail, and others make a folder named ~
    os.environ["HOME"] = os.devnull

_AT_FIRST_USE = {"Machine": "nram.model", "TrainConfig": "nram.training.config", "load": "nram.model"}


def __getattr__(name: str):
    """The names whose modules bring the kernels along: imported at first use, so that reading results stays light."""
    if name not in _AT_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_AT_FIRST_USE[name]), name)
