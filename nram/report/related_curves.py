"""Figures of the study of other systems: error by length, a panel per task."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nram import tasks
from nram.experiments.related_tables import title_of
from nram.related.tokens import TRAIN_LENGTH, chance_error
from nram.report.style import COLORS, new_figure

__all__ = ["error_by_length"]

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-")


def error_by_length(curves: pd.DataFrame) -> Figure:
    """Cell error at every length: a panel per task, every run thin, the median over all runs of a system thick.

    A dotted line marks the longest sequences of training, a gray one the error of a guess.

    curves: `nram.experiments.related_tables.related_curves`.
    """
    keys, systems = (list(dict.fromkeys(curves[name])) for name in ("task", "system"))
    figure, (axes,) = new_figure(1, len(keys), 4.2, sharey=True)
    for panel, key in zip(axes, keys, strict=True):
        of_task = curves[curves["task"] == key]
        for place, system in enumerate(systems):
            rows = of_task[of_task["system"] == system]
            style = {"color": COLORS[place % len(COLORS)], "linestyle": DASHES[place % len(DASHES)]}
            for _, run in rows.groupby("seed"):
                panel.plot(run["length"], run["error"], linewidth=0.6, alpha=0.5, **style)
            median = rows.groupby("length")["error"].median()
            panel.plot(median.index, median, linewidth=2.6, label=title_of(system).split(",")[0], **style)
        if key in chance_error():
            panel.axhline(chance_error()[key], color="0.5", linewidth=1.0, label="a guess")
        panel.axvline(TRAIN_LENGTH, color="0.2", linestyle=":", label="longest in training")
        panel.set(title=tasks.get(key).title, xlabel="length")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes[0].set_ylim(-0.04, 1.04)
    axes[0].set_ylabel("error (share of cells)")
    axes[0].yaxis.set_major_formatter(PercentFormatter(xmax=1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure
