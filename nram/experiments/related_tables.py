"""Tables and sentences of what else could have learned the tasks (see `nram.experiments.related_study`)."""

import math

import pandas as pd

from nram import results, tasks
from nram.experiments.related_study import FORMS, numbers
from nram.related.measure import LONGEST
from nram.related.opponent import MACHINE
from nram.related.systems import SYSTEMS
from nram.related.tokens import KEYS, NOT_EXPRESSIBLE, OPTIONAL, TRAIN_LENGTH

__all__ = [
    "expressible_markdown",
    "related_curves",
    "related_markdown",
    "related_table",
    "related_verdict",
    "title_of",
]

FAR = (30, LONGEST)  # lengths whose reach is counted
FORM_NAMES = {MACHINE: {"soft": "fuzzy", "hard": "discretized"}}
# What each system can express with one pass and blanks, task by task: in principle, whatever it learns.
EXPRESSES = {
    "lstm": ("up to what h and c hold", "up to what h and c hold", "yes, by counting", "yes, by counting"),
    "stack": ("no: one stack reverses", "yes", "yes, a pop per element", "yes, by counting"),
    "stacks": ("yes, pours one into the other", "yes", "yes, a pop per element", "yes, by counting"),
    "ntm": ("yes", "yes, shifts back", "yes, counts by shifts", "yes"),
    "dngpu": ("yes", "yes", "yes", "yes, sorts"),
    MACHINE: ("yes", "yes", "yes, a pointer", "yes, pointers"),
}
EXPRESSED = ("copy", "reverse", "access", "merge")  # increment as copy


def title_of(system: str, form: str = "soft") -> str:
    """A system's name for people, with the form where it has two."""
    title = "NRAM" if system == MACHINE else SYSTEMS[system].title
    if system == MACHINE or SYSTEMS[system].hard:
        return f"{title}, {FORM_NAMES.get(system, {'soft': 'soft', 'hard': 'hard'})[form]}"
    return title


def expressible_markdown() -> str:
    """What each system can express, a row per task: the five with addresses in data with the reason, as Markdown."""
    rows = []
    for key in (*KEYS, *OPTIONAL):
        row = {"task": tasks.get(key).title}
        for system, cells in EXPRESSES.items():
            row[title_of(system).split(",")[0]] = cells[EXPRESSED.index("copy" if key == "increment" else key)]
        rows.append(row)
    others = [{"task": tasks.get(key).title, "why not as tokens": why} for key, why in NOT_EXPRESSIBLE.items()]
    notes = "".join(f"{tasks.get(key).title}: {why}\n\n" for key, why in OPTIONAL.items())
    return f"{results.to_markdown(pd.DataFrame(rows))}\n{notes}{results.to_markdown(pd.DataFrame(others))}"


def related_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per task, system and form, over all runs: runs, fit, and the counts of runs that reach each of `FAR`.

    Each count has its 95% interval by Wilson (NAME_low, NAME_high). Then medians over the runs: reach, cell error at
    the training length and at 50, error_at_15 and error_at_50, sequences, seconds. structured: how many runs are right
    on all structured inputs of length 50; nan for a task without such inputs.
    """
    rows = []
    for (task, system), group in frame.groupby(["task", "system"], sort=False):
        for form in FORMS:
            if group[f"{form}_fit"].isna().all():
                continue
            reach = group[f"{form}_reach"]
            counts = {"fit": group[f"{form}_fit"].astype(bool)}
            counts |= {f"reach_{length}": reach >= length for length in FAR}
            row = {"task": task, "system": system, "form": form, "runs": len(group)}
            for name, reached in counts.items():
                low, high = results.wilson_interval(int(reached.sum()), len(group))
                row |= {name: int(reached.sum()), f"{name}_low": low, f"{name}_high": high}
            row["reach"] = reach.median()
            for length in (TRAIN_LENGTH, FAR[-1]):
                errors = [numbers(cell)[length - LONGEST - 1] for cell in group[f"{form}_error"]]
                row[f"error_at_{length}"] = pd.Series(errors, dtype=float).median()
            structured = [numbers(cell) for cell in group[f"{form}_structured"]]
            row["structured"] = sum(each[-1] == 0 for each in structured) if all(structured) else math.nan
            rows.append(row | {name: group[name].median() for name in ("sequences", "seconds")})
    return pd.DataFrame(rows)


def related_markdown(table: pd.DataFrame) -> str:
    """`related_table` as Markdown."""
    shown = pd.DataFrame({"task": [tasks.get(key).title for key in table["task"]]})
    shown["system"] = [title_of(system, form) for system, form in zip(table["system"], table["form"], strict=True)]
    for name, title in (("fit", "fit"), *((f"reach_{length}", f"reach {length}") for length in FAR)):
        shown[title] = [
            f"{count} of {runs} ({100 * low:.0f} to {100 * high:.0f}%)"
            for count, runs, low, high in table[[name, "runs", f"{name}_low", f"{name}_high"]].itertuples(index=False)
        ]
    shown["median reach"] = [f"{each:g}" for each in table["reach"]]
    for length in (TRAIN_LENGTH, FAR[-1]):
        shown[f"median error at {length}"] = [f"{100 * each:.1f}%" for each in table[f"error_at_{length}"]]
    shown["structured right at 50"] = [
        "–" if math.isnan(right) else f"{right:.0f} of {runs}"
        for right, runs in table[["structured", "runs"]].itertuples(index=False)
    ]
    shown["sequences"] = [f"{each:,.0f}" for each in table["sequences"]]
    shown["seconds"] = [f"{each:.0f}" for each in table["seconds"]]
    return results.to_markdown(shown)


def related_curves(frame: pd.DataFrame, form: str = "soft") -> pd.DataFrame:
    """Every run's cell error by length: task, system, seed, length, error."""
    rows = []
    for run in frame.itertuples():
        errors = numbers(getattr(run, f"{form}_error"))
        first = LONGEST + 1 - len(errors)
        rows += [(run.task, run.system, run.seed, first + place, error) for place, error in enumerate(errors)]
    return pd.DataFrame(rows, columns=["task", "system", "seed", "length", "error"])


def related_verdict(frame: pd.DataFrame) -> list[str]:
    """What the study shows, a sentence per task and system, over all runs."""
    if not len(frame):
        return ["There is nothing to judge yet."]
    sentences = []
    table = related_table(frame)
    for task, group in table.groupby("task", sort=False):
        parts = []
        for row in group.itertuples():
            if row.form == "hard" and row.system != MACHINE:
                continue
            title = title_of(row.system, row.form)
            parts.append(f"{title} fits in {row.fit} of {row.runs} runs and reaches 50 in {row.reach_50}")
        sentences.append(f"**{tasks.get(task).title}**: {'; '.join(parts)}.")
    best = table[table["form"] == "soft"].groupby("system", sort=False)["reach"].mean()
    order = ", ".join(f"{title_of(system).split(',')[0]} {each:.0f}" for system, each in best.sort_values().items())
    sentences.append(f"Median reach, averaged over the system's tasks, from the shortest to the longest: {order}.")
    sentences.append(
        "No system but the machine has pointers. The five tasks with addresses in data have no row here: there a "
        "failure would show the limit of an encoding, not of learning."
    )
    return sentences
