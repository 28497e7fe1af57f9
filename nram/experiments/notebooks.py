"""Execute one notebook with papermill, in a fresh kernel with an environment of its own."""

import contextlib
import difflib
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nram.training import status

__all__ = ["Failure", "describe", "execute"]

SOCKET_PATH = 100  # longest path of a socket in characters; Linux allows 107, macOS 103
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
# What users set for their own sessions: figures belong in the notebook, and no file of theirs is executed.
USERS = ("MPLBACKEND", "PYTHONSTARTUP")
COLORS = re.compile(r"\x1b\[[0-9;]*m")


def execute(notebook: Path, aside: Path, parameters: dict, *, threads: int, command: str):
    """Execute a notebook in its own folder with papermill; returns the executed notebook and writes it to `aside`.

    threads: of the kernel. command: the one that the provenance of its runs names. A kernel that does not start gets
    a second try. Raises what papermill raises, RuntimeError for a kernel that died and for a notebook that ended before
    its last cell, ValueError for an unknown parameter.
    """
    check_parameters(notebook, parameters)
    for attempt in (1, 2):
        seen = {"started": False, "cell": None, "cells": 0}
        try:
            nb = _execute_once(notebook, aside, parameters, threads, command, seen)
            break
        except Exception:
            if seen["started"] or attempt == 2:
                raise
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            raise RuntimeError(f"{notebook.name} ended before its cell {number}")
    return nb


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Raise ValueError, naming the valid ones, if a parameter is not in the notebook's parameters cell."""
    import papermill

    valid = list(papermill.inspect_notebook(str(notebook)))
    for name in parameters:
        if name not in valid:
            near = difflib.get_close_matches(name, valid, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"{notebook.name} has no parameter {name!r}{hint} It has: {', '.join(valid) or 'none'}")


def _execute_once(notebook: Path, aside: Path, parameters: dict, threads: int, command: str, seen: dict):
    """One attempt; writes into `seen` whether the kernel started, how many cells, the last one that started."""
    import papermill
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError

    # Another kernel can take a port between its choice and its use; nobody can take a socket in a fresh folder.
    # Windows has no such sockets.
    folder = socket_folder()
    transport = {} if os.name == "nt" else {"transport": "ipc", "ip": os.path.join(folder, "kernel")}

    class PrivateKernelManager(AsyncKernelManager):
        def __init__(self, **options):
            super().__init__(**transport, **options)

        @property
        def kernel_spec(self):
            """The running interpreter's kernel, whatever others the paths lead to."""
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, language="python", display_name="Python 3", name="python3")

    def on_cell_execute(cell_index: int, **_) -> None:
        seen["cell"] = cell_index
        status.tell("notebook cell", done=cell_index, total=seen["cells"])

    for name in USERS:
        os.environ.pop(name, None)
    os.environ.update(kernel_environment(threads, folder, command))
    try:
        with contextlib.chdir(notebook.parent):  # relative paths mean what they mean in JupyterLab
            return papermill.execute_notebook(
                notebook.name,
                os.path.relpath(aside),
                parameters,
                progress_bar=False,
                kernel_manager_class=PrivateKernelManager,
                iopub_timeout=60,
                coalesce_streams=True,
                shutdown_kernel="immediate",
                on_notebook_start=lambda notebook, **_: seen.update(started=True, cells=len(notebook.cells)),
                on_cell_execute=on_cell_execute,
            )
    except DeadKernelError as error:
        raise RuntimeError(f"the kernel died in cell {seen['cell']}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def socket_folder() -> str:
    """A fresh folder for a kernel's sockets: in /tmp if the usual place is too deep for the system."""
    folder = tempfile.mkdtemp(prefix="nram-")
    if len(os.path.join(folder, "kernel-10")) <= SOCKET_PATH or os.name == "nt":
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="nram-", dir="/tmp")


def kernel_environment(threads: int, folder: str, command: str) -> dict[str, str]:
    """Environment of a kernel: its threads, its own folder for sockets and settings, the command for the provenance."""
    settings = os.path.join(folder, "matplotlibrc")
    with open(settings, "w", encoding="utf-8"):
        pass  # matplotlib's defaults, not the user's
    return {
        **dict.fromkeys(THREAD_COUNTS, str(threads)),
        "OMP_WAIT_POLICY": "PASSIVE",  # Numba's threads and PyTorch's compete for the cores if both spin
        "NRAM_COMMAND": command,
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's settings before the user's
        "JUPYTER_RUNTIME_DIR": folder,
        "IPYTHONDIR": folder,  # without the user's start-up files
        "MATPLOTLIBRC": settings,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # silences the debugger's message at each start
    }


@dataclass(frozen=True)
class Failure:
    """Why a notebook failed. error: one line. detail: everything known."""

    error: str
    detail: str


def describe(error: BaseException) -> Failure:
    """A failure from an exception; if a cell raised it, from the cell's error."""
    if type(error).__name__ == "PapermillExecutionError":
        detail = COLORS.sub("", "\n".join(error.traceback))
        return Failure(f"cell {error.cell_index}: {error.ename}: {error.evalue}".splitlines()[0], detail)
    text = str(error) or type(error).__name__
    expected = isinstance(error, ValueError | RuntimeError | OSError)
    return Failure((text if expected else f"{type(error).__name__}: {text}").splitlines()[0], text)
