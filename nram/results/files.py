"""Files that are whole or absent whenever a process is killed, and folders in which one process works at a time."""

import contextlib
import csv
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Busy", "append_row", "force_to_disk", "hold", "locked", "named", "write_bytes", "write_text"]

FAR = 2**30  # hold this byte on Windows, past all content: a held byte cannot be read there


class Busy(OSError):
    """Another process works in the same folder."""


# Writing


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all. Makes its folder."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside it first, forced to disk, then renamed. Makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with named(path):
            staging.write_bytes(content)
            force_to_disk(staging)
            os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
    force_to_disk(path.parent)


def append_row(file: TextIO, columns: Sequence[str], row: Mapping) -> None:
    """Append a row to an open CSV file and force it to disk. Keys without a column are left out."""
    text = io.StringIO()
    csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n").writerow(row)
    file.write(text.getvalue())
    file.flush()
    os.fsync(file.fileno())


def force_to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk. On Windows this does nothing for folders."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
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

    wait: seconds to wait for the other process. The hold ends with the process, however that ends.
    """
    deadline = time.monotonic() + wait
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "a+") as file:
            if not hold(file):
                if time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                file.seek(0)
                other = file.read().strip() or "unknown"
                raise Busy(f"another {doing} (process {other}) works in {folder}: wait for it, or use another folder")
            if not _is_at(file, folder / ".lock"):
                continue  # the previous holder has just removed the folder
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
            return


def hold(file) -> bool:
    """Hold an open file for this process until it is closed. False if another process holds it."""
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
    return True


def _is_at(file, path: Path) -> bool:
    """Whether an open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
