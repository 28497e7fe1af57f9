"""The fourteen modules mean one thing, however they are computed: every meaning against Python's arithmetic.

A memory starts with the inputs a and b. One timestep of three repetitions reads them, runs the module and writes its
output into cell 0: whole machines, programs and kernels run that circuit. Meanings of single modules give the output.
"""

import functools
import importlib.util
import os
from dataclasses import replace
from itertools import product

import pytest
import torch
from builders import ARITHMETIC

from nram import kernels
from nram.machine.circuit import Layout
from nram.machine.controller import make_controller
from nram.machine.discrete import produce_discrete
from nram.machine.modules import MODULES, read, write
from nram.machine.run import Machines, RunOptions
from nram.program import Circuit, Program
from nram.program.abstract import NONZERO, UNKNOWN, abstract_output
from nram.program.execution import run_circuit
from nram.program.proof.expressions import Number, Unknown
from nram.program.proof.facts import Facts
from nram.program.proof.symbols import apply
from nram.program.tree import Row
from nram.tasks import Batch

TRITON = importlib.util.find_spec("triton") is not None
DEVICE = "cuda" if TRITON and torch.cuda.is_available() else "cpu"
if TRITON and DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
LAYOUT = Layout(1, 3)
BY_NAME = {module.name: module for module in MODULES}


def memories(num_cells):
    """A memory for every pair of inputs; what follows them is the same in all."""
    rest = [(3 * cell + 1) % num_cells for cell in range(2, num_cells)]
    return [[a, b, *rest] for a, b in product(range(num_cells), repeat=2)]


def by_arithmetic(name, memory):
    """The memory that the module leaves, in Python."""
    (a, b), after = memory[:2], list(memory)
    if name == "WRITE":
        after[a] = b
        after[1] = 0  # its output
    else:
        after[0] = memory[a] if name == "READ" else int(ARITHMETIC[name](a, b)) % len(memory)
    return after


def circuit(name):
    """The timestep that runs the module on the first two cells; the register holds 0."""
    if name == "WRITE":
        return Circuit.parse("READ r1; READ2 ONE; WRITE2 READ READ2; WRITE3 ONE WRITE2", LAYOUT)
    inputs = ["READ", "READ2"][: BY_NAME[name].arity]
    return Circuit.parse(f"READ r1; READ2 ONE; {' '.join([f'{name}3', *inputs])}; WRITE3 ZERO {name}3", LAYOUT)


def program(name):
    return Program(LAYOUT, (circuit(name),), {(0, 1): Row(0, True)})


def machines(name):
    """A machine whose controller emits the circuit whatever it sees."""
    controller = make_controller("mlp", LAYOUT, 1)
    params = {key: torch.zeros(1, *shape, device=DEVICE) for key, shape in controller.shapes().items()}
    params["output_bias"][0, :-1] = LAYOUT.one_hot_logits(circuit(name).sources())
    return Machines(LAYOUT, controller, params)


# Every meaning maps (module name, memories [B][M]) to a list [B] of lists: the memories that it allows. A meaning
# without an answer of its own gives None.


def by_machine(produce):
    def run(name, before):
        memory = torch.tensor([before], device=DEVICE)
        after = produce(machines(name), memory, torch.ones(memory.shape[:2], dtype=torch.long, device=DEVICE))
        return [[cells] for cells in after[0].tolist()]

    return run


@functools.cache
def gpu_values(num_cells):
    """(outputs [B, 14], memories [B, M]) of a timestep whose last modules all take a and b, in one run: it is slow."""
    from nram.kernels.gpu import Pass, Workspace

    inputs = [(1, 15)[: module.arity] for module in MODULES]  # the outputs of READ and READ2
    last = Circuit(LAYOUT, (*circuit("ZERO").inputs[:28], *inputs), (0,))
    params = {**machines("ZERO").params}
    params["output_bias"][0, :-1] = LAYOUT.one_hot_logits(last.sources())
    memory = torch.tensor([memories(num_cells)], device=DEVICE)
    limit = torch.ones(memory.shape[:2], dtype=torch.long, device=DEVICE)
    batch = Batch(memory, memory, torch.zeros_like(memory, dtype=torch.bool), limit, difficulty=limit)
    run = Pass(replace(machines("ZERO"), params=params), batch, RunOptions(), workspace=Workspace(), keep=True)
    return run.values[0, :, 1 + 28 :].argmax(-1).tolist(), run.tapes[1].argmax(-1).tolist()


def by_gpu_kernel(name, before):
    answers = []
    for memory, outputs, tape in zip(before, *gpu_values(len(before[0])), strict=True):
        output, after = outputs[MODULES.index(BY_NAME[name])], list(memory)
        if name == "WRITE":
            after = list(tape)
        after[name == "WRITE"] = output
        answers.append([after])
    return answers


def by_kernel(kernel):
    return by_machine(lambda *problem: kernels.produce(*problem, kernel=kernel))


def by_program(run):
    return lambda name, before: [[run(name, list(memory))] for memory in before]


def one_timestep(name, memory):
    run_circuit(circuit(name), [0], memory)
    return memory


def python_text(name, memory):
    names = {}
    exec(program(name).to_python(), names)
    return names["run"](memory, 1)


def by_outputs(outputs):
    """A meaning from a module's possible outputs: outputs(name, a, b, M), None for READ and WRITE."""

    def run(name, before):
        if BY_NAME[name].integer is None:
            return None
        return [[[output, *memory[1:]] for output in outputs(name, *memory[:2], len(memory))] for memory in before]

    return run


def fuzzy(name, before):
    """The fuzzy modules on one-hot distributions; the outputs are one-hot exactly."""
    one_hot, module = torch.eye(len(before[0])), BY_NAME[name]
    answers = []
    for memory in before:
        tape, (a, b) = one_hot[memory], one_hot[memory[:2]]
        if name == "WRITE":
            after = write(tape, a, b)
            after[1] = one_hot[0]
        else:
            after = tape.clone()
            after[0] = read(tape, a) if name == "READ" else module.fuzzy(a, b)
        assert torch.equal(after, one_hot[after.argmax(-1)])
        answers.append([after.argmax(-1).tolist()])
    return answers


def integers(value, num_cells):
    """The integers that an abstract value stands for."""
    return [value] if isinstance(value, int) else list(range(1 if value == NONZERO else 0, num_cells))


def abstractions(integer):
    """The abstract values that stand for an integer."""
    return [value for value in (0, 1, 2, NONZERO, UNKNOWN) if integer in integers(value, integer + 1)]


def abstract(name, a, b, num_cells):
    """The outputs that every abstraction of the inputs allows."""
    allowed = set(range(num_cells))
    for x, y in product(abstractions(a), abstractions(b)):
        allowed &= set(integers(abstract_output(name, x, y, same=False), num_cells))
        if a == b and x == y:
            allowed &= set(integers(abstract_output(name, x, y, same=True), num_cells))
    return allowed


def symbols(name, a, b, num_cells):
    """The outputs that symbols for the inputs allow, in a memory of M cells: exact ones, and unknown ones."""
    facts = Facts(n=(1, 0, 0, 0), i=(0, 0, 0, 0), M=(num_cells, 0, 0, 0))
    allowed = set(range(num_cells))
    choices = ([Number((integer, 0, 0, 0)), Unknown(), *[Unknown(True)] * (integer > 0)] for integer in (a, b))
    for x, y in product(*choices):
        value = apply(name, x, y, facts)
        if isinstance(value, Number):
            constant, _, _, cells = value.expression
            allowed &= {(constant + cells * num_cells) % num_cells}
        else:
            allowed &= set(range(1 if value.nonzero else 0, num_cells))
    return allowed


MEANINGS = {
    "integers": by_outputs(lambda name, a, b, M: [BY_NAME[name].integer(a, b, M)]),
    "distributions": fuzzy,
    "reference machine": by_kernel("reference"),
    "discretized machine": by_machine(produce_discrete),
    "cpu kernel": by_kernel("cpu"),
    "gpu kernel": by_gpu_kernel,
    "one timestep of a program": by_program(one_timestep),
    "compiled interpreter": by_program(lambda name, memory: program(name).run(memory, 1)),
    "Python text": by_program(python_text),
    "abstract values": by_outputs(abstract),
    "symbols": by_outputs(symbols),
}
EXACT = set(MEANINGS) - {"abstract values", "symbols"}
CASES = [
    pytest.param(meaning, num_cells, marks=[pytest.mark.slow] if meaning == "cpu kernel" else [])
    for meaning in MEANINGS
    for num_cells in (3, 4, 7)
    if meaning != "gpu kernel"
] + [
    pytest.param(
        "gpu kernel", 3, marks=[pytest.mark.slow, pytest.mark.skipif(not TRITON, reason="Triton is not installed")]
    )
]


@pytest.mark.parametrize(("meaning", "num_cells"), CASES)
def test_every_meaning_is_that_of_pythons_arithmetic(meaning, num_cells):
    before = memories(num_cells)
    for module in MODULES:
        found = MEANINGS[meaning](module.name, before)
        if found is None:
            assert module.name in ("READ", "WRITE")
            continue
        for memory, allowed in zip(before, found, strict=True):
            assert by_arithmetic(module.name, memory) in allowed, (module.name, memory)
            assert meaning not in EXACT or len(allowed) == 1
