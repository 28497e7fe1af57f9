"""The site of a folder of runs: a front page and a page per executed notebook. A page loads nothing from elsewhere."""

import json
from pathlib import Path

import jinja2
import pandas as pd

from nram import results, tasks
from nram.experiments import chances
from nram.experiments.studies import load_study
from nram.experiments.study_tables import study_table
from nram.report import curves, recorded, style
from nram.report.notebook_pages import write_notebook_pages
from nram.report.traces import traces

__all__ = ["build"]

ASSETS = Path(__file__).parent / "assets"


def build(runs: str | Path = recorded.RECORDED, out: str | Path = "results/report") -> Path:
    """Write the site of a folder of runs into `out`, over what is there, and return the front page's path.

    Raises FileNotFoundError if there is no such folder of runs, ValueError if it has no finished run.
    """
    runs, out = Path(runs), Path(out)
    frame = results.load_runs(runs)
    best = results.best_runs(frame)
    if not best:
        raise ValueError(f"{runs} holds no finished run")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    table = results.table1(frame)
    rows = _table_rows(table)
    entries = traces(best)
    pages = write_notebook_pages(runs, best, out / "notebooks", environment)
    _write_panels(runs, best, out / "figures")
    _write_traces(entries, out / "traces.js")
    for name in ("stepper.js", "style.css"):
        results.write_text(out / name, (ASSETS / name).read_text(encoding="utf-8"))
    results.write_text(out / "table1.csv", table.to_csv(index=False))
    page = environment.get_template("index.html.jinja").render(
        rows=rows,
        reached=len(results.all_reached(table)),
        panels=[_panel(key, table, best) for key in tasks.KEYS],
        traces=entries,
        first=recorded.TRACED,
        chances=_chances(runs),
        rates=_success_rates(runs, frame),
        notebooks=pages,
        where=_where(best),
    )
    results.write_text(out / "index.html", page)
    return out / "index.html"


def _table_rows(table: pd.DataFrame) -> list[dict]:
    """Table 1 for the page: a dict per task; its cells are those of `results.table1_rows`."""
    return [
        {
            "key": row.task,
            "title": tasks.get(row.task).title,
            "complexity": f"{row.paper_trained_at}, {row.complexity_measure}",
            "trained_at": row.trained_at,
            "cells": row.cells,
            "cases": " / ".join(map(str, row.cases)) if row.cases else "–",
            "run": row.runs is not None,
            "beyond": row.beyond_paper,
        }
        for row in results.table1_rows(table)
    ]


def _write_panels(runs: Path, best: dict, folder: Path) -> None:
    """Write Figure 3 as one small picture (SVG) for each task that has a run, with both machines."""
    frame = results.load_generalization(runs)
    folder.mkdir(parents=True, exist_ok=True)
    for key, run in best.items():
        if key in tasks.KEYS:
            rows = frame[frame["run"] == Path(run["folder"]).name]
            figure = curves.panel(rows[rows["mode"] == "uniform"], int(run["train_difficulty"]))
            style.save_svg(figure, folder / f"figure3_{key}.svg")


def _panel(key: str, table: pd.DataFrame, best: dict) -> dict:
    """A task's panel of Figure 3: key, title, what the paper says, and the picture in words (None without a run)."""
    title = tasks.get(key).title
    paper = table.set_index("task").loc[key, "paper_generalization"]
    text = f"{title}: {_errors_in_words(best[key]['folder'])}." if key in best else None
    return {"key": key, "title": title, "paper": paper, "text": text}


def _errors_in_words(folder: str | Path) -> str:
    """How the errors of a run's two machines grow with the maximal complexity."""
    generalization = results.load_run(folder).generalization
    rows = generalization[generalization["mode"] == "uniform"].set_index(["machine", "complexity"])
    said = []
    for machine in ("fuzzy", "discretized"):
        errors = rows.loc[machine, "error"] if machine in rows.index else pd.Series(dtype=float)
        if len(errors) and (errors == 0).all():
            said.append(f"the {machine} machine makes no error up to {errors.index.max()}")
        elif len(errors):
            first, last = errors.index.min(), errors.index.max()
            ends = f"{errors[first]:.2g} up to {first}, {errors[last]:.2g} up to {last}"
            said.append(f"the {machine} machine's error is {ends}")
    return "; ".join(said) or "not measured"


def _write_traces(entries: list[dict], path: Path) -> None:
    """Write the stepper's data as a script: a page opened from disk may not fetch JSON."""
    data = json.dumps(entries, separators=(",", ":")).replace("</", "<\\/")  # "</script>" would end the script
    results.write_text(path, f"const TRACES = {data};\n")


def _chances(runs: Path) -> dict | None:
    """How often `make reproduce` ends in a perfect row, task by task, and in words; None without the folder's study."""
    folder = runs / results.STUDIES / chances.NAME
    if not (folder / "runs.csv").is_file():
        return None
    table = chances.chances_table(chances.load_chances(folder))
    shown = chances.shown_chances(table.assign(task=[tasks.get(key).title for key in table["task"]]))
    return {"titles": list(shown), "rows": shown.to_numpy().tolist(), "words": chances.chances_in_words(table)}


def _success_rates(runs: Path, frame: pd.DataFrame) -> list[dict]:
    """For each task the trials started and solved, the rate with its 95% interval, and where they were counted.

    That is the folder's study of rates if it has the task, else the task's runs.
    """
    folder, study = runs / results.STUDIES / "rates", {}
    if (folder / "provenance.json").is_file():
        study = study_table(load_study(folder)).set_index("setting").to_dict("index")
    rows = []
    for key in tasks.KEYS:
        of_task = frame[frame["task"] == key]
        if key in study:
            started, solved, where = study[key]["started"], study[key]["solved"], "study of rates"
        elif len(of_task):
            started, solved = int(of_task["members_started"].sum()), int(of_task["members_solved"].sum())
            where = f"{len(of_task)} run{'s' * (len(of_task) > 1)}"
        else:
            continue
        low, high = results.wilson_interval(solved, started)
        rows.append(
            {
                "title": tasks.get(key).title,
                "started": started,
                "solved": solved,
                "rate": f"{solved / started:.1%}",
                "interval": f"{low:.1%} to {high:.1%}",
                "high": round(100 * high, 2),
                "low": round(100 * low, 2),
                "at": round(100 * solved / started, 2),
                "where": where,
            }
        )
    return rows


def _where(best: dict) -> dict:
    """Commits, devices and versions that made the runs: each as the values that occur, in words."""
    rows = pd.DataFrame(best.values())
    names = ("commit", "device", "torch", "python")
    return {
        name: ", ".join(sorted({str(value)[:10] if name == "commit" else str(value) for value in rows[column]}))
        for name in names
        if (column := f"provenance_{name}") in rows
    }
