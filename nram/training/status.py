"""What a process tells of its work while it is at it: a small file, which the command that started it shows.

The environment names the file, so its name reaches the kernel of a notebook too. The file is always whole. It is not
forced to disk, and a write that fails stops nothing.
"""

import contextlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["FILE", "counted", "is_due", "read", "tell", "telling"]

FILE = "NRAM_STATUS"  # the environment variable; without it nothing is told
SECONDS = 1.0  # between two tellings of the same kind of work

_last = -math.inf


def is_due() -> bool:
    """Whether somebody listens and was last told something long enough ago."""
    return bool(os.environ.get(FILE)) and time.monotonic() >= _last + SECONDS


def tell(stage: str, **facts) -> None:
    """Replace what was told before. stage: the kind of work. facts: JSON values, which each stage has its own of."""
    global _last
    path = os.environ.get(FILE)
    if not path:
        return
    _last = time.monotonic()
    staging = Path(f"{path}.{os.getpid()}")
    with contextlib.suppress(OSError):
        staging.write_text(json.dumps({"stage": stage, "time": time.time(), **facts}), encoding="utf-8")
        os.replace(staging, path)


def counted(items: Iterable, stage: str, total: int) -> Iterator:
    """Yield the items, and tell how many of the total are done."""
    for done, item in enumerate(items):
        if done == 0 or is_due():
            tell(stage, done=done, total=total)
        yield item


@contextlib.contextmanager
def telling(path: Path | None) -> Iterator[None]:
    """While this lasts, this process and the kernels that it starts tell in a file, which is removed at the end.

    None: nobody listens, and nothing changes.
    """
    if path is None:
        yield
        return
    before = os.environ.get(FILE)
    os.environ[FILE] = str(path)
    tell("starting")
    try:
        yield
    finally:
        os.environ.pop(FILE)
        if before is not None:
            os.environ[FILE] = before
        with contextlib.suppress(OSError):
            path.unlink()


def read(path: Path) -> dict | None:
    """What was told last, with its stage and its time in Unix seconds; None if that cannot be read (any more)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
