"""Files that are whole or absent whenever a process is killed, and folders in which one process works at a time."""

import contextlib
import csv
import errno
import io
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = [
    "Busy",
    "append_row",
    "force_to_disk",
    "hold",
    "locked",
    "mend_rows",
    "named",
    "prove_writable",
    "write_bytes",
    "write_text",
]

# A file system answers so that lacks an operation, such as flock over NFS or fsync of a folder over SMB.
LACKING = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
FAR = 2**30  # hold this byte on Windows, past all content: a held byte cannot be read there


class Busy(OSError):
    """Another process works in the same folder."""


# Writing


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all. Makes its folder."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside it first, forced to disk, then renamed. Makes its folder.

    What is there and is no file, such as /dev/stdout, is written to as it is.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with named(path):
            staging.write_bytes(content)
            force_to_disk(staging)
            os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
    with named(path):
        force_to_disk(path.parent)


def append_row(file: TextIO, columns: Sequence[str], row: Mapping) -> None:
    """Append a row to an open CSV file and force it to disk. Keys without a column are left out."""
    text = io.StringIO()
    csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n").writerow(row)
    with named(file.name):
        file.write(text.getvalue())
        file.flush()
        _sync(file.fileno())


def mend_rows(path: Path) -> None:
    """Remove the half-written last row that a killed process, or a full disk, left in a CSV file."""
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        os.truncate(path, len(text[: text.rfind("\n") + 1].encode()))


def force_to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk, where the system can: Windows not for folders."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in LACKING:
            raise


def prove_writable(path: Path, is_file: bool = False) -> None:
    """Raise OSError naming the path unless a folder, or a file, can be written there. Leaves nothing behind.

    It writes a temporary file into the folder, and makes and removes what is missing of the path to it.
    """
    path = Path(path)
    if path.exists() and path.is_dir() == is_file:
        code = errno.EISDIR if is_file else errno.ENOTDIR
        raise OSError(code, os.strerror(code), str(path))
    if is_file and path.exists() and not path.is_file():
        return  # a device
    folder = path.parent if is_file else path
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        code = errno.ENOTDIR if error.errno == errno.EEXIST else error.errno
        raise OSError(code, os.strerror(code), str(path)) from error
    finally:
        for each in missing:
            with contextlib.suppress(OSError):
                each.rmdir()


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Put this file's name into an OSError that names none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


# Holding


@contextlib.contextmanager
def locked(folder: Path, doing: str, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder for this process, and make it. Raises Busy if another process holds it, saying what it is `doing`.

    wait: seconds to wait for the other process. The hold ends with the process, however that ends. Where the file
    system cannot hold, a warning names the folder.
    """
    deadline = time.monotonic() + wait
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "a+", encoding="utf-8") as file:
            if not hold(file):
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                file.seek(0)
                other = file.read().strip() or "unknown"
                raise Busy(f"another {doing} (process {other}) works in {folder}: wait for it, or use another folder")
            if not _is_at(file, folder / ".lock"):
                continue  # the previous holder has just removed the folder
            with named(file.name):
                file.truncate(0)
                file.write(f"{os.getpid()}\n")
                file.flush()
            yield
            return


def hold(file) -> bool:
    """Hold an open file for this process until it is closed. False if another process holds it.

    True with a warning if its file system cannot hold files: nothing then keeps another process away.
    """
    try:
        if fcntl is None:
            import msvcrt

            place = file.tell()
            file.seek(FAR)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            finally:
                file.seek(place)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in LACKING:
            error.filename = error.filename or file.name
            raise
        folder = Path(file.name).parent
        warnings.warn(f"{folder} is on a file system without locks: let no other process work there", stacklevel=2)
    return True


def _is_at(file, path: Path) -> bool:
    """Whether an open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
