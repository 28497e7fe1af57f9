"""What attention over modules learned: tables and sentences of the study `attention`."""

import pandas as pd

from nram import results, tasks
from nram.experiments.study_tables import study_table
from nram.machine.modules import MODULES

__all__ = ["attention_verdict", "choices_markdown", "choices_of", "choices_table"]

NAMES = tuple(module.name for module in MODULES)


def choices_of(text: str) -> list[list[str]]:
    """The modules of a cell of the column `choices`: timestep after timestep, place after place."""
    return [step.split() for step in text.split("; ")]


def choices_table(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per setting and variant with solved seeds: what their discretized machines chose in one example.

    solved: their number. own: share of the places that chose the module which the paper has there. different: modules
    used per timestep, of 14. writes: places with WRITE per timestep. Means over timesteps, then over seeds.
    """
    rows = []
    for (setting, variant), group in trials.dropna(subset=["choices"]).groupby(["setting", "variant"], sort=False):
        each = pd.DataFrame([_counted(choices_of(text)) for text in group["choices"]])
        rows.append({"setting": setting, "variant": variant, "solved": len(group), **each.mean()})
    return pd.DataFrame(rows, columns=["setting", "variant", "solved", "own", "different", "writes"])


def _counted(steps: list[list[str]]) -> dict[str, float]:
    own = [sum(one == other for one, other in zip(step, NAMES, strict=False)) / len(step) for step in steps]
    return {
        "own": sum(own) / len(steps),
        "different": sum(len(set(step)) for step in steps) / len(steps),
        "writes": sum(step.count("WRITE") for step in steps) / len(steps),
    }


def choices_markdown(table: pd.DataFrame) -> str:
    """`choices_table` as Markdown."""
    shown = table.rename(columns={"different": "different modules", "writes": "places that write"})
    shown["own"] = [f"{100 * share:.0f}%" for share in table["own"]]
    shown = shown.rename(columns={"own": "places with the paper's module"})
    for name in ("different modules", "places that write"):
        shown[name] = shown[name].round(1)
    return results.to_markdown(shown)


def attention_verdict(trials: pd.DataFrame) -> list[str]:
    """What the study shows: seeds solved of each variant, and what the solved ones chose."""
    if not len(trials):
        return ["Attention over modules: there is nothing to judge yet."]
    sentences = []
    for setting, group in study_table(trials).groupby("setting", sort=False):
        parts = [f"{row.variant} {row.solved} of {row.started}" for row in group.itertuples()]
        sentences.append(f"Attention over modules, **{tasks.get(setting).title}**, seeds solved: {', '.join(parts)}.")
    for row in choices_table(trials).itertuples():
        sentences.append(
            f"{tasks.get(row.setting).title}, {row.variant}: {100 * row.own:.0f}% of the places of solved machines use "
            f"the module that the paper has there; {row.writes:.1f} of 14 write in a timestep."
        )
    return sentences
