"""Files that are whole or absent whenever a process is killed, and folders in which one process at a time works."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Busy", "force_to_disk", "hold", "locked", "named", "write_bytes", "write_text"]

FAR = 2**30  # a byte past what is ever written: on Windows a byte that is held cannot be read


class Busy(OSError):
    """Another process works in the same folder."""


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all; its folder is made."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: aside, forced to disk, then renamed. Its folder is made."""
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


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """In an OSError that names no file, as of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def force_to_disk(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk. Windows does not do that for folders."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hold(file) -> bool:
    """Hold an open file for this process, until it is closed; False if another process holds it."""
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


@contextlib.contextmanager
def locked(folder: Path, doing: str, wait: float = 0.0) -> Iterator[None]:
    """Hold a folder for this process; it is made. Raises Busy, saying what the other is `doing`, if one holds it.

    wait: seconds in which the other may come to its end. The hold ends with the process, however that ends.
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
                continue  # the holder before removed the folder just now
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield
            return


def _is_at(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
