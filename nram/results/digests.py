"""The digests of a run's files in its SHA256SUMS, which `sha256sum --check` reads too."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from nram.results.files import write_text

__all__ = ["SUMS", "add_sum", "damages", "write_sums"]

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write the digests of all other files of a folder, by name."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    _write(folder, {name: _digest(folder / name) for name in names})


def add_sum(folder: Path, name: str) -> None:
    """Add the digest of a file that has come into the folder, or replace it."""
    _write(folder, _read(folder) | {name: _digest(folder / name)})


def damages(folder: Path, needed: Iterable[str]) -> dict[str, str]:
    """What is wrong with a folder's files, in words by their names; needed: names of files that must have a digest."""
    try:
        sums = _read(folder)
    except ValueError as error:
        return {SUMS: f"is damaged: {error}"}
    lacking = [name for name in needed if name not in sums]
    if lacking:
        return {SUMS: f"is damaged: it lacks {', '.join(lacking)}"}
    found = {}
    for name, digest in sums.items():
        if not (folder / name).is_file():
            found[name] = "is missing: the run is broken"
        elif _digest(folder / name) != digest:
            found[name] = f"is damaged: its digest is not that in {SUMS}"
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(folder: Path, sums: dict[str, str]) -> None:
    write_text(folder / SUMS, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def _read(folder: Path) -> dict[str, str]:
    """Digests by name. Raises ValueError for a line that is none."""
    text = (folder / SUMS).read_text(encoding="utf-8")
    lines = [re.fullmatch(r"([0-9a-f]{64})  (\w[\w.-]*)\n", line) for line in text.splitlines(keepends=True)]
    if not all(lines):
        raise ValueError(f"line {lines.index(None) + 1} holds no digest")
    return {line[2]: line[1] for line in lines}
