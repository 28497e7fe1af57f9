"""Figures of training, generalization and memory: every function takes frames or tensors and returns a Figure.

The figures are matplotlib's, drawn by seaborn in its colour-blind safe palette; where curves overlap, markers and
dashes tell them apart too. Nothing is shown or written here: see `save`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nram import tasks

__all__ = [
    "FIGURE3_TASKS",
    "case",
    "distribution_heatmap",
    "error_by_complexity",
    "figure3",
    "generalization",
    "learning",
    "levels_of_trials",
    "memory_over_time",
    "panel",
    "reach",
    "save",
    "solved_by_batches",
    "stopping",
]

FIGURE3_TASKS = ("permutation", "listk", "listsearch", "merge", "walkbst")
WIDTH = 9.0  # inches: a notebook's column
MACHINES = ("fuzzy", "discretized")
COLORS = sns.color_palette("colorblind")
MACHINE_STYLE = {
    "fuzzy": {"color": COLORS[0], "marker": "o", "markersize": 6, "linewidth": 2.4, "linestyle": "-"},
    "discretized": {"color": COLORS[1], "marker": "X", "markersize": 4, "linewidth": 1.2, "linestyle": "--"},
}
TASK_MARKERS = ("o", "s", "^", "D", "v")
MAX_MARKERS = 25  # a curve of more points is drawn without them


def _figure(rows: int, columns: int, height: float, **options):
    """A figure of notebook width with its axes, in the house's style: (figure, axes [rows, columns])."""
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _error_axis(axes) -> None:
    """The vertical axis is an error, a share of cells, from 0 to 100%."""
    axes.set_ylim(-0.04, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))


def levels_of_trials(trials: pd.DataFrame, start_difficulty: int) -> pd.DataFrame:
    """The curriculum of every started seed: trial, batch (since its start), level; a row per change, one at its end.

    trials: `TrainResult.trials`, whose `rises` reads "3@120 4@180": level 3 since batch 120 of that seed.
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


def learning(history: pd.DataFrame, trials: pd.DataFrame, start_difficulty: int, train_difficulty: int) -> Figure:
    """How a run learned: the difficulty that every started seed has reached, and the leading seed's error over time.

    history, trials: as in `TrainResult`. The error is the moving average over examples at the seed's own level, so that
    it jumps up whenever the level rises.
    """
    figure, ((left, right),) = _figure(1, 2, 3.9)
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


def generalization(frame: pd.DataFrame, train_difficulty: int, title: str = "") -> Figure:
    """A run's error at each complexity, and for complexities uniform up to each; fuzzy and discretized.

    frame: `Evaluation.generalization`.
    """
    figure, (axes,) = _figure(1, 2, 3.7, sharey=True)
    panels = (("at", "complexity"), ("uniform", "maximal complexity"))
    for panel, (mode, label) in zip(axes, panels, strict=True):
        _error_lines(panel, frame[frame["mode"] == mode], train_difficulty)
        panel.set(xlabel=label, ylabel="error (share of cells)")
    axes[0].set_title(f"{title}: every case at that complexity".removeprefix(": "))
    axes[1].set_title("complexity uniform up to it")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _error_lines(axes, frame: pd.DataFrame, train_difficulty: int | None) -> None:
    """Error over complexity of either machine, with the train complexity marked."""
    for name in MACHINES:
        rows = frame[frame["machine"] == name].sort_values("complexity")
        if len(rows):
            style = MACHINE_STYLE[name] | ({"marker": None} if len(rows) > MAX_MARKERS else {})
            sns.lineplot(
                rows, x="complexity", y="error", ax=axes, label=name, markeredgewidth=0.4, legend=False,
                errorbar=None, **style,
            )  # fmt: skip
    if train_difficulty is not None:
        axes.axvline(train_difficulty, color="0.2", linestyle=":", label="train complexity")
    _error_axis(axes)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def error_by_complexity(frame: pd.DataFrame, train_difficulties: dict[str, int]) -> Figure:
    """Error at each complexity for all ten tasks as small multiples; a task without rows says so.

    frame: rows of mode "at" or more of one run per task, with the column task. train_difficulties: by task.
    """
    figure, axes = _figure(2, 5, 4.6, sharex=True, sharey=True)
    at = frame[frame["mode"] == "at"]
    labelled = None
    for panel, key in zip(axes.flat, tasks.KEYS, strict=True):
        rows = at[at["task"] == key]
        if len(rows):
            _error_lines(panel, rows, train_difficulties.get(key))
            labelled = labelled or panel
        else:
            panel.text(
                0.5, 0.5, "not run", ha="center", va="center", transform=panel.transAxes, color="0.4",
                backgroundcolor="white",
            )  # fmt: skip
            _error_axis(panel)
        panel.set(title=tasks.get(key).title, xlabel="", ylabel="")
    figure.supxlabel("complexity of every case", fontsize="medium")
    figure.supylabel("error (share of cells)", fontsize="medium")
    if labelled is not None:
        figure.legend(*labelled.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def panel(frame: pd.DataFrame, train_difficulty: int) -> Figure:
    """One small panel: a run's error over complexity, fuzzy and discretized. frame: its rows of one mode."""
    with sns.axes_style("whitegrid"), sns.plotting_context("paper"):
        figure = Figure(figsize=(2.6, 2.0), layout="constrained")
        axes = figure.subplots()
    _error_lines(axes, frame, train_difficulty)
    axes.set(xlabel="", ylabel="")
    return figure


