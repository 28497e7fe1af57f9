"""Choose a machine and an example, and watch the tape: in a notebook, with menus and sliders where there are any."""

import torch

import nram
from nram import program, tasks
from nram.report import circuits as plots

__all__ = ["outcome", "run_of", "watch"]

LONGEST = 20  # of the slider for the length


def run_of(run, length: int, seed: int) -> tuple[tasks.Batch, list[program.Step]]:
    """A machine's run on a random example of a length: (the example as a batch of one, the timesteps).

    run: a row of `results.load_runs`. Lengths below the task's smallest difficulty stand for that.
    """
    machine = nram.load(run["folder"])
    task = tasks.get(machine.task).with_limit(int(run["limit_slope"]), int(run["limit_offset"]))
    difficulty = torch.tensor([max(length, task.min_difficulty)])
    generator = torch.Generator().manual_seed(seed)
    batch = task.sample(difficulty, max(3, task.min_cells(int(difficulty))), generator)
    if machine.controller_kind == "mlp":
        read = program.from_machine(machine)
    else:
        read = program.from_runs(machine, batch.memory, batch.limit)
    return batch, list(read.trace(batch.memory[0].tolist(), int(batch.limit[0])))


def outcome(batch: tasks.Batch, steps: list[program.Step]) -> str:
    """How a run ended, in a sentence."""
    wrong = ((torch.tensor(steps[-1].memory) != batch.target[0]) & batch.mask[0]).sum().item()
    outputs = batch.mask.sum().item()
    said = f"{wrong} of {outputs} output cells are wrong" if wrong else f"all output cells ({outputs}) are right"
    ends = "stops by itself" if steps[-2].row.stop else "is stopped by the time limit"
    return f"After {len(steps) - 1} timesteps the machine {ends}; {said}."


def watch(best: dict, task: str, length: int, seed: int):
    """Display a run, and above it what chooses another one, and how many of its rows are shown.

    best: tasks' runs, as `results.best_runs` gives them. Without ipywidgets, or where nothing listens to them, the run
    is displayed all the same. Returns the widgets by name, {} without ipywidgets. Raises ValueError for another task.
    """
    from IPython.display import Markdown, display

    known = [key for key in tasks.KEYS if key in best]
    if task not in known:
        raise ValueError(f"there is no run of {task!r}; there are {', '.join(known)}")
    batch, steps = run_of(best[task], length, seed)
    widgets = _widgets(known, task, length, seed, len(steps))
    if widgets:
        from ipywidgets import VBox

        display(VBox(list(widgets.values())))
    picture = display(plots.execution(steps, tasks.get(task).title), display_id=True)
    sentence = display(Markdown(outcome(batch, steps)), display_id=True)

    def draw(_=None):
        title = tasks.get(widgets["task"].value).title
        picture.update(plots.execution(steps[: widgets["rows"].value], title))

    def choose(_=None):
        nonlocal batch, steps
        batch, steps = run_of(best[widgets["task"].value], widgets["length"].value, widgets["seed"].value)
        with widgets["rows"].hold_trait_notifications():
            widgets["rows"].max = widgets["rows"].value = len(steps)
        draw()
        sentence.update(Markdown(outcome(batch, steps)))

    for name, widget in widgets.items():
        widget.observe(draw if name == "rows" else choose, "value")
    return widgets


def _widgets(known: list[str], task: str, length: int, seed: int, rows: int) -> dict:
    """The menu and the sliders by name, in their order; {} without ipywidgets."""
    try:
        from ipywidgets import Dropdown, IntSlider, Layout
    except ImportError:
        return {}

    def slider(name: str, value: int, low: int, high: int, immediate: bool = False):
        return IntSlider(value, low, high, description=name, continuous_update=immediate, layout=Layout(width="24em"))

    return {
        "task": Dropdown(options=known, value=task, description="task", layout=Layout(width="24em")),
        "length": slider("length", length, 1, max(LONGEST, length)),
        "seed": slider("seed", seed, 0, max(99, seed)),
        "rows": slider("rows", rows, 1, rows, immediate=True),
    }
