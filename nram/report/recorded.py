"""`python -m nram recorded`: renew what this repository shows of its recorded runs.

It executes the notebooks on results/recorded and stores them with their outputs in results/recorded/notebooks, where
they can be read on the web. It renews the picture of a trace and the tables in the README. Only 70_your_own_task
trains.
"""

import base64
import io
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat
import torch
from matplotlib.figure import Figure
from PIL import Image

from nram import model, program, results, tasks
from nram.experiments import chances, related_study, related_tables, study_tables
from nram.experiments.board import Board
from nram.experiments.notebooks import describe, execute
from nram.experiments.reproduce import TASK_NOTEBOOK
from nram.experiments.workers import usable_cores
from nram.report import related_curves, tapes

__all__ = ["LARGEST", "RECORDED", "execute_notebooks", "light", "related_picture", "trace_picture", "update_readme"]

RECORDED = results.RECORDED
LARGEST = 1_000_000  # bytes of a committed file
COLORS = (32, 16)  # palette sizes of stored pictures; the second if the file is too large
WIDGETS = "application/vnd.jupyter.widget-view+json"
TRACED = "reverse"  # the task whose trace the README shows


def execute_notebooks(names: Iterable[str] = (), runs: Path = RECORDED, board: Board | None = None) -> list[Path]:
    """Execute the notebooks of these names, by default all, on a folder of runs; return the copies' paths.

    board: shows the notebook that is executed. The task notebook is executed once per task and shows that task's best
    run; the others get the folder of runs. Raises ValueError for an unknown name, a notebook that fails, and a copy of
    `LARGEST` bytes or more.
    """
    written, board = [], board or Board()
    for source, name, parameters in board.each(_plan(names, runs), lambda each: each[1], "executed"):
        with tempfile.TemporaryDirectory() as scratch:
            aside, command = Path(scratch) / source.name, "python -m nram recorded"
            try:
                notebook = execute(source, aside, parameters, threads=usable_cores(), command=command)
            except Exception as error:
                raise ValueError(f"{name}: {describe(error).error}") from error
        target = runs / "notebooks" / f"{name}.ipynb"
        results.write_text(target, _small_text(notebook, name))
        written.append(target)
    return written


def _plan(names: Iterable[str], runs: Path) -> list[tuple[Path, str, dict]]:
    """(source, name of the executed copy, parameters) of every notebook to execute."""
    import papermill

    sources = {path.stem: path for path in sorted(results.NOTEBOOKS.glob("*.ipynb"))}
    for name in names:
        if name not in sources:
            raise ValueError(f"there is no notebook {name!r}: there are {', '.join(sources)}")
    shown = {
        "results_folder": results.as_parameter(runs),
        "figures_folder": results.as_parameter(results.FIGURES),
    }
    plan = []
    for name in names or sources:
        if name == TASK_NOTEBOOK:
            best = results.best_runs(results.load_runs(runs))
            for task in (key for key in tasks.KEYS if key in best):
                plan.append((sources[name], f"{name}-{task}", {"finished": results.as_parameter(best[task]["folder"])}))
        else:
            has = papermill.inspect_notebook(str(sources[name]))
            plan.append((sources[name], name, {each: shown[each] for each in shown if each in has}))
    return plan


def _small_text(notebook, name: str) -> str:
    """An executed notebook as it is stored. Raises ValueError if it is too large or names a folder of this computer."""
    for colors in COLORS:
        text = nbformat.writes(light(notebook, colors)) + "\n"
        if len(text.encode()) < LARGEST:
            break
    else:
        raise ValueError(f"{name} would have {len(text.encode())} bytes: it needs fewer or smaller figures")
    if str(results.CHECKOUT) in text:
        raise ValueError(f"{name} names a folder of this computer")
    return text


def light(notebook, colors: int = COLORS[0]):
    """Remove from an executed notebook what only a running one can show, and make its pictures small; in place.

    Papermill's notes and widgets go; pictures keep their size and get a palette of `colors` colors.
    """
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"  # papermill draws a random one
        for name in ("papermill", "execution", "jupyter"):
            cell.metadata.pop(name, None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if WIDGETS not in output.get("data", {})]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _few_colors(output.data["image/png"], colors)
    return notebook


def _few_colors(png: str, colors: int) -> str:
    """A PNG in base64 with a palette, if that is smaller."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    stream = io.BytesIO()
    picture.quantize(colors, dither=Image.Dither.NONE).save(stream, format="PNG", optimize=True)
    smaller = base64.b64encode(stream.getvalue()).decode()
    return smaller if len(smaller) < len(png) else png


def trace_picture(folder: str | Path, path: Path, difficulty: int = 6, seed: int = 0) -> None:
    """Write a PNG of a recorded machine's execution on integers: memory and registers at every timestep."""
    machine = model.load(folder)
    task = tasks.get(machine.task)
    batch = task.sample(
        torch.tensor([difficulty]), task.smallest_memory(difficulty), torch.Generator().manual_seed(seed)
    )
    steps = list(program.from_machine(machine).trace(batch.memory[0].tolist(), int(batch.limit[0])))
    _write_small(tapes.execution(steps, f"{task.title}: what a trained machine does"), path)


def related_picture(studies: Path, path: Path) -> None:
    """Write a PNG of the error by length of the machine and the other systems, if their study is there."""
    if not (studies / related_study.NAME / "runs.csv").is_file():
        return
    runs = related_study.load_related(studies / related_study.NAME)
    _write_small(related_curves.error_by_length(related_tables.related_curves(runs)), path)


def _write_small(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of few colors."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    png = base64.b64encode(stream.getvalue()).decode()
    path.write_bytes(base64.b64decode(_few_colors(png, COLORS[0])))


def update_readme(path: Path = results.CHECKOUT / "README.md", runs: Path = RECORDED) -> None:
    """Renew the tables of the recorded runs between their marks in the README. Raises ValueError for a missing mark."""
    frame = results.load_runs(runs)
    text = path.read_text(encoding="utf-8")
    studies = runs / results.STUDIES
    tables = results.readme_tables(frame) | study_tables.readme_tables(studies) | chances.readme_tables(studies)
    for name, table in tables.items():
        parts = re.split(f"(<!-- {name} -->\n|<!-- /{name} -->)", text)
        if len(parts) != 5:
            raise ValueError(f"{path} must have one place marked {name}")
        text = "".join([*parts[:2], table, *parts[3:]])
    results.write_text(path, text)