def figure3(frame: pd.DataFrame, keys: Iterable[str] = FIGURE3_TASKS) -> Figure:
    """The paper's Figure 3: error of the fuzzy machine against the maximal complexity x, complexity uniform on [1, x].

    frame: rows of mode "uniform" of one run per task, with the column task. Tasks without rows are named in the legend.
    """
    figure, ((axes,),) = _figure(1, 1, 4.2)
    rows = frame[(frame["mode"] == "uniform") & (frame["machine"] == "fuzzy")]
    for place, key in enumerate(keys):
        of_task = rows[rows["task"] == key].sort_values("complexity")
        style = {"color": COLORS[place % len(COLORS)], "marker": TASK_MARKERS[place % len(TASK_MARKERS)]}
        title = tasks.get(key).title
        if len(of_task):
            sns.lineplot(of_task, x="complexity", y="error", ax=axes, label=title, errorbar=None, **style)
        else:
            axes.plot([], [], label=f"{title} (not run)", **style)
    axes.set(xlabel="maximal complexity", ylabel="error (share of cells)")
    _error_axis(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def reach(table: pd.DataFrame) -> Figure:
    """How far each task's machine goes without an error, beside the complexity it was trained at.

    table: `results.table1` of some runs, with the runs' error_free_up_to: the highest complexity below the first error.
    """
    figure, ((axes,),) = _figure(1, 1, 4.0)
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


def stopping(stop_probs: Sequence[float], stop_distribution: Sequence[float], median_step: int) -> Figure:
    """Termination: f_t, the willingness to stop after timestep t, and p_t, the probability that the run ends there.

    median_step: the timestep, from 0, after which the memory is the produced one.
    """
    figure, ((axes,),) = _figure(1, 1, 3.0)
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


def case(rows: dict[str, Sequence[int]], output_cells: Sequence[bool], target: str = "target") -> Figure:
    """One case, cell by cell: rows by name, each M integers; those after the row `target` should equal it.

    Output cells are tinted; where a row after the target's differs from it there, the cell is marked as wrong.
    """
    names, values = list(rows), np.asarray(list(rows.values()))
    output, wanted = np.asarray(output_cells, dtype=bool), names.index(target)
    kind = np.where(output, 1, 0) * np.ones_like(values)
    kind[wanted + 1 :][(values[wanted + 1 :] != values[wanted]) & output] = 2
    figure, ((axes,),) = _figure(1, 1, 0.9 + 0.36 * len(names))
    colors = ["white", sns.light_palette(COLORS[9], 6)[1], COLORS[1]]
    text = np.where(kind == 2, np.char.add(values.astype(str), "!"), values.astype(str))
    font = {"size": min(10, 320 / values.shape[1]), "color": "black"}
    sns.heatmap(
        kind, vmin=0, vmax=2, cmap=ListedColormap(colors), cbar=False, annot=text, fmt="", annot_kws=font,
        linewidths=0.3, linecolor="0.6", yticklabels=names, ax=axes,
    )  # fmt: skip
    axes.tick_params(axis="y", rotation=0)
    axes.set(xlabel="cell (tinted: output cells; !: wrong)")
    return figure


def distribution_heatmap(
    panels: dict[str, object],
    row_labels: Sequence | None = None,
    row_name: str = "cell",
    column_name: str = "integer",
    column_labels: Sequence | None = None,
    height: float = 3.6,
) -> Figure:
    """Distributions side by side: panels by title, each [rows, columns] of probabilities, row i a distribution.

    A tape is such a picture (row: cell, column: integer), and so are registers, module outputs and a circuit's weights.
    """
    figure, (axes,) = _figure(1, len(panels), height, sharey=True)
    columns = max(np.shape(probs)[1] for probs in panels.values())
    every = -(-columns * len(panels) // 30)  # so many columns per number under the picture
    for number, (panel, (title, probs)) in enumerate(zip(axes, panels.items(), strict=True)):
        values = np.asarray(probs, dtype=float)
        sns.heatmap(
            values, vmin=0, vmax=1, cmap="viridis", ax=panel, cbar=number == len(panels) - 1, linewidths=0.3,
            linecolor="0.35", cbar_kws={"label": "probability"},
            xticklabels=every if column_labels is None else list(column_labels),
            yticklabels="auto" if row_labels is None else list(row_labels),
        )  # fmt: skip
        panel.set(title=title, xlabel=column_name, ylabel=row_name if number == 0 else "")
        panel.tick_params(axis="y", rotation=0)
        panel.tick_params(axis="x", rotation=90 if column_labels is not None else 0)
    return figure


def memory_over_time(frames: dict[str, object], steps: dict[str, Sequence[int]] | None = None) -> Figure:
    """A run's memory over time: panels by title, each [N, M, M], tapes of one example after so many timesteps.

    A row is a time, a column a cell; the number is the cell's likeliest integer, bold where it differs from the row
    above, the colour its probability: white is certain. steps: the timesteps taken at each row, 0..N-1 if not given.
    """
    tapes = {title: np.asarray(tape, dtype=float) for title, tape in frames.items()}
    heights = [1.0 + 0.24 * len(tape) for tape in tapes.values()]
    figure, axes = _figure(len(tapes), 1, sum(heights), height_ratios=heights)
    for panel, (title, tape) in zip(axes.flat, tapes.items(), strict=True):
        likeliest, certainty = tape.argmax(-1), tape.max(-1)
        changed = np.diff(likeliest, axis=0, prepend=likeliest[:1]) != 0
        sns.heatmap(
            certainty, vmin=0, vmax=1, cmap="Blues_r", ax=panel, annot=likeliest, fmt="d", annot_kws={"size": 8},
            linewidths=0.3, linecolor="0.6", cbar_kws={"label": "probability"},
            yticklabels=list(steps[title]) if steps else "auto",
        )  # fmt: skip
        for text, is_new in zip(panel.texts, changed.flat, strict=True):
            if is_new:
                text.set(fontweight="bold", fontsize=9.5)
        panel.set(title=title, xlabel="cell", ylabel="timesteps taken")
        panel.tick_params(axis="y", rotation=0)
    return figure


def solved_by_batches(trials: pd.DataFrame) -> Figure:
    """Share of the started seeds that were solved within so many batches: a panel per setting, a line per variant.

    trials: `nram.experiments.studies.load_study`. A line ends at the largest number of batches that a seed of it was given.
    """
    settings, variants = (list(dict.fromkeys(trials[name])) for name in ("setting", "variant"))
    figure, (axes,) = _figure(1, len(settings), 3.6, sharey=True)
    for panel, setting in zip(axes, settings, strict=True):
        for place, variant in enumerate(variants):
            rows = trials[(trials["setting"] == setting) & (trials["variant"] == variant)]
            ended = rows.loc[rows["solved"], "batches"].sort_values().tolist()
            share = [0.0, *(number / len(rows) for number in range(1, len(ended) + 1))]
            share, batches = [*share, share[-1]], [0, *ended, rows["batches"].max()]
            dashes = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))[place % 5]
            panel.step(batches, share, where="post", color=COLORS[place], linestyle=dashes, label=variant, linewidth=2)
        panel.set(title=setting, xlabel="batches since the seed's start", ylabel="")
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    highest = trials.groupby(["setting", "variant"])["solved"].mean().max()
    axes[0].set_ylim(0, max(0.05, 1.08 * highest))  # of all panels
    axes[0].set_ylabel("share of seeds solved")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as `folder`/`name`.png and .svg (the folder is made); the paths written."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{extension}" for extension in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths
