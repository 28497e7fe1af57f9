"""The data of the page's stepper: executions of the discretized machines, every timestep, as plain JSON values."""

import inspect

import torch

from nram import program, results, tasks
from nram.experiments.run import task_of_run
from nram.model import load
from nram.program import Circuit, Program, Step
from nram.report.circuits import places, wires

__all__ = ["traces"]

DIFFICULTIES = (3, 5, 8)  # of the examples


def traces(runs: dict, seed: int = 0) -> list[dict]:
    """One entry per task in `runs`: its machine's executions on three examples, then the one that the paper prints.

    runs: by task, as from `results.best_runs`. An entry has: key, title, layout (the task's memory in words), machine
    (in words), solved, error, complexity, program (as Python), circuits (see `_drawn`) and executions (see `_shown`).
    Raises ValueError if a program leaves another memory than its machine.
    """
    return [_entry(key, runs[key], seed) for key in tasks.KEYS if key in runs]


def _entry(key: str, run, seed: int) -> dict:
    machine = load(run["folder"])
    task = task_of_run(run)
    batches = _examples(task, seed)
    longest = max(int(run["train_difficulty"]), *DIFFICULTIES)
    learned = program.readable(machine, task, list(batches.values()), longest)
    numbers: dict[Circuit, int] = {}
    executions = []
    for difficulty, batch in batches.items():
        cells, limit = batch.memory[0].tolist(), int(batch.limit[0])
        steps = list(learned.trace(cells, limit))
        if list(steps[-1].memory) != machine.discretize().run(batch.memory, batch.limit)[0].tolist():
            raise ValueError(f"{key}: the program leaves another memory than the machine")
        shown = _shown(f"our machine, {task.title} of {difficulty}", steps, learned, numbers)
        output = batch.mask[0].nonzero().flatten().tolist()
        executions.append(shown | {"output": output, "target": batch.target[0].tolist(), "limit": limit})
    if key in program.PUBLISHED:
        executions.append(_published(key, numbers))
    modules, units = len(machine.layout.modules), f"{machine.hidden} units per layer"
    return {
        "key": key,
        "title": task.title,
        "layout": inspect.getdoc(task.generate).partition("\n\n")[0].replace("`", ""),
        "machine": f"{machine.num_registers} registers, {modules} modules, {machine.controller_kind.upper()} "
        f"controller with {units}",
        "solved": bool(run["discretized_train_error"] == 0),
        "error": f"{run['discretized_train_error']:.2g}",
        "complexity": int(run["train_difficulty"]),
        "program": learned.to_python(),
        "circuits": [_drawn(circuit) for circuit in numbers],
        "executions": executions,
    }


def _examples(task: tasks.Task, seed: int) -> dict[int, tasks.Batch]:
    """One example of each difficulty, in the smallest memory for it."""
    generator = torch.Generator().manual_seed(seed)
    return {
        each: task.sample(torch.tensor([each]), task.smallest_memory(each), generator)
        for each in sorted({max(each, task.min_difficulty) for each in DIFFICULTIES})
    }


def _published(key: str, numbers: dict[Circuit, int]) -> dict:
    """The execution that the paper prints, re-enacted by `nram.program.published`."""
    frame, wired = results.paper_execution(key), program.published(key)
    cells = [name for name in frame if name[0] == "m" and name[1:].isdigit()]
    steps = list(wired.trace(frame.loc[0, cells].tolist(), len(frame)))
    shown = _shown(f"the paper's Table {results.PAPER_EXECUTIONS[key]}, re-enacted", steps, wired, numbers)
    return shown | {"output": [], "target": None, "limit": len(frame)}


def _shown(label: str, steps: list[Step], of: Program, numbers: dict[Circuit, int]) -> dict:
    """An execution: its label and its steps.

    A step has registers and memory at its start, circuit, values, reads, writes and stop. The last one is the end and
    has registers and memory alone. `numbers` numbers the circuits; new ones are added.
    """
    shown = []
    for step in steps:
        entry = {"registers": list(step.registers), "memory": list(step.memory)}
        if step.row is not None:
            circuit = of.circuits[step.row.circuit]
            entry["circuit"] = numbers.setdefault(circuit, len(numbers))
            entry["values"] = list(step.values)
            entry["reads"] = [list(pair) for pair in step.reads]
            entry["writes"] = [list(pair) for pair in step.writes]
            entry["stop"] = step.row.stop
        shown.append(entry)
    return {"label": label, "steps": shown}


def _drawn(circuit: Circuit) -> dict:
    """A circuit to draw and to read; for a node's number see `nram.report.circuits`.

    nodes: [number, name, kind (register, module or new), column, lane].
    wires: [from, to, shift]; shift is -1 for the first of two inputs, 1 for the second, 0 for an only one.
    lines: [module's number, name, inputs' numbers and names].
    registers: [register, source, source's name].
    """
    layout = circuit.layout
    drawn, names, first_module = wires(circuit), layout.source_names, layout.num_registers
    column, lane = places(layout, drawn)
    nodes = []
    for node in column:
        new = node >= layout.num_sources
        name = f"r{node - layout.num_sources + 1}" if new else names[node]
        kind = "new" if new else "register" if node < first_module else "module"
        nodes.append([node, name, kind, column[node], lane[node]])
    shifts = []
    for wire in drawn:
        has_two = wire.module is not None and layout.modules[wire.module].arity == 2
        shifts.append([wire.source, wire.target(layout), (2 * wire.position - 1) * has_two])
    lines = [
        [first_module + index, names[first_module + index], [[source, names[source]] for source in found]]
        for index, found in enumerate(circuit.inputs)
        if found
    ]
    return {
        "nodes": nodes,
        "wires": shifts,
        "lines": lines,
        "registers": [[r, source, names[source]] for r, source in enumerate(circuit.registers)],
    }
