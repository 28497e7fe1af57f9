"""`python -m nram recorded`: all that this repository shows of its recorded runs, made anew from the runs alone.

The notebooks, executed on results/recorded and stored below results/recorded/notebooks with their outputs, so that they
can be read on the web; the picture of a trace; the tables in the README. Nothing is trained, but for the notebook that
trains a task of one's own.
"""

import base64
import io
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat
import torch
from PIL import Image

from nram import model, program, results, tasks
from nram.experiments import reproduce, studies
from nram.report import tapes

__all__ = ["LARGEST", "RECORDED", "execute_notebooks", "light", "trace_picture", "update_readme"]

RECORDED = results.RECORDED
LARGEST = 1_000_000  # bytes of a committed file
COLOURS = (64, 16)  # of a stored picture: what curves, boxes and text need, and what they can do with
WIDGETS = "application/vnd.jupyter.widget-view+json"
TRACED = "reverse"  # the task whose trace the README shows


def execute_notebooks(
    names: Iterable[str] = (), runs: Path = RECORDED, say: Callable[[str], None] = print
) -> list[Path]:
    """Execute the notebooks of these names, by default all, on a folder of runs; the executed copies' paths.

    The notebook of one task is executed for every task's best run, which it shows; the others get the folder of runs.
    Raises ValueError for an unknown name, a notebook that fails, and a copy of `LARGEST` bytes or more.
    """
    import papermill

    sources = {path.stem: path for path in sorted(reproduce.NOTEBOOKS.glob("*.ipynb"))}
    for name in names:
        if name not in sources:
            raise ValueError(f"there is no notebook {name!r}: there are {', '.join(sources)}")
    shown = {
        "results_folder": _seen_from_notebooks(runs),
        "figures_folder": _seen_from_notebooks(results.FIGURES),
    }
    plan = []
    for name in names or sources:
        if name == reproduce.TASK_NOTEBOOK:
            best = results.best_runs(results.load_runs(runs))
            for task in (key for key in tasks.KEYS if key in best):
                plan.append((sources[name], f"{name}-{task}", {"finished": _seen_from_notebooks(best[task]["folder"])}))
        else:
            has = papermill.inspect_notebook(str(sources[name]))
            plan.append((sources[name], name, {each: shown[each] for each in shown if each in has}))
    written = []
    for source, name, parameters in plan:
        say(f"{name}")
        target = runs / "notebooks" / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as scratch:
            aside = Path(scratch) / source.name
            threads = reproduce.usable_cores()
            try:
                notebook = reproduce.execute(
                    source, aside, parameters, threads=threads, command="python -m nram recorded"
                )
            except Exception as error:
                raise ValueError(f"{name}: {reproduce.describe(error).error}") from error
        for colours in COLOURS:
            text = nbformat.writes(light(notebook, colours)) + "\n"
            if len(text.encode()) < LARGEST:
                break
        else:
            raise ValueError(f"{name} would have {len(text.encode())} bytes: it needs fewer or smaller figures")
        if str(results.CHECKOUT) in text:
            raise ValueError(f"{name} names a folder of this computer")
        results.write_text(target, text)
        written.append(target)
    return written


def _seen_from_notebooks(path: str | Path) -> str:
    return os.path.relpath(path, reproduce.NOTEBOOKS)


def light(notebook, colours: int = COLOURS[0]):
    """An executed notebook without what only a running one can show, and with small pictures; it is changed in place.

    Papermill's notes and widgets go; pictures keep their size and get a palette of so many colours.
    """
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"  # papermill draws one at random
        for name in ("papermill", "execution", "jupyter"):
            cell.metadata.pop(name, None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if WIDGETS not in output.get("data", {})]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _few_colours(output.data["image/png"], colours)
    return notebook


def _few_colours(png: str, colours: int) -> str:
    """A PNG in base64 with a palette, if that is smaller."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    stream = io.BytesIO()
    picture.quantize(colours, dither=Image.Dither.NONE).save(stream, format="PNG", optimize=True)
    smaller = base64.b64encode(stream.getvalue()).decode()
    return smaller if len(smaller) < len(png) else png


def trace_picture(folder: str | Path, path: Path, difficulty: int = 6, seed: int = 0) -> None:
    """Write a picture of a recorded machine's run on integers: memory and registers at every timestep, as PNG."""
    machine = model.load(folder)
    task = tasks.get(machine.task)
    batch = task.sample(
        torch.tensor([difficulty]), max(3, task.min_cells(difficulty)), torch.Generator().manual_seed(seed)
    )
    steps = list(program.from_machine(machine).trace(batch.memory[0].tolist(), int(batch.limit[0])))
    stream = io.BytesIO()
    tapes.execution(steps, f"{task.title}: what a trained machine does").savefig(stream, format="png", dpi=110)
    png = base64.b64encode(stream.getvalue()).decode()
    path.write_bytes(base64.b64decode(_few_colours(png, COLOURS[0])))


def update_readme(path: Path = results.CHECKOUT / "README.md", runs: Path = RECORDED) -> None:
    """Write the tables of the recorded runs between their marks in the README. Raises ValueError for a missing mark."""
    frame = results.load_runs(runs)
    text = path.read_text(encoding="utf-8")
    tables = results.readme_tables(frame) | studies.readme_tables(runs / results.STUDIES)
    for name, table in tables.items():
        parts = re.split(f"(<!-- {name} -->\n|<!-- /{name} -->)", text)
        if len(parts) != 5:
            raise ValueError(f"{path} must have one place marked {name}")
        text = "".join([*parts[:2], table, *parts[3:]])
    results.write_text(path, text)
