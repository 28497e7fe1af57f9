"""Figures of other systems, error by length, and of attention over modules, what each place chose."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import offset_copy

from nram import tasks
from nram.experiments.attention_tables import NAMES, choices_of
from nram.experiments.related_tables import title_of
from nram.related.tokens import TRAIN_LENGTH, chance_error
from nram.report.style import COLORS, READ_TINT, WRITE_TINT, new_figure

__all__ = ["chosen_modules", "error_by_length"]

SHORT = dict(zip(NAMES, ("R", "0", "1", "2", "+1", "+", "-", "-1", "<", "≤", "=", "min", "max", "W"), strict=True))
OWN, OTHER = "0.93", "#fde9b8"  # colors of the module that the paper has in a place, and of others
APART = 2.4  # points between two curves that are equal
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-")


def error_by_length(curves: pd.DataFrame) -> Figure:
    """Cell error at every length: a panel per task, every run thin, the median over all runs of a system thick.

    A dotted line marks the longest sequences of training, a gray one the error of a guess. Each system is drawn a
    little above the last, so that those without an error are all seen.

    curves: `nram.experiments.related_tables.related_curves`.
    """
    keys, systems = (list(dict.fromkeys(curves[name])) for name in ("task", "system"))
    figure, (axes,) = new_figure(1, len(keys), 4.2, sharey=True)
    for panel, key in zip(axes, keys, strict=True):
        of_task = curves[curves["task"] == key]
        for place, system in enumerate(systems):
            rows = of_task[of_task["system"] == system]
            style = {"color": COLORS[place % len(COLORS)], "linestyle": DASHES[place % len(DASHES)]}
            style["transform"] = offset_copy(panel.transData, figure, y=APART * place, units="points")
            for _, run in rows.groupby("seed"):
                panel.plot(run["length"], run["error"], linewidth=0.6, alpha=0.5, **style)
            median = rows.groupby("length")["error"].median()
            panel.plot(median.index, median, linewidth=1.8, label=title_of(system).split(",")[0], **style)
        if key in chance_error():
            panel.axhline(chance_error()[key], color="0.5", linewidth=1.0, label="a guess")
        panel.axvline(TRAIN_LENGTH, color="0.2", linestyle=":", label="longest in training")
        panel.set(title=tasks.get(key).title, xlabel="length", xlim=(0, curves["length"].max() + 1))
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes[0].set_ylim(-0.04, 1.04)
    axes[0].set_ylabel("error (share of cells)")
    axes[0].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    handles = axes[0].get_legend_handles_labels()
    title = "each system drawn a little above the last"
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, title=title)
    return figure


def chosen_modules(trials: pd.DataFrame) -> Figure | None:
    """Which module each place chose over time: a panel for the first solved seed of every setting and variant.

    Gray is the module that the paper has in that place; others are yellow, READ blue and WRITE red. None if no seed of
    the variant is solved. trials: of the study `attention`.
    """
    solved = trials.dropna(subset=["choices"]).drop_duplicates(["setting", "variant"])
    if not len(solved):
        return None
    settings, variants = (list(dict.fromkeys(solved[name])) for name in ("setting", "variant"))
    figure, axes = new_figure(len(settings), len(variants), 3.6 * len(settings), style="white")
    for row, setting in zip(axes, settings, strict=True):
        for panel, variant in zip(row, variants, strict=True):
            found = solved[(solved["setting"] == setting) & (solved["variant"] == variant)]
            panel.set_title(f"{tasks.get(setting).title}, {variant}")
            if len(found):
                _choices(panel, choices_of(found["choices"].iloc[0]))
            else:
                panel.text(0.5, 0.5, "no seed solved", ha="center", va="center", color="0.4")
                panel.set_axis_off()
    return figure


def _choices(panel, steps: list[list[str]]) -> None:
    """Write each place's module, timestep after timestep, on its color."""
    for t, step in enumerate(steps):
        for place, name in enumerate(step):
            color = {"READ": READ_TINT, "WRITE": WRITE_TINT}.get(name, OTHER)
            color = OWN if name == NAMES[place % len(NAMES)] else color
            panel.add_patch(Rectangle((t + 0.5, place + 0.5), 1, 1, facecolor=color, edgecolor="white"))
            panel.text(t + 1, place + 1, SHORT[name], ha="center", va="center", fontsize=6)
    panel.set(xlim=(0.5, len(steps) + 0.5), ylim=(len(steps[0]) + 0.5, 0.5), xlabel="timestep", ylabel="place")
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    panel.set_yticks(range(1, len(steps[0]) + 1))
    panel.tick_params(labelsize=6)
