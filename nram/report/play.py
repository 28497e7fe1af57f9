"""Choose a machine and an example in a notebook and watch the memory, with menus and sliders if ipywidgets is there."""

import torch

from nram import program, tasks
from nram.experiments.run import task_of_run
from nram.model import load
from nram.report.tapes import execution

__all__ = ["execute", "outcome", "watch"]

LONGEST = 20  # largest length on the slider


def watch(best: dict, task: str, length: int, seed: int):
    """Display an execution, and above it widgets that choose another one and how many of its rows to show.

    best: by task, as from `results.best_runs`. Returns the widgets by name. Without ipywidgets it displays the
    execution alone and returns {}. Raises ValueError for a task without a run.
    """
    from IPython.display import Markdown, display

    known = [key for key in tasks.KEYS if key in best]
    if task not in known:
        raise ValueError(f"there is no run of {task!r}; there are {', '.join(known)}")
    batch, steps = execute(best[task], length, seed)
    widgets = _widgets(known, task, length, seed, len(steps))
    if widgets:
        from ipywidgets import VBox

        display(VBox(list(widgets.values())))
    picture = display(execution(steps, tasks.get(task).title), display_id=True)
    sentence = display(Markdown(outcome(batch, steps)), display_id=True)

    def show_rows(_=None):
        title = tasks.get(widgets["task"].value).title
        picture.update(execution(steps[: widgets["rows"].value], title))

    def choose(_=None):
        nonlocal steps
        batch, steps = execute(best[widgets["task"].value], widgets["length"].value, widgets["seed"].value)
        with widgets["rows"].hold_trait_notifications():
            widgets["rows"].max = widgets["rows"].value = len(steps)
        show_rows()
        sentence.update(Markdown(outcome(batch, steps)))

    for name, widget in widgets.items():
        widget.observe(show_rows if name == "rows" else choose, "value")
    return widgets


def execute(run, length: int, seed: int) -> tuple[tasks.Batch, list[program.Step]]:
    """Execute a run's machine on a random example of a length: the example as a batch of one, and the steps.

    run: a row of `results.load_runs`. A length below the task's smallest difficulty counts as that difficulty.
    """
    machine = load(run["folder"])
    task = task_of_run(run)
    difficulty = torch.tensor([max(length, task.min_difficulty)])
    generator = torch.Generator().manual_seed(seed)
    batch = task.sample(difficulty, task.smallest_memory(int(difficulty)), generator)
    if machine.controller_kind == "mlp":
        learned = program.from_machine(machine)
    else:
        learned = program.from_runs(machine, batch.memory, batch.limit)
    return batch, list(learned.trace(batch.memory[0].tolist(), int(batch.limit[0])))


def outcome(batch: tasks.Batch, steps: list[program.Step]) -> str:
    """How an execution ended, in a sentence."""
    wrong = ((torch.tensor(steps[-1].memory) != batch.target[0]) & batch.mask[0]).sum().item()
    outputs = batch.mask.sum().item()
    verdict = f"{wrong} of {outputs} output cells are wrong" if wrong else f"all output cells ({outputs}) are right"
    ends = "stops by itself" if steps[-2].row.stop else "is stopped by the time limit"
    return f"After {len(steps) - 1} timesteps the machine {ends}; {verdict}."


def _widgets(known: list[str], task: str, length: int, seed: int, rows: int) -> dict:
    """The menu and the sliders by name, from top to bottom; {} without ipywidgets."""
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
