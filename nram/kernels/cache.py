"""Where Numba keeps compiled code: beside the source, in the user's cache, or for one command in a temporary folder.

Import this file before a function is compiled with `cache=CACHED`.
"""

import atexit
import os
import shutil
import tempfile
import warnings

import numba
from numba.core.caching import FunctionCache

__all__ = ["CACHED"]


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


CACHED = _place()
