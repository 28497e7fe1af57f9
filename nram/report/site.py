"""The site's files: a front page, a page per executed notebook, nothing that is fetched from elsewhere."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import jinja2
import nbformat
import pandas as pd
from pygments.formatters import HtmlFormatter

from nram import results, tasks
from nram.experiments.search import wilson_interval
from nram.experiments.studies import load_study
from nram.experiments.study_tables import study_table
from nram.report import curves, recorded
from nram.report.traces import traces

__all__ = ["build"]

ASSETS = Path(__file__).parent / "assets"
JUDGED = ("train_error", "generalization", "discretization")
SAID = {True: "reached", False: "not reached", None: "the paper gives no number"}


def build(runs: str | Path = recorded.RECORDED, out: str | Path = "results/report") -> Path:
    """Write the site of a folder of runs into `out`; the front page's path. What was there is written over.

    Its notebooks are those of the folder `notebooks` in it or beside it, and those in the runs' own folders. Raises
    FileNotFoundError if there is no such folder of runs, ValueError if it has no finished run.
    """
    runs, out = Path(runs), Path(out)
    frame = results.load_runs(runs)
    best = results.best_runs(frame)
    if not best:
        raise ValueError(f"{runs} holds no finished run")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    for old in out.glob("notebooks/*.html"):
        old.unlink()
    pages = _write_notebooks(_notebooks(runs, best), out, environment)
    table = results.table1(frame)
    results.write_text(out / "table1.csv", table.to_csv(index=False))
    _write_panels(runs, best, out / "figures")
    entries = traces(best)
    data = json.dumps(entries, separators=(",", ":")).replace("</", "<\\/")
    results.write_text(out / "traces.js", f"const TRACES = {data};\n")
    for name in ("stepper.js", "style.css"):
        results.write_text(out / name, (ASSETS / name).read_text(encoding="utf-8"))
    rows = _table_rows(table)
    page = environment.get_template("index.html.jinja").render(
        rows=rows,
        reached=len(results.all_reached(table)),
        panels=[_panel(key, table, best) for key in tasks.KEYS],
        rates=_success_rates(runs, frame),
        traces=entries,
        first=recorded.TRACED,
        notebooks=pages,
        where=_where(best),
    )
    results.write_text(out / "index.html", page)
    return out / "index.html"


def _table_rows(table: pd.DataFrame) -> list[dict]:
    """Table 1 for the page: per task its title and cells (paper, ours, whether ours reaches it, in words and mark)."""
    judged = results.reached(table).set_index("task")
    rows = []
    for _, row in table.iterrows():
        run = not pd.isna(row["runs"])
        cells = []
        for name in JUDGED:
            reached = judged.loc[row["task"], name]
            ours = row[name] if run else "not run"
            said = SAID[reached] if run else "not run"
            cells.append(
                {
                    "name": name.replace("_", " "),
                    "paper": _number(row[f"paper_{name}"]),
                    "ours": _number(ours),
                    "reached": reached,
                    "mark": results.MARKS[reached],
                    "said": said,
                }
            )
        cases = f"{row['train_cases']} / {row['generalization_cases']} / {row['discretization_cases']}" if run else "–"
        rows.append(
            {
                "key": row["task"],
                "title": tasks.get(row["task"]).title,
                "complexity": f"{row['paper_train_complexity']}, {row['complexity_measure']}",
                "trained_at": row["train_complexity"] if run else None,
                "cells": cells,
                "cases": cases,
                "run": run,
                "beyond": (row.get("beyond_paper") or "") if run else "",
            }
        )
    return rows


def _number(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_panels(runs: Path, best: dict, folder: Path) -> None:
    """Figure 3 as one small picture per task (SVG), with all ten tasks and both machines."""
    frame = results.load_generalization(runs)
    folder.mkdir(parents=True, exist_ok=True)
    for key, run in best.items():
        if key in tasks.KEYS:
            rows = frame[frame["run"] == Path(run["folder"]).name]
            figure = curves.panel(rows[rows["mode"] == "uniform"], int(run["train_difficulty"]))
            figure.savefig(folder / f"figure3_{key}.svg", metadata={"Date": None})


def _panel(key: str, table: pd.DataFrame, best: dict) -> dict:
    """A task's panel of Figure 3: its title, what the paper says, and the picture's text; no picture if not run."""
    paper = table.set_index("task").loc[key, "paper_generalization"]
    panel = {"key": key, "title": tasks.get(key).title, "paper": paper, "text": None}
    if key in best:
        run = results.load_run(best[key]["folder"])
        rows = run.generalization[run.generalization["mode"] == "uniform"].set_index(["machine", "complexity"])
        said = []
        for machine in ("fuzzy", "discretized"):
            errors = rows.loc[machine, "error"] if machine in rows.index else pd.Series(dtype=float)
            if len(errors) and (errors == 0).all():
                said.append(f"the {machine} machine makes no error up to {errors.index.max()}")
            elif len(errors):
                first, last = errors.index.min(), errors.index.max()
                said.append(f"the {machine} machine's error is {errors[first]:.2g} up to {first}, {errors[last]:.2g} "
                            f"up to {last}")  # fmt: skip
        panel["text"] = f"{panel['title']}: {'; '.join(said) or 'not measured'}."
    return panel


def _success_rates(runs: Path, frame: pd.DataFrame) -> list[dict]:
    """Seeds started and solved per task, the rate and its 95% interval, and where they were counted.

    In the study of rates where the folder of runs has one and the task is in it, else in the task's runs.
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
        low, high = wilson_interval(solved, started)
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
    """What the runs were made with: the values that occur, in words."""
    rows = pd.DataFrame(best.values())
    names = ("commit", "device", "torch", "python")
    return {
        name: ", ".join(sorted({str(value)[:10] if name == "commit" else str(value) for value in rows[column]}))
        for name in names
        if (column := f"provenance_{name}") in rows
    }


