"""Proofs for every length: what is proved is true, what is false is not proved, and the arithmetic is sound."""

import random
from itertools import product

import pytest
import torch
from builders import COPY

from nram import tasks
from nram.machine.circuit import Layout
from nram.machine.modules import MODULES
from nram.program import PROVABLE, Circuit, Program, prove, published
from nram.program.proof.expressions import ANY, Element, Number, Unknown
from nram.program.proof.facts import Facts
from nram.program.proof.symbols import apply, apply_to_same

# r1 and r2 change roles in every timestep.
COPY_IN_TURNS = """
when r1 = 0:
    READ r1; r1 = ONE; r2 = READ; r3 = ZERO
when r3 = 0:
    READ r1; INC r2; ADD r1 ONE; WRITE r2 READ
    r1 = INC; r2 = ADD; r3 = ONE
otherwise:
    READ r2; INC r1; ADD r2 ONE; WRITE r1 READ
    r1 = ADD; r2 = INC; r3 = ZERO
"""


def first_wrong(program, task, spare, longest=8):
    """A memory that a claim with `spare` cells covers and the program gets wrong; None if there is none."""
    generator = torch.Generator().manual_seed(0)
    for n, more, _ in product(range(1, longest), range(4), range(4)):
        num_cells = max(3, task.min_cells(n) + spare) + more
        batch = task.sample(torch.tensor([n]), num_cells, generator)
        memory = batch.memory[0].tolist()
        try:
            produced = program.run(memory, task.limit(n))
        except ValueError:
            return memory
        wanted, mask = task.solve(memory, n), batch.mask[0].tolist()
        if any(found != right for found, right, output in zip(produced, wanted, mask, strict=True) if output):
            return memory
    return None


@pytest.mark.parametrize(
    ("program", "task", "spare"),
    [
        (published("access"), tasks.get("access"), 0),
        (published("increment"), tasks.get("increment").with_limit(1, 0), 0),
        (published("increment"), tasks.get("increment").with_limit(1, 2), 1),
        (published("reverse"), tasks.get("reverse").with_limit(1, 4), 0),
        (published("copy"), tasks.get("copy").with_limit(2, 1), 0),
        (Program.parse(COPY, Layout(2), "copy"), tasks.get("copy").with_limit(1, 3), 0),
        (Program.parse(COPY_IN_TURNS, Layout(3), "copy"), tasks.get("copy").with_limit(1, 2), 0),
    ],
)
def test_right_programs_are_proved_for_the_smallest_memories_they_can_bear(program, task, spare):
    proof = prove(program, task)
    assert proof.proved and proof.spare == spare, str(proof)
    assert first_wrong(program, task, spare) is None
    assert spare == 0 or first_wrong(program, task, spare - 1) is not None
    assert proof.rows <= set(program.rows)
    kept = Program(program.layout, program.circuits, {key: program.rows[key] for key in proof.rows}, task.key)
    assert first_wrong(kept, task, spare) is None


@pytest.mark.parametrize(
    "change",
    [
        ("r1 = ONE", "r1 = TWO"),  # begins at the second element
        ("INC r2", "INC r1"),
        ("WRITE r2 READ", "WRITE r2 r2"),
        ("r1 = ADD; r2 = INC", "r1 = ADD; r2 = INC; stop"),
        ("WRITE r2 READ", "WRITE READ READ"),
    ],
)
def test_wrong_programs_are_not_proved(change):
    program = Program.parse(COPY.replace(*change), Layout(2), "copy")
    assert first_wrong(program, tasks.get("copy"), 0) is not None
    proof = prove(program, spares=1)
    assert not proof.proved and proof.lines[0] == "not proved" and len(proof.lines) > 1


def test_a_limit_too_short_for_the_last_element_is_not_proved():
    program = Program.parse(COPY, Layout(2), "copy")
    assert prove(program, tasks.get("copy").with_limit(1, 1), spares=1).proved
    assert not prove(program, tasks.get("copy").with_limit(1, 0), spares=1).proved


def test_no_proof_is_promised_for_other_tasks():
    with pytest.raises(ValueError, match="access, increment, copy, reverse"):
        prove(published("swap"))


@pytest.mark.slow
def test_what_is_proved_of_changed_programs_is_true():
    choose, proved = random.Random(0), 0
    for _ in range(24):
        key = choose.choice(PROVABLE)
        program = Program.parse(COPY, Layout(2), "copy") if key == "copy" else published(key)
        circuits = [list(circuit.sources()) for circuit in program.circuits]
        slots = program.layout.slots
        changed, slot = choose.randrange(len(circuits)), choose.randrange(len(slots))
        circuits[changed][slot] = torch.tensor(choose.randrange(slots[slot].width))
        wired = tuple(Circuit.from_sources(program.layout, sources).pruned() for sources in circuits)
        program = Program(program.layout, wired, program.rows, key)
        proof = prove(program, spares=1)
        if proof.proved:
            proved += 1
            assert first_wrong(program, tasks.get(key), proof.spare, longest=6) is None, f"{program}\n{proof}"
    assert proved >= 5


def all_numbers(facts, up_to=4):
    """Some (n, i, M) that the facts allow."""
    for u, v, w in product(range(up_to), repeat=3):
        yield tuple(c + a * u + b * v + d * w for c, a, b, d in (facts.n, facts.i, facts.M))


def value_of(expression, numbers):
    n, i, num_cells = numbers
    return expression[0] + expression[1] * n + expression[2] * i + expression[3] * num_cells


FACTS = (
    Facts((1, 1, 1, 0), (0, 1, 0, 0), (3, 2, 2, 1)),  # i < n, M >= 2 n + 1
    Facts((4, 1, 0, 0), (0, 0, 0, 0), (5, 1, 0, 0)),  # n >= 4, M = n + 1
)


def random_expression(choose):
    return (choose.randint(-2, 3), choose.randint(-1, 2), choose.randint(-1, 1), choose.choice((0, 0, -1, 1)))


def test_what_follows_from_facts_is_true():
    choose, decided = random.Random(1), 0
    for facts, _ in product(FACTS, range(300)):
        expression, bound = random_expression(choose), choose.randint(-2, 2)
        cases = list(all_numbers(facts))
        if facts.at_least(expression, bound):
            assert all(value_of(expression, case) >= bound for case in cases)
        normal = facts.normal(expression)
        if normal is not None:
            assert all(value_of(normal, case) == value_of(expression, case) % case[2] for case in cases)
        zero = facts.is_zero(expression)
        if zero is not None:
            decided += 1
            assert {value_of(expression, case) % case[2] == 0 for case in cases} == {zero}
    assert decided > 200


def integers_of(value, case, element):
    """The integers that a value may stand for, where cell e holds element(e) at the start."""
    num_cells = case[2]
    if isinstance(value, Number):
        return [value_of(value.expression, case) % num_cells]
    if isinstance(value, Element):
        return [(element(value_of(value.address, case)) + value_of(value.offset, case)) % num_cells]
    return range(1 if value.nonzero else 0, num_cells)


def test_modules_on_symbols_cover_what_they_do_on_integers():
    choose = random.Random(2)

    def random_value():
        kind = choose.random()
        if kind < 0.6:
            return Number(random_expression(choose))
        if kind < 0.8:
            return Element(random_expression(choose), random_expression(choose))
        return Unknown(choose.random() < 0.5)

    for facts, module, _ in product(FACTS, MODULES, range(40)):
        if module.integer is None or module.arity == 0:
            continue
        a = random_value()
        b = random_value() if choose.random() < 0.8 else a
        result = apply(module.name, a, b, facts)
        for case in all_numbers(facts, up_to=3):

            def element(address, num_cells=case[2]):
                return 1 + 7 * address % (num_cells - 1)

            for x, y in product(integers_of(a, case, element), integers_of(b, case, element)):
                got = module.integer(x, y, case[2])
                assert got in integers_of(result, case, element), (module.name, a, b, result, case)


def test_modules_on_one_unknown_cover_what_they_do_on_equal_integers():
    for module, value, num_cells in product(MODULES, (ANY, Unknown(nonzero=True)), (3, 4, 5)):
        if module.integer is not None and module.arity == 2:
            result, case = apply_to_same(module.name, value), (0, 0, num_cells)
            for x in integers_of(value, case, None):
                assert module.integer(x, x, num_cells) in integers_of(result, case, None), (module.name, value)


def test_joins_cover_all_they_join():
    facts = FACTS[0]
    values = [Number((0, 0, 0, 0)), Number((1, 0, 0, 0)), Element((1, 0, 1, 0)), Unknown(True), ANY]
    for a, b in product(values, repeat=2):
        joined = facts.join([a, b])
        assert facts.covers(joined, a) and facts.covers(joined, b)
    assert facts.join(values[1:4]) == Unknown(True) and facts.join(values[:2]) == ANY
    assert not facts.covers(values[1], values[0]) and not facts.covers(Unknown(True), ANY)
