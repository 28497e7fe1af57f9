"""A run's identity: the hash of its configuration, and the folder's name made from it."""

import hashlib
import json
import re

from nram.results.places import NOT_RUNS

__all__ = ["canonical", "check_name", "config_hash", "run_name"]


def config_hash(config: dict) -> str:
    """64 hexadecimal digits: SHA-256 over all settings, as JSON with sorted names.

    "format" does not count, and a device counts by its kind: cuda:1 as cuda. Equal numbers have equal hashes (120 and
    120.0), and so do tuples and lists. Raises ValueError for NaN and infinity, TypeError for a value that JSON lacks.
    """
    settings = {name: value for name, value in config.items() if name != "format"}
    if isinstance(settings.get("device"), str):
        settings["device"] = settings["device"].partition(":")[0]
    text = json.dumps(canonical(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value):
    """A JSON value with tuples as lists and whole floats as integers, at every depth."""
    if isinstance(value, dict):
        return {name: canonical(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def run_name(config: dict) -> str:
    """The name of a run's folder: <task>-<first 10 digits of the configuration's hash>."""
    return f"{config['task']}-{config_hash(config)[:10]}"


def check_name(name: str) -> None:
    """Raise ValueError unless a run's folder can have this name."""
    if not re.fullmatch(r"\w[\w.-]*", name) or name in NOT_RUNS:
        raise ValueError(f"a run cannot be named {name!r}: letters, digits, dots, dashes; not {', '.join(NOT_RUNS)}")
