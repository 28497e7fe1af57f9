"""Figures of the benchmark's measurements: times beside the computer's limits, and how they grow."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

__all__ = ["growth", "integers", "times"]

COLORS = dict(zip(("reference", "compiled", "fused"), sns.color_palette("colorblind")[:3], strict=True))
AXES = {"num_cells": "memory cells M", "timesteps": "timesteps T", "population": "population P"}


def _figure(columns: int, height: float):
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(9.0, height), layout="constrained")
        return figure, figure.subplots(1, columns, squeeze=False)[0]


def times(measurements: dict) -> Figure:
    """Microseconds per sample-timestep of every case, with the limits of arithmetic and of memory's bandwidth.

    Bars are medians, the lines on them the quartiles of the rounds. The marks are the times that a case's operations
    would take in a matrix product, and that writing and reading its kept values would take in a large copy.
    """
    rows = pd.DataFrame(measurements["rows"])
    rows = rows[rows["device"] == "cpu"]
    scopes = [scope for scope in ("step", "kernel") if (rows["scope"] == scope).any()]
    figure, panels = _figure(len(scopes), 4.2)
    copied = measurements["limits"]["copy_gigabytes_per_second"] * 1e3  # bytes per microsecond
    for axes, scope in zip(panels, scopes, strict=True):
        own = rows[rows["scope"] == scope].copy()
        own["label"] = own["case"] + ", P = " + own["population"].astype(str)
        labels = list(dict.fromkeys(own["label"]))
        names = [name for name in COLORS if (own["implementation"] == name).any()]
        width = 0.8 / len(names)
        for number, name in enumerate(names):
            each = own[own["implementation"] == name].set_index("label").reindex(labels)
            places = [place - 0.4 + (number + 0.5) * width for place in range(len(labels))]
            spread = [each["microseconds"] - each["microseconds_low"], each["microseconds_high"] - each["microseconds"]]
            axes.bar(places, each["microseconds"], width, yerr=spread, color=COLORS[name], label=name, linewidth=0)
        fused = own[own["implementation"] == names[-1]].set_index("label").loc[labels]
        for values, color, style, label in (
            (fused["arithmetic_microseconds"], "0.1", "-", "arithmetic limit"),
            (fused["bytes"] / copied, "0.4", ":", "bandwidth limit"),
        ):
            left, right = ([x + side for x in range(len(labels))] for side in (-0.45, 0.45))
            axes.hlines(values, left, right, color=color, linestyle=style, label=label)
        axes.set_xticks(range(len(labels)), labels, rotation=20, ha="right")
        title = {"step": "whole training step", "kernel": "machine alone, forward and backward"}[scope]
        axes.set(yscale="log", title=title, xlabel="case", ylabel="microseconds per sample-timestep")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def growth(measurements: dict) -> Figure:
    """Microseconds per sample-timestep along each axis that was varied, by implementation."""
    rows = pd.DataFrame(measurements["growth"])
    axes_varied = list(dict.fromkeys(rows["axis"]))
    figure, panels = _figure(len(axes_varied), 3.6)
    for axes, axis in zip(panels, axes_varied, strict=True):
        own = rows[rows["axis"] == axis]
        sns.lineplot(
            own, x=axis, y="microseconds", hue="implementation", style="implementation", markers=True,
            palette=COLORS, errorbar=None, ax=axes,
        )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel="microseconds per sample-timestep")
        axes.set_xticks(sorted(set(own[axis])))
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_title({"kernel": "machine alone", "step": "whole training step"}[own["scope"].iloc[0]])
        axes.legend(title=None, frameon=True)
    return figure


def integers(measurements: dict) -> Figure:
    """Million timesteps per second and core of machines on integers, by memory size and program."""
    rows = pd.DataFrame(measurements["discretized"])
    rows["million timesteps per second"] = rows["timesteps_per_second"] / 1e6
    figure, (axes,) = _figure(1, 3.6)
    sns.lineplot(
        rows, x="num_cells", y="million timesteps per second", hue="program", style="program", markers=True,
        palette="colorblind", errorbar=None, ax=axes,
    )  # fmt: skip
    axes.set(xscale="log", xlabel="memory cells M", title="Published programs on one core")
    axes.set_ylim(0, 1.3 * rows["million timesteps per second"].max())
    axes.axhline(5, color="0.2", linestyle=":", label="target: 5")
    axes.legend(title=None, frameon=True, ncols=2)
    return figure
