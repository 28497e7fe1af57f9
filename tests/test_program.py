"""The notation, programs as tables, their extraction, simplification, interpreter and printed form."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch

from nram import tasks
from nram.machine.circuit import Layout
from nram.machine.controller import init_member, make_controller
from nram.machine.discrete import produce_discrete
from nram.machine.modules import MODULES
from nram.model import Machine
from nram.program import (
    PUBLISHED,
    Circuit,
    Program,
    Tabulator,
    describe,
    first_failure,
    folded,
    from_machine,
    from_runs,
    published,
    readable,
    seen_program,
    small,
    timesteps_per_second,
    try_lengths,
)
from nram.program.abstract import NONZERO, UNKNOWN, abstract_output, next_patterns
from nram.program.execution import run_circuit
from nram.program.simplify import simplified
from nram.program.table import zero_pattern

LAYOUT = Layout(4)
# Right at every length; the task's time limits are ours.
COPY = """
when r1 = 0:
    READ r1
    r1 = ONE; r2 = READ
otherwise:
    READ r1; INC r2; ADD r1 ONE; WRITE r2 READ
    r1 = ADD; r2 = INC
"""


def random_machine(kind="mlp", registers=3, repetitions=1, seed=0, scale=3.0):
    layout = Layout(registers, repetitions)
    generator = torch.Generator().manual_seed(seed)
    params = init_member(make_controller(kind, layout, 8), generator, scale, -2.0)
    return Machine("copy", registers, repetitions, kind, 8, params)


def random_examples(num_cells, seed=0, batch=40, longest=25):
    generator = torch.Generator().manual_seed(seed)
    memory = torch.randint(num_cells, (batch, num_cells), generator=generator)
    return memory, torch.randint(1, longest, (batch,), generator=generator)


def by_definition(machine, memory, limit):
    return produce_discrete(machine.machines, memory[None], limit[None])[0].tolist()


def run_all(program, memory, limit):
    return [program.run(cells, steps) for cells, steps in zip(memory.tolist(), limit.tolist(), strict=True)]


def run_text(text, memory, limit):
    names = {"__builtins__": {"range": range, "list": list, "len": len, "int": int, "min": min, "max": max}}
    exec(text, names)
    return [names["run"](cells, steps) for cells, steps in zip(memory.tolist(), limit.tolist(), strict=True)]


def test_a_circuit_is_read_and_printed():
    text = "READ r4\nINC r3\nADD r2 r4\nWRITE ADD READ\nr3 = r4\nr4 = INC"
    circuit = Circuit.parse(text, LAYOUT)
    assert circuit.statements() == text.splitlines()
    shuffled = "r4 = INC; WRITE(ADD, READ)  # a comment\nr3 = r4\n\nADD(r2, r4); INC r3; READ(r4)"
    assert Circuit.parse(shuffled, LAYOUT) == circuit
    assert [LAYOUT.source_names[source] for source in circuit.registers] == ["r1", "r2", "r4", "INC"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("READ r5", "no 'r5' in this machine; did you mean r[1-4]"),
        ("READ2 r1", "no 'READ2'.*did you mean READ"),
        ("ADD r1", "ADD takes 2 inputs, not 1"),
        ("ZERO r1", "ZERO takes 0 inputs, not 1"),
        ("READ ADD; ADD r1 r2", "ADD does not come before READ"),
        ("INC INC", "INC does not come before INC"),
        ("READ r1; READ r2", "READ has its inputs already"),
        ("r1 = INC", "INC is used, but has no inputs"),
        ("WRITE r1 READ", "READ is used, but has no inputs"),
        ("r1 = r2; r1 = r3", "r1 has a new value already"),
        ("INC = r1", "only a register stands left"),
        ("r1 r2", "a statement starts with a module"),
    ],
)
def test_wrong_circuits_are_refused_with_the_reason(text, message):
    with pytest.raises(ValueError, match=message):
        Circuit.parse(text, LAYOUT)


@pytest.mark.parametrize(
    "text", ["sometimes:\n r1 = r2", "when r9 = 0:\n r1 = r2", "when r1 = 1:\n r1 = r2", "r1 = r2"]
)
def test_wrong_rules_are_refused(text):
    with pytest.raises(ValueError, match="rule"):
        Program.parse(text, LAYOUT)


def test_unused_modules_are_unused_again_after_the_way_through_slots():
    for text in ("r1 = r2", "INC r1; r2 = INC", "READ r3; r1 = READ", "READ2 r3; INC2 READ2; r1 = INC2", "WRITE r1 r2"):
        circuit = Circuit.parse(text, Layout(4, 2))
        assert Circuit.from_sources(circuit.layout, circuit.sources()).pruned() == circuit


def test_a_write_that_changes_something_is_kept():
    for text in ("READ r1; WRITE r2 READ", "WRITE r1 r2", "READ r1; WRITE r1 r2; WRITE2 r1 READ"):
        assert Circuit.parse(text, Layout(4, 2)).pruned() == Circuit.parse(text, Layout(4, 2))
    assert str(Circuit.parse("READ r1; WRITE r1 READ", LAYOUT).pruned()) == "(nothing changes)"


MACHINES = [(registers, repetitions, seed) for registers, repetitions in [(2, 1), (4, 1), (3, 2)] for seed in range(6)]


@pytest.mark.parametrize(("registers", "repetitions", "seed"), MACHINES)
def test_programs_do_what_the_discretized_machine_does(registers, repetitions, seed, tmp_path):
    machine = random_machine(registers=registers, repetitions=repetitions, seed=seed)
    for num_cells in (3, 4, 11):
        memory, limit = random_examples(num_cells, seed)
        expected = by_definition(machine, memory, limit)
        whole, short = from_machine(machine, simplify=False), from_machine(machine)
        assert run_all(whole, memory, limit) == expected
        assert run_all(short, memory, limit) == expected
        assert run_text(short.to_python(), memory, limit) == expected
        assert machine.discretize().run(memory, limit).tolist() == expected
        short.save(tmp_path / "program.json")
        assert Program.load(tmp_path / "program.json") == short
        traced = [
            list(list(short.trace(*each))[-1].memory) for each in zip(memory.tolist(), limit.tolist(), strict=True)
        ]
        assert traced == expected
    assert sum(len(c.statements()) for c in short.circuits) <= sum(len(c.statements()) for c in whole.circuits)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_programs_of_seen_runs_do_what_the_discretized_machine_does(kind):
    machine = random_machine(kind, seed=3)
    memory, limit = random_examples(6)
    expected = by_definition(machine, memory, limit)
    seen = from_runs(machine, memory, limit)
    fewer = folded(small(seen))
    assert fewer.num_states < seen.num_states or kind == "mlp"
    for program in (seen, small(seen), fewer):
        assert run_all(program, memory, limit) == expected
        assert run_text(program.to_python(), memory, limit) == expected


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_a_tabulator_runs_as_the_discretized_machine(kind):
    machine = random_machine(kind, seed=1)
    memory, limit = random_examples(7)
    tabulator = Tabulator(machine)
    assert run_all(tabulator, memory, limit) == by_definition(machine, memory, limit)
    assert tabulator.run(memory[0].numpy(), 3).tolist() == tabulator.run(memory[0].tolist(), 3)
    assert first_failure(try_lengths(tabulator, lengths=(5, 6), cases=2)) == 5


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_what_is_read_does_the_same_and_says_every_sources_value(kind):
    machine, task = random_machine(kind, seed=5), tasks.get("copy")
    batches = [task.sample(torch.tensor([n]), task.min_cells(n), torch.Generator().manual_seed(n)) for n in (2, 4)]
    read = readable(machine, task, batches, longest=5)
    for batch in batches:
        steps = list(read.trace(batch.memory[0].tolist(), int(batch.limit[0])))
        assert list(steps[-1].memory) == machine.discretize().run(batch.memory, batch.limit)[0].tolist()
        for step, following in zip(steps, steps[1:], strict=False):
            circuit = read.circuits[step.row.circuit]
            assert step.values[: read.layout.num_registers] == step.registers
            assert [step.values[source] for source in circuit.registers] == list(following.registers)


def test_an_lstm_is_not_tabulated():
    with pytest.raises(ValueError, match="from_runs"):
        from_machine(random_machine("lstm"))


def test_a_pattern_without_a_row_is_an_error():
    program = Program.parse("when r1 = 0:\n INC r1; r1 = INC", Layout(1))
    assert program.run([1, 2, 3, 0], 1) == [1, 2, 3, 0]
    with pytest.raises(ValueError, match="timestep 2"):
        program.run([1, 2, 3, 0], 2)


@pytest.mark.parametrize(
    ("memory", "limit", "message"),
    [
        ([1, 2, 3], 1, "integers 0..M-1"),
        ([1, -1, 2], 1, "integers 0..M-1"),
        ([1, 1], 1, "at least 3 cells"),
        ([0.5, 1, 1], 1, "integers"),
        ([[0, 1, 2]], 1, "one-dimensional"),
        ([0, 1, 2], 0, "limit"),
    ],
)
def test_wrong_memories_are_refused(memory, limit, message):
    with pytest.raises(ValueError, match=message):
        published("access").run(memory, limit)


def test_run_leaves_its_input_alone_and_answers_in_kind():
    program, memory = Program.parse(COPY, Layout(2)), np.array([3, 1, 2, 0, 0], dtype=np.int16)
    assert program.run(memory.tolist(), 3) == [3, 1, 2, 1, 2]
    result = program.run(memory, 3)
    assert isinstance(result, np.ndarray) and result.tolist() == [3, 1, 2, 1, 2]
    assert memory.tolist() == [3, 1, 2, 0, 0]


def concretizations(value, num_cells):
    return [value] if isinstance(value, int) else range(1 if value == NONZERO else 0, num_cells)


def test_abstract_outputs_hold_for_every_integer():
    values = (0, 1, 2, NONZERO, UNKNOWN)
    for module, a, b, num_cells in product(MODULES, values, values, (3, 4, 5, 6)):
        if module.integer is None:
            continue
        abstract = abstract_output(module.name, a, b, same=False)
        same = abstract_output(module.name, a, b, same=True)
        for x, y in product(concretizations(a, num_cells), concretizations(b, num_cells)):
            assert module.integer(x, y, num_cells) in concretizations(abstract, num_cells), (module.name, a, b)
            if x == y and a == b:
                assert module.integer(x, y, num_cells) in concretizations(same, num_cells), (module.name, a, "same")


@pytest.mark.parametrize("repetitions", [1, 2])
def test_simplified_circuits_do_the_same_and_patterns_are_foreseen(repetitions):
    layout = Layout(3, repetitions)
    generator = torch.Generator().manual_seed(0)
    widths = torch.tensor([slot.width for slot in layout.slots])
    shorter = 0
    for _ in range(400):
        circuit = Circuit.from_sources(layout, (torch.rand(len(widths), generator=generator) * widths).long())
        num_cells = int(torch.randint(3, 7, (), generator=generator))
        registers = (
            torch.randint(num_cells, (3,), generator=generator) * (torch.rand(3, generator=generator) < 0.5)
        ).tolist()
        pattern = zero_pattern(registers)
        memory = torch.randint(num_cells, (num_cells,), generator=generator).tolist()
        outcomes = []
        for version in (circuit, circuit.pruned(), simplified(circuit), simplified(circuit, pattern, ~pattern)):
            cells = list(memory)
            outcomes.append((run_circuit(version, registers, cells), cells))
            assert zero_pattern(outcomes[-1][0]) in next_patterns(version, pattern)
        assert outcomes.count(outcomes[0]) == 4
        stopping, cells = simplified(circuit, pattern, ~pattern, ends=True), list(memory)
        run_circuit(stopping, registers, cells)
        assert cells == outcomes[0][1]
        shorter += len(simplified(circuit, pattern, ~pattern).statements()) < len(circuit.pruned().statements())
    assert shorter > 100


def test_simplification_shows_in_the_text():
    text = "READ r1; ADD r2 ZERO; MAX ADD r2; SUB r2 r2; WRITE SUB READ; LESS-THAN SUB ONE; r1 = LESS-THAN; r2 = MAX"
    program = Program.parse(f"otherwise:\n {text}; r3 = READ", LAYOUT)
    assert str(small(program)) == "otherwise:\n    READ r1\n    WRITE ZERO READ\n    r1 = ONE\n"


def test_a_sum_less_a_term_is_the_other_term():
    text = "READ r1; ADD r2 READ; SUB ADD r2; WRITE r3 SUB; r1 = SUB"
    assert str(simplified(Circuit.parse(text, LAYOUT))) == "READ r1; WRITE r3 READ; r1 = READ"


def test_python_text_reads_as_python():
    assert Program.parse(COPY, Layout(2), "copy").to_python() == (
        '''"""Copy, as a trained machine does it: 2 registers, 14 modules per timestep,
2 different circuits; M is the number of memory cells and the integers are 0..M-1."""


def run(memory, limit):
    """The memory, a list of M integers of 0..M-1, after at most `limit` timesteps."""
    memory = list(memory)
    M = len(memory)
    r1 = r2 = 0
    for _ in range(limit):
        if r1 == 0:
            r1, r2 = 1, memory[r1]
        else:
            memory[r2] = memory[r1]
            r1, r2 = (r1 + 1) % M, (r2 + 1) % M
    return memory
'''
    )


def test_a_sentence_says_what_the_loop_does():
    program = Program.parse(COPY, Layout(2), "copy")
    sentence = describe(program, [4, 7, 8, 9, 0, 0, 0], 4)
    assert sentence.startswith("In 3 of 4 timesteps of the run below it does `memory[r2] = memory[r1]`; `r1, r2 = ")
    assert "goes on until the time limit" in sentence and "2 of the program's 2 circuits" in sentence
    assert "stops by itself" in describe(Program.parse("otherwise:\n stop", Layout(1)), [0, 0, 0], 2)


def test_python_text_keeps_a_read_before_the_write_it_precedes():
    program = Program.parse(
        "otherwise:\n READ r1; WRITE r1 ONE; READ2 r1; ADD2 READ READ2; r2 = ADD2; r3 = READ", Layout(3, 2)
    )
    text = program.to_python()
    assert text.index("read = memory[r1]") < text.index("memory[r1] = 1") < text.index("read + memory[r1]")


@pytest.mark.slow
def test_python_text_runs_in_a_bare_interpreter(tmp_path):
    text = published("reverse").to_python()
    (tmp_path / "learned.py").write_text(text)
    code = "from learned import run; print(run([4, 7, 8, 9, 0, 0, 0, 0, 0, 0], 4))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(tmp_path)!r}); {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "[4, 7, 8, 9, 9, 8, 7, 0, 0, 0]"


@pytest.mark.slow
def test_numba_is_imported_when_a_program_runs():
    code = """
import sys
from nram.program import published
before = "numba" in sys.modules
published("access").run([2, 5, 0, 0, 1, 3], 3)
print(before, "numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False True"


def test_lengths_are_tried_against_the_solver():
    program = Program.parse(COPY, Layout(2), "copy")
    frame = try_lengths(program)
    assert frame.length.tolist() == [100, 1_000, 10_000, 100_000] and first_failure(frame) is None
    short = Program.parse(COPY + "\n    stop", Layout(2), "copy")
    frame = try_lengths(short, lengths=(1, 2, 3), cases=3)
    assert frame.wrong_cases.tolist() == [0, 3, 3] and first_failure(frame) == 2


def test_seen_program_keeps_what_the_task_needs():
    rules = COPY.replace("otherwise:", "when r2 = 0:\n stop\notherwise:")
    program = Program.parse(rules, Layout(2), "copy")
    seen = seen_program(program)
    assert len(seen.rows) < len(program.rows)
    assert first_failure(try_lengths(seen, lengths=range(1, 30), cases=3)) is None


def test_ten_million_cells_take_no_longer_per_timestep():
    program = Program.parse(COPY, Layout(2), "copy")
    memory = np.zeros(10_000_000, dtype=np.int64)
    memory[:4] = 4, 7, 8, 9
    assert program.run(memory, 6)[:10].tolist() == [4, 7, 8, 9, 7, 8, 9, 7, 8, 0]


@pytest.mark.parametrize("task", PUBLISHED)
def test_interpreter_is_fast(task):
    assert timesteps_per_second(published(task), seconds=0.1) > 2_000_000  # 5 million on an idle core


def test_published_programs_solve_their_tasks():
    """Copy copies every element twice and needs two timesteps for each; Swap ends where the paper's table does."""
    for key in ("access", "increment", "reverse"):
        task = tasks.get(key)
        exact = task if key == "access" else task.with_limit(1, 1 if key == "reverse" else 0)
        assert first_failure(try_lengths(published(key), exact, lengths=range(1, 40), cases=3)) is None
    twice = tasks.get("copy").with_limit(2, 1)
    assert first_failure(try_lengths(published("copy"), twice, lengths=range(1, 40), cases=3)) is None
    assert first_failure(try_lengths(published("swap"), tasks.get("swap").with_limit(0, 3), range(2, 40), 3)) is None
