"""Where Numba keeps compiled code: beside the source, in the user's cache, or for one command in a temporary folder.

Import this file before a function is compiled with `cache=CACHED`.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

import numba
from numba.core.caching import FunctionCache

__all__ = ["CACHED", "digest"]


def _place() -> bool:
    """Whether there is a place to cache in. Makes a temporary one, with a warning, if Numba finds none.

    Processes that this one starts share the temporary folder, and it goes when this process ends. It has a fresh name,
    because loading what others could write there would execute it.
    """
    if _finds_one():
        return True
    said = "nothing can be written beside the code or in a cache of yours: "
    try:
        folder = tempfile.mkdtemp(prefix="nram-compiled-")
    except OSError:
        warnings.warn(f"{said}every process compiles its kernels", stacklevel=2)
        return False
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = folder
    warnings.warn(f"{said}every command compiles the kernels; NUMBA_CACHE_DIR can name a folder to keep", stacklevel=2)
    return _finds_one()


def _finds_one() -> bool:
    try:
        FunctionCache(_place)
    except RuntimeError:
        return False
    return True


def digest(sources: Iterable[Path]) -> str:
    """Hexadecimal digest of files' contents and of Numba's version.

    Numba's cache compares the time and size of one file. A function that is compiled from several holds this as well.
    """
    contents = [numba.__version__.encode(), *(path.read_bytes() for path in sources)]
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


CACHED = _place()
