"""Where a number comes from: command, commit, versions, device and time of the run that made it."""

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

from nram.results.identity import config_hash
from nram.results.places import CHECKOUT

__all__ = ["code_version", "collect_provenance", "processor", "short_commit"]

CODE = ("nram", "notebooks", "pyproject.toml", "requirements.lock")  # paths whose uncommitted changes set `dirty`


def collect_provenance(
    config: dict,
    *,
    seconds: float,
    kernel: str,
    device: str | None = None,
    command: str | None = None,
    started_at: float | None = None,
    resumed: int = 0,
) -> dict:
    """What traces a number to its origin. Call it when the run has ended.

    seconds: how long the run took, training and evaluation. kernel: the implementation that ran. device: "cpu" or
    "cuda", by default the configuration's. command: by default the environment's NRAM_COMMAND, which the runner of
    notebooks sets, else this process's command line. started_at: Unix time, by default `seconds` ago. resumed: how
    often the training was interrupted and resumed.
    """
    device = device or config.get("device", "cpu")
    started = datetime.fromtimestamp(time.time() - seconds if started_at is None else started_at, UTC)
    return {
        "config_hash": config_hash(config),
        "command": command or os.environ.get("NRAM_COMMAND") or _command_line(),
        **code_version(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,  # names the build, such as +cpu; the package's metadata can lack it
            **{name: importlib.metadata.version(name) for name in ("numpy", "numba", "pandas")},
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else processor(),
        "kernel": kernel,
        "threads": torch.get_num_threads(),
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "resumed": resumed,
    }


def _command_line() -> str:
    """This process's command line, without the folder of the interpreter or of an installed script."""
    arguments = sys.orig_argv[1:]
    if "ipykernel_launcher" in arguments:
        return "a notebook, by hand"
    if arguments and "bin" in Path(arguments[0]).parts:
        return shlex.join([Path(arguments[0]).name, *arguments[1:]])
    return shlex.join(["python", *arguments])


def short_commit() -> str:
    """The checkout's commit for a row of a table, with "-dirty" if its code differs from that."""
    version = code_version()
    return (version["commit"] or "unknown")[:10] + ("-dirty" if version["dirty"] else "")


def code_version(checkout: Path = CHECKOUT) -> dict:
    """commit: the checkout's, None outside of a checkout. dirty: whether its code differs from that commit.

    A repository that merely contains the package is not its checkout.
    """

    def git(*arguments):
        command = ["git", "-C", str(checkout), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != checkout:
            return {"commit": None, "dirty": None}
        commit = git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--", *CODE))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def processor() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()
