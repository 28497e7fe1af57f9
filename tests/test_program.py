"""The notation, programs as tables, their extraction, interpreters, printed form, and proofs."""

import pytest

from nram.circuit import Layout
from nram.program import Circuit, Program

LAYOUT = Layout(4)


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


def test_unused_modules_survive_neither_as_slots_nor_back():
    for text in ("r1 = r2", "INC r1; r2 = INC", "READ r3; r1 = READ", "READ2 r3; INC2 READ2; r1 = INC2", "WRITE r1 r2"):
        circuit = Circuit.parse(text, Layout(4, 2))
        assert Circuit.from_sources(circuit.layout, circuit.sources()).pruned() == circuit


def test_a_write_that_changes_something_is_kept():
    for text in ("READ r1; WRITE r2 READ", "WRITE r1 r2", "READ r1; WRITE r1 r2; WRITE2 r1 READ"):
        assert Circuit.parse(text, Layout(4, 2)).pruned() == Circuit.parse(text, Layout(4, 2))
    assert str(Circuit.parse("READ r1; WRITE r1 READ", LAYOUT).pruned()) == "(nothing changes)"
