"""Curves over batches, over complexity and over time. Every function takes frames or numbers and returns a Figure.

Where curves overlap, markers and dashes tell them apart as well as colors.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import offset_copy

from nram import tasks
from nram.report.style import COLORS, new_figure

__all__ = [
    "FIGURE3_TASKS",
    "error_by_complexity",
    "figure3",
    "generalization",
    "learning",
    "levels_of_trials",
    "panel",
    "reach",
    "solved_by_batches",
    "stopping",
]

FIGURE3_TASKS = ("permutation", "listk", "listsearch", "merge", "walkbst")
TASK_MARKERS = ("o", "s", "^", "D", "v")
MACHINE_STYLE = {
    "fuzzy": {"color": COLORS[0], "marker": "o", "markersize": 6, "linewidth": 2.4, "linestyle": "-"},
    "discretized": {"color": COLORS[1], "marker": "X", "markersize": 4, "linewidth": 1.2, "linestyle": "--"},
}
APART = 3.0  # points between two curves of Figure 3 that are equal
MAX_MARKERS = 25  # a curve with more points has no markers
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


# Over batches


def learning(history: pd.DataFrame, trials: pd.DataFrame, start_difficulty: int, train_difficulty: int) -> Figure:
    """How a run learned: the difficulty that each trial reached, and the error of the leading trial.

    history, trials: as in `TrainResult`. The error is the moving average over examples at the trial's own difficulty.
    It jumps up when the difficulty rises.
    """
    figure, ((left, right),) = new_figure(1, 2, 3.9)
    levels = levels_of_trials(trials, start_difficulty)
    solved = set(trials.loc[trials["solved"].astype(bool), "trial"])
    for trial, rows in levels.groupby("trial"):
        style = {"color": "0.6", "alpha": 0.6}
        if trial in solved:
            style = {"color": COLORS[2], "linewidth": 2.2, "zorder": 3}
        left.step(rows["batch"], rows["level"], where="post", **style)
    left.axhline(train_difficulty, color="0.2", linestyle=":", label="train complexity")
    left.plot([], [], color="0.6", label=f"started ({len(trials)})")
    left.plot([], [], color=COLORS[2], linewidth=2.2, label=f"solved ({len(solved)})")
    left.set(xlabel="batches since the seed's start", ylabel="difficulty level", title="Curriculum of every seed")
    left.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    left.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)

    sns.lineplot(history, x="seconds", y="best_error", color=COLORS[0], ax=right, errorbar=None)
    right.set(xlabel="training time (seconds)", ylabel="error (share of cells)", title="Error of the leading seed")
    _error_axis(right)
    return figure


def levels_of_trials(trials: pd.DataFrame, start_difficulty: int) -> pd.DataFrame:
    """The curriculum of every trial: trial, batch (since its start), level (of difficulty).

    A trial has a row for its start, one for each rise and one for its end.
    trials: `TrainResult.trials`. Its column `rises` reads "3@120 4@180": level 3 from the trial's batch 120 on.
    """
    rows = []
    for trial, batches, rises in trials[["trial", "batches", "rises"]].itertuples(index=False):
        level = start_difficulty
        rows.append((trial, 0, level))
        for rise in rises.split() if isinstance(rises, str) else ():
            level, batch = (int(number) for number in rise.split("@"))
            rows.append((trial, batch, level))
        rows.append((trial, batches, level))
    return pd.DataFrame(rows, columns=["trial", "batch", "level"])


def solved_by_batches(trials: pd.DataFrame) -> Figure:
    """Share of the trials solved within a number of batches: a panel per setting, a line per variant.

    trials: `nram.experiments.studies.load_study`. A line ends at the largest number of batches of any of its trials.
    """
    settings, variants = (list(dict.fromkeys(trials[name])) for name in ("setting", "variant"))
    figure, (axes,) = new_figure(1, len(settings), 3.6, sharey=True)
    for panel, setting in zip(axes, settings, strict=True):
        for place, variant in enumerate(variants):
            rows = trials[(trials["setting"] == setting) & (trials["variant"] == variant)]
            ended = rows.loc[rows["solved"], "batches"].sort_values().tolist()
            share = [0.0, *(number / len(rows) for number in range(1, len(ended) + 1))]
            share, batches = [*share, share[-1]], [0, *ended, rows["batches"].max()]
            style = {"color": COLORS[place], "linestyle": DASHES[place % len(DASHES)], "linewidth": 2}
            panel.step(batches, share, where="post", label=variant, **style)
        panel.set(title=setting, xlabel="batches since the seed's start", ylabel="")
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    highest = trials.groupby(["setting", "variant"])["solved"].mean().max()
    axes[0].set_ylim(0, max(0.05, 1.08 * highest))  # the panels share it
    axes[0].set_ylabel("share of seeds solved")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


# Over complexity


def figure3(frame: pd.DataFrame, keys: Iterable[str] = FIGURE3_TASKS) -> Figure:
    """The paper's Figure 3: error of the fuzzy machine at each maximal complexity x, with complexity uniform on [1, x].

    Curves are drawn a little above each other, in the legend's order from below, so that equal ones are all seen.

    frame: rows of mode "uniform" of one run per task, with the column task. The legend names tasks without rows.
    """
    figure, ((axes,),) = new_figure(1, 1, 4.2)
    rows = frame[(frame["mode"] == "uniform") & (frame["machine"] == "fuzzy")]
    for place, key in enumerate(keys):
        of_task = rows[rows["task"] == key].sort_values("complexity")
        style = {"color": COLORS[place % len(COLORS)], "marker": TASK_MARKERS[place % len(TASK_MARKERS)]}
        title = tasks.get(key).title
        if len(of_task):
            shifted = offset_copy(axes.transData, figure, y=APART * place, units="points")
            axes.plot(of_task["complexity"], of_task["error"], label=title, transform=shifted, **style)
            axes.update_datalim([(complexity, 0) for complexity in of_task["complexity"]])
        else:
            axes.plot([], [], label=f"{title} (not run)", **style)
    axes.autoscale_view()
    axes.set(xlabel="maximal complexity", ylabel="error (share of cells)")
    _error_axis(axes)
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title="each drawn a little\nabove the last"
    )
    legend.set_alignment("left")
    return figure


def generalization(frame: pd.DataFrame, train_difficulty: int, title: str = "") -> Figure:
    """A run's error, fuzzy and discretized: at each complexity, and with complexity uniform up to it.

    frame: `Evaluation.generalization`.
    """
    figure, (axes,) = new_figure(1, 2, 3.7, sharey=True)
    panels = (("at", "complexity"), ("uniform", "maximal complexity"))
    for panel, (mode, label) in zip(axes, panels, strict=True):
        _error_lines(panel, frame[frame["mode"] == mode], train_difficulty)
        panel.set(xlabel=label, ylabel="error (share of cells)")
    axes[0].set_title(f"{title}: every case at that complexity".removeprefix(": "))
    axes[1].set_title("complexity uniform up to it")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def error_by_complexity(frame: pd.DataFrame, train_difficulties: dict[str, int]) -> Figure:
    """Error at each complexity for all ten tasks as small panels. The panel of a task without rows says "not run".

    frame: rows of one run per task, with the column task; rows of modes other than "at" are ignored.
    train_difficulties: by task.
    """
    figure, axes = new_figure(2, 5, 4.6, sharex=True, sharey=True)
    at = frame[frame["mode"] == "at"]
    labeled = None
    for panel, key in zip(axes.flat, tasks.KEYS, strict=True):
        rows = at[at["task"] == key]
        if len(rows):
            _error_lines(panel, rows, train_difficulties.get(key))
            labeled = labeled or panel
        else:
            middle = {"x": 0.5, "y": 0.5, "ha": "center", "va": "center", "transform": panel.transAxes}
            panel.text(s="not run", color="0.4", backgroundcolor="white", **middle)
            _error_axis(panel)
        panel.set(title=tasks.get(key).title, xlabel="", ylabel="")
    figure.supxlabel("complexity of every case", fontsize="medium")
    figure.supylabel("error (share of cells)", fontsize="medium")
    if labeled is not None:
        figure.legend(*labeled.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def panel(frame: pd.DataFrame, train_difficulty: int) -> Figure:
    """One small panel: a run's error over complexity, fuzzy and discretized. frame: its rows of one mode."""
    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure = Figure(figsize=(2.6, 2.0), layout="constrained")
        axes = figure.subplots()
    _error_lines(axes, frame, train_difficulty)
    axes.set(xlabel="", ylabel="")
    return figure


def reach(table: pd.DataFrame) -> Figure:
    """How far each task's machine goes without an error, beside the complexity it was trained at.

    table: `results.table1` with the runs' column error_free_up_to, the highest complexity below the first error.
    """
    figure, ((axes,),) = new_figure(1, 1, 4.0)
    places = range(len(table))
    known = table.get("error_free_up_to", pd.Series(np.nan, table.index)).astype(float)
    axes.hlines(places, 0, known.fillna(0), color=COLORS[0], linewidth=6, alpha=0.5)
    axes.plot(known, places, "o", color=COLORS[0], label="ours: no error up to here")
    trained = table["paper_train_complexity"]
    axes.plot(trained, places, "|", color="0.1", markersize=14, label="paper's train complexity")
    for place, value in zip(places, known, strict=True):
        if pd.isna(value):
            axes.text(1.0, place, "not run", va="center", color="0.4", backgroundcolor="white")
    axes.set(yticks=list(places), yticklabels=[tasks.get(key).title for key in table["task"]], xlim=(0, 52))
    axes.set(xlabel="complexity", ylabel="")
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2, frameon=False)
    return figure


def _error_lines(axes, frame: pd.DataFrame, train_difficulty: int | None) -> None:
    """Draw the error of both machines over complexity, and mark the train complexity."""
    for name, machine_style in MACHINE_STYLE.items():
        rows = frame[frame["machine"] == name].sort_values("complexity")
        if len(rows):
            style = machine_style | ({"marker": None} if len(rows) > MAX_MARKERS else {})
            style |= {"markeredgewidth": 0.4, "label": name}
            sns.lineplot(rows, x="complexity", y="error", ax=axes, legend=False, errorbar=None, **style)
    if train_difficulty is not None:
        axes.axvline(train_difficulty, color="0.2", linestyle=":", label="train complexity")
    _error_axis(axes)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _error_axis(axes) -> None:
    """Make the vertical axis an error: a share of cells, from 0 to 100%."""
    axes.set_ylim(-0.04, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))


# Over time


def stopping(stop_probs: Sequence[float], stop_distribution: Sequence[float], median_step: int) -> Figure:
    """When a machine stops (section 3): f_t, its willingness to stop after timestep t, and p_t, the probability of it.

    median_step: the timestep, counted from 0, after which the memory is the produced one.
    """
    figure, ((axes,),) = new_figure(1, 1, 3.0)
    steps = np.arange(1, len(stop_probs) + 1)
    frame = pd.concat(
        pd.DataFrame({"timestep": steps, "probability": np.asarray(values, dtype=float), "of": name})
        for name, values in (("$f_t$: stops if still running", stop_probs), ("$p_t$: stops here", stop_distribution))
    )
    sns.barplot(frame, x="timestep", y="probability", hue="of", palette=[COLORS[7], COLORS[0]], ax=axes)
    axes.axvline(median_step, color=COLORS[1], linestyle="--", label="median: the produced memory")
    axes.legend(frameon=True)
    axes.set_ylim(0, 1.02)
    return figure
