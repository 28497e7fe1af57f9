"""What `make reproduce` ends with: where the results are, and what to run next."""

import shlex
import sys
from pathlib import Path

import pandas as pd

from nram import results

__all__ = ["closing"]


def closing(table: pd.DataFrame, folder: Path) -> str:
    """Lines that name the places below `folder` and the commands for what is left of the frame `table1`."""
    shown, site = _short(folder), folder / "report" / "index.html"
    places = {name: shown / name for name in ("tables", "figures", "notebooks")}
    places["site"] = _short(site) if site.is_file() else "not made yet"
    lines = [f"{name + ':':11}{place}" for name, place in places.items()]
    for purpose, arguments in _next(table, shown).items():
        command = shlex.join([str(_short(sys.executable)), "-m", "nram", *map(str, arguments)])
        lines.append(f"{purpose}:\n  {command}")
    return "\n".join(lines)


def _next(table: pd.DataFrame, folder: Path) -> dict[str, list]:
    """Arguments of the commands to run next, by their purpose."""
    run = table[table["runs"].notna()]
    missed = run[~run["task"].isin(results.all_reached(table))]
    others = table.loc[table["runs"].isna(), "task"]
    again = ["reproduce", "--results", folder, "--tasks"]
    steps = {}
    if len(others):
        steps["next, the tasks that were not run"] = [*again, " ".join(others)]
    if len(missed):
        seed = int(missed["seed"].max()) + 1
        steps["next, another seed where the paper is not reached"] = [*again, " ".join(missed["task"]), "--seed", seed]
    steps["next, a site of these runs"] = ["report", "--runs", folder / "runs", "--out", folder / "report"]
    steps["next, these runs beside the recorded ones and the paper"] = ["compare", "--mine", folder / "runs"]
    return steps


def _short(path: str | Path) -> Path:
    """A path below the working directory as seen from there, any other as it is."""
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
