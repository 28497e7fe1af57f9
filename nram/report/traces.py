"""What the page's stepper shows: runs of the discretized machines on examples, every timestep, as plain JSON values."""

import inspect

import torch

import nram
from nram import program, results, tasks
from nram.machine.circuit import Layout
from nram.program import Circuit, Program, Step
from nram.report import circuits as plots

__all__ = ["traces"]

DIFFICULTIES = (3, 5, 8)  # of the examples


def traces(runs: dict, seed: int = 0) -> list[dict]:
    """One entry per task in `runs`, what `results.best_runs` gives: its machine's runs on examples, and the paper's.

    An entry: key, title, layout (the task's memory in words), machine (in words), solved, program (as Python), circuits
    (see `_drawn`), examples (see `_example`). Raises ValueError if a program and its machine leave different memories.
    """
    entries = []
    for key in (key for key in tasks.KEYS if key in runs):
        run, machine = runs[key], nram.load(runs[key]["folder"])
        task = tasks.get(key).with_limit(int(run["limit_slope"]), int(run["limit_offset"]))
        batches = _examples(task, seed)
        longest = max(int(run["train_difficulty"]), *DIFFICULTIES)
        read = program.readable(machine, task, [batch for _, batch in batches], longest)
        circuits: dict[Circuit, int] = {}
        examples = []
        for difficulty, batch in batches:
            cells, limit = batch.memory[0].tolist(), int(batch.limit[0])
            steps = list(read.trace(cells, limit))
            if list(steps[-1].memory) != machine.discretize().run(batch.memory, batch.limit)[0].tolist():
                raise ValueError(f"{key}: the program does not leave what the machine leaves")
            output = batch.mask[0].nonzero().flatten().tolist()
            example = _example(f"our machine, {task.title} of {difficulty}", steps, read, circuits)
            examples.append(example | {"output": output, "target": batch.target[0].tolist(), "limit": limit})
        if key in program.PUBLISHED:
            examples.append(_published(key, circuits))
        modules = len(machine.layout.modules)
        entries.append(
            {
                "key": key,
                "title": task.title,
                "layout": inspect.getdoc(task.generate).partition("\n\n")[0].replace("`", ""),
                "machine": f"{machine.num_registers} registers, {modules} modules, {machine.controller_kind.upper()} "
                f"controller with {machine.hidden} units per layer",
                "solved": bool(run["discretized_train_error"] == 0),
                "error": f"{run['discretized_train_error']:.2g}",
                "complexity": int(run["train_difficulty"]),
                "program": read.to_python(),
                "circuits": [_drawn(circuit) for circuit in circuits],
                "examples": examples,
            }
        )
    return entries


def _examples(task: tasks.Task, seed: int) -> list[tuple[int, tasks.Batch]]:
    """One example of each difficulty, in the smallest memory for it."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (each, task.sample(torch.tensor([each]), max(3, task.min_cells(each)), generator))
        for each in sorted({max(each, task.min_difficulty) for each in DIFFICULTIES})
    ]


def _published(key: str, circuits: dict[Circuit, int]) -> dict:
    """The execution that the paper prints, re-enacted by `nram.program.published`."""
    frame, wired = results.paper_execution(key), program.published(key)
    cells = [name for name in frame if name[0] == "m" and name[1:].isdigit()]
    steps = list(wired.trace(frame.loc[0, cells].tolist(), len(frame)))
    example = _example(f"the paper's Table {results.PAPER_EXECUTIONS[key]}, re-enacted", steps, wired, circuits)
    return example | {"output": [], "target": None, "limit": len(frame)}


def _example(label: str, steps: list[Step], of: Program, circuits: dict[Circuit, int]) -> dict:
    """A run: label, and of every timestep the registers and the memory at its start, circuit, values, reads, writes.

    The last step has no circuit: it is how the run ends. `circuits` numbers the circuits, new ones are added.
    """
    shown = []
    for step in steps:
        entry = {"registers": list(step.registers), "memory": list(step.memory)}
        if step.row is not None:
            circuit = of.circuits[step.row.circuit]
            entry["circuit"] = circuits.setdefault(circuit, len(circuits))
            entry["values"] = list(step.values)
            entry["reads"] = [list(pair) for pair in step.reads]
            entry["writes"] = [list(pair) for pair in step.writes]
            entry["stop"] = step.row.stop
        shown.append(entry)
    return {"label": label, "steps": shown}


def _drawn(circuit: Circuit) -> dict:
    """A circuit for drawing and for reading.

    nodes: [number, name, kind (register, module, new), column, lane]; a module's number is its source, new register r's
    is num_sources + r. wires: [from, to, shift]: -1, 0 or 1 for the first of two inputs, the only one, the second.
    lines: [module's number, name, inputs' numbers and names]. registers: [register, source, source's name].
    """
    layout: Layout = circuit.layout
    edges, names, first = plots.wires(circuit), layout.source_names, layout.num_registers
    column, lane = plots.places(layout, edges)
    nodes = []
    for node in column:
        new = node >= layout.num_sources
        name = f"r{node - layout.num_sources + 1}" if new else names[node]
        kind = "new" if new else "register" if node < first else "module"
        nodes.append([node, name, kind, column[node], lane[node]])
    wires = []
    for source, module, position, _ in edges:
        two = module is not None and layout.modules[module].arity == 2
        target = layout.num_sources + position if module is None else first + module
        wires.append([source, target, (2 * position - 1) * two])
    lines = [
        [first + index, names[first + index], [[source, names[source]] for source in found]]
        for index, found in enumerate(circuit.inputs)
        if found
    ]
    return {
        "nodes": nodes,
        "wires": wires,
        "lines": lines,
        "registers": [[r, source, names[source]] for r, source in enumerate(circuit.registers)],
    }