# Notebooks


def _notebooks(runs: Path, best: dict) -> list[tuple[str, Path]]:
    """(name, path) of the executed notebooks."""
    found = {}
    for folder in (runs.parent / "notebooks", runs / "notebooks"):
        # Sources stand beside `results`, never in it: a folder of sources is none of a site's.
        if folder.resolve() != (results.CHECKOUT / "notebooks").resolve():
            found |= {path.stem: path for path in folder.glob("*.ipynb")}
    for key, run in best.items():
        path = Path(run["folder"]) / "notebook.ipynb"
        if path.is_file():
            found.setdefault(f"10_task-{key}", path)

    def place(name: str):
        start, _, key = name.partition("-")
        return start, tasks.KEYS.index(key) if key in tasks.KEYS else -1, name

    return [(name, found[name]) for name in sorted(found, key=place)]


def _write_notebooks(notebooks: Iterable[tuple[str, Path]], out: Path, environment: jinja2.Environment) -> list[dict]:
    """Write a page for every notebook; per page: name, title, claim."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="basic")
    template = environment.get_template("notebook.html.jinja")
    results.write_text(out / "notebooks" / "code.css", HtmlFormatter(style="default").get_style_defs(".highlight"))
    contents = [(name, recorded.light(nbformat.read(path, as_version=4))) for name, path in notebooks]
    pages = [{"name": name, "title": _title(name, notebook)} for name, notebook in contents]
    for place, (name, notebook) in enumerate(contents):
        body, _ = exporter.from_notebook_node(notebook)
        page = template.render(
            title=pages[place]["title"],
            body=_accessible(body),
            before=pages[place - 1] if place else None,
            after=pages[place + 1] if place + 1 < len(pages) else None,
        )
        results.write_text(out / "notebooks" / f"{name}.html", page)
    return pages


def _title(name: str, notebook) -> str:
    """A notebook's first heading, with the task for the notebook of one task."""
    found = re.search(r"^#\s+(.+)$", notebook.cells[0].source if notebook.cells else "", re.MULTILINE)
    title = found.group(1) if found else name
    _, _, key = name.partition("-")
    return f"{tasks.get(key).title}: {title[0].lower()}{title[1:]}" if key in tasks.KEYS else title


def _accessible(body: str) -> str:
    """A notebook's HTML whose pictures all have alternative text, and whose tables scroll in a box of their own."""
    body = re.sub(r"<img(?![^>]*\balt=)", '<img alt="A figure; the text around it says what it shows."', body)
    return re.sub(r"(<table\b.*?</table>)", r'<div class="scroll" tabindex="0">\1</div>', body, flags=re.DOTALL)
