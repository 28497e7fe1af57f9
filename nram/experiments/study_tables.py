"""Tables of a study's trials, as frames and as Markdown (see `nram.experiments.studies`)."""

import json
from pathlib import Path

import pandas as pd

from nram import results
from nram.experiments.search import success_rate
from nram.experiments.studies import load_study

__all__ = [
    "noise_markdown",
    "noise_table",
    "paired",
    "readme_tables",
    "scaling_markdown",
    "settings_table",
    "study_markdown",
    "study_table",
]


def study_table(trials: pd.DataFrame) -> pd.DataFrame:
    """How often seeds were solved, one row per setting and variant, in the order of the trials.

    started, solved, rate, its 95% interval by Wilson (rate_low, rate_high), batches to solve (median and quartiles,
    over the solved). fuzzy_only: unsolved seeds whose fuzzy machine made no error in its last verification, on 100
    cases or more. batches: of all trials. cpu_hours, and solved seeds per_cpu_hour.
    """
    rows = []
    for (setting, variant), group in trials.groupby(["setting", "variant"], sort=False):
        hours = group["cpu_seconds"].sum() / 3600
        rate = success_rate(group)
        fuzzy_only = int((~group["solved"] & (group["fuzzy_error"] == 0)).sum())
        effort = {
            "fuzzy_only": fuzzy_only,
            "batches": int(group["batches"].sum()),
            "cpu_hours": hours,
            "per_cpu_hour": rate["solved"] / hours,
        }
        rows.append({"setting": setting, "variant": variant, **rate, **effort})
    return pd.DataFrame(rows)


def noise_table(trials: pd.DataFrame) -> pd.DataFrame:
    """The paper's study of gradient noise beside ours: share of seeds solved, a row per variant, a column per setting.

    trials: of the study gradient_noise. The paper does not publish its three settings: its setting 1 is not ours.
    average: over all seeds, with its 95% interval by Wilson (low, high); the paper's is over 300 seeds.
    """
    rows = []
    for _, row in results.paper_gradient_noise().iterrows():
        shares = [float(row[f"hyperparameters_{number}"]) for number in (1, 2, 3)]
        rows.append(("paper", row["setting"], shares, round(100 * sum(shares)), 300))
    names = list(dict.fromkeys(trials["setting"]))
    for variant, group in trials.groupby("variant"):
        shares = [group.loc[group["setting"] == name, "solved"].mean() for name in names]
        rows.append(("ours", variant, shares, int(group["solved"].sum()), len(group)))
    table = []
    for source, variant, shares, solved, started in rows:
        low, high = results.wilson_interval(solved, started)
        each = {f"setting {number}": share for number, share in enumerate(shares, start=1)}
        table.append(
            {"whose": source, "variant": variant, **each, "average": solved / started} | {"low": low, "high": high}
        )
    return pd.DataFrame(table)


def noise_markdown(table: pd.DataFrame) -> str:
    """`noise_table` as Markdown."""
    shares = ["setting 1", "setting 2", "setting 3", "average"]
    shown = table.assign(**{name: [f"{100 * share:.1f}%" for share in table[name]] for name in shares})
    bounds = zip(table["low"], table["high"], strict=True)
    shown["95% interval"] = [f"{100 * low:.1f} to {100 * high:.1f}%" for low, high in bounds]
    return results.to_markdown(shown.drop(columns=["low", "high"]))


def paired(trials: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """Two variants on the same seeds, a row per setting: seeds solved by both, by one alone, by the other, by neither.

    p_value: of McNemar's exact test (see `nram.results.mcnemar_p`).
    """
    rows = []
    for setting, group in trials.groupby("setting", sort=False):
        solved = group.pivot(index="trial", columns="variant", values="solved")[[one, other]].astype(bool)
        a, b = solved[one], solved[other]
        only_one, only_other = int((a & ~b).sum()), int((b & ~a).sum())
        row = {"setting": setting, "both": int((a & b).sum()), f"only {one}": only_one, f"only {other}": only_other}
        rows.append({**row, "neither": int((~a & ~b).sum()), "p_value": results.mcnemar_p(only_one, only_other)})
    return pd.DataFrame(rows)


def readme_tables(folder: str | Path) -> dict[str, str]:
    """The README's tables of the finished studies in `folder`, as Markdown by the names of their marks.

    rates: how often seeds are solved. scaling: what that means on many cores.
    """
    if not (Path(folder) / "rates" / "provenance.json").is_file():
        return {}
    table = study_table(load_study(Path(folder) / "rates"))
    return {"rates": study_markdown(table), "scaling": scaling_markdown(table)}


def scaling_markdown(table: pd.DataFrame, cores: int = 64) -> str:
    """What the rates of `study_table` mean for a search on many cores, as Markdown: an estimate, not a measurement.

    Trials are independent: the number solved in an hour grows with the number of cores.
    """
    per_hour = table["started"] / table["cpu_hours"]
    shown = pd.DataFrame({"task": table["setting"], "seeds per core and hour": per_hour.round().astype(int)})
    shown["solved per core and hour"] = table["per_cpu_hour"].round().astype(int)
    shown[f"solved per hour on {cores} cores"] = (cores * table["per_cpu_hour"]).round().astype(int)
    return results.to_markdown(shown)


def settings_table(folder: str | Path) -> pd.DataFrame:
    """What differs between the settings of a finished study: a row per setting, from its first variant."""
    held = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["configurations"]
    first = {each["setting"]: each for each in reversed(held)}
    frame = pd.DataFrame([first[name] for name in dict.fromkeys(each["setting"] for each in held)])
    frame = frame.map(lambda value: value[0] if isinstance(value, list) and value[0] == value[1] else value)
    differing = [name for name in frame.columns if len({json.dumps(value) for value in frame[name]}) > 1]
    return frame[differing]


def study_markdown(table: pd.DataFrame) -> str:
    """`study_table` as Markdown; without the variants if there is only one."""
    shown = table[["setting", "variant", "started", "solved"]].copy()
    if table["variant"].nunique() == 1:
        shown = shown.drop(columns="variant")
    shown["rate"] = [f"{100 * rate:.0f}%" for rate in table["rate"]]
    low, high = table["rate_low"], table["rate_high"]
    shown["95% interval"] = [f"{100 * a:.1f} to {100 * b:.1f}%" for a, b in zip(low, high, strict=True)]
    shown["more, fuzzy only"] = table["fuzzy_only"]
    quartiles = [table[f"batches_{name}"] for name in ("quartile1", "median", "quartile3")]
    shown["batches to solve: median (quartiles)"] = [
        "–" if pd.isna(median) else f"{median:.0f} ({first:.0f} to {third:.0f})"
        for first, median, third in zip(*quartiles, strict=True)
    ]
    shown["CPU minutes"] = (60 * table["cpu_hours"]).round(1)
    shown["solved per CPU hour"] = table["per_cpu_hour"].round().astype(int)
    return results.to_markdown(shown)
