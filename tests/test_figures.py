"""Pictures of circuits and executions, and fuzzy runs: what they show, and that they can be saved as SVG."""

import io
from dataclasses import replace

import pandas as pd
import pytest
import torch
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle

from nram import Machine
from nram.machine.run import produce
from nram.program import PUBLISHED, Circuit, published
from nram.report import circuits, style, tapes
from nram.report.fuzzy_run import entropies, run_fuzzy
from nram.results import paper_execution


def boxes(axes):
    return [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]


def wires(axes):
    return [patch for patch in axes.patches if isinstance(patch, PathPatch)]


def words(axes):
    return [text.get_text() for text in axes.texts]


def as_svg(figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    return file.getvalue().decode()


@pytest.mark.parametrize("task", PUBLISHED)
def test_a_circuit_shows_its_modules_and_wires(task):
    program = published(task)
    figure = circuits.circuits({f"circuit {number}": wired for number, wired in enumerate(program.circuits)})
    for axes, wired in zip(figure.axes, program.circuits, strict=True):
        pruned = wired.pruned()
        assert len(boxes(axes)) == sum(found is not None for found in pruned.inputs)
        assert len(wires(axes)) == sum(len(found or ()) for found in pruned.inputs) + len(pruned.registers)
        assert {f"r{r + 1}" for r in range(len(pruned.registers))} <= set(words(axes))
        middles = [box.get_bbox().x0 for box in boxes(axes)]
        assert middles == sorted(middles), "modules stand in the order in which they run"
    assert as_svg(figure).count("<svg") == 1


def test_no_box_lies_on_another():
    axes = circuits.circuit(published("reverse").circuits[1]).axes[0]
    drawn = [box.get_bbox() for box in boxes(axes)]
    assert len(drawn) == 7
    for number, box in enumerate(drawn):
        assert not any(box.overlaps(other) for other in drawn[:number])


def test_a_fuzzy_circuit_has_wires_as_wide_as_their_weights():
    layout = published("access").layout
    wired = Circuit.parse("READ r1; WRITE r2 READ; r1 = READ", layout)
    sharp = circuits.fuzzy_circuit(layout, layout.one_hot_logits(wired.sources())).axes[0]
    assert len(boxes(sharp)) == 2 and len(wires(sharp)) == 5
    widths = {round(wire.get_linewidth(), 3) for wire in wires(sharp)}
    assert widths == {1.8}
    logits = layout.one_hot_logits(wired.sources()).float()
    slot = layout.slots[0]  # READ's pointer: half r1, half r2
    logits[slot.start : slot.start + slot.width] = 0
    soft = circuits.fuzzy_circuit(layout, logits).axes[0]
    assert sorted({round(wire.get_linewidth(), 3) for wire in wires(soft)}) == [1.05, 1.8]
    assert len(wires(soft)) == 6


def test_an_execution_shows_every_number_and_marks_what_is_read_and_written():
    frame = paper_execution("copy")
    memory = [int(frame.loc[0, f"m{cell}"]) for cell in range(12)]
    steps = list(published("copy").trace(memory, len(frame)))
    figure = tapes.execution(steps, "Copy")
    (axes,) = figure.axes
    expected = [str(value) for step in steps for value in (*step.memory, *step.registers)]
    assert words(axes) == expected
    tinted = [patch.get_xy() for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_fill()]
    assert tinted == [(int(row["write_p"]), number) for number, row in frame.iterrows()]
    framed = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_linewidth() == 1.6]
    assert [int(patch.get_x()) for patch in framed] == frame["read_p"].tolist()
    assert "<svg" in as_svg(figure)


def test_long_executions_are_cut_and_say_so():
    memory = [50] + [1] * 49 + [0] * 50
    figure = tapes.execution(list(published("copy").trace(memory, 60)), most_steps=10, most_cells=20)
    assert len(figure.axes[0].texts) == 10 * 24
    assert "the first 20 of 100 cells, the first 10 of 61 rows" in figure.axes[0].get_xlabel()


def hand_made(task, strength):
    program = published(task)
    controller, params = program.controller(strength)
    return Machine(task, program.layout.num_registers, program.layout.repetitions, "mlp", controller.hidden, params)


def test_a_fuzzy_run_is_the_references_run():
    machine, memory = hand_made("copy", 6.0), torch.tensor([4, 1, 2, 3, 0, 0, 0, 0])
    run = run_fuzzy(machine, memory, 7)
    for limit in (1, 4, 7):
        sure = machine.params | {"output_bias": torch.zeros_like(machine.params["output_bias"])}
        sure["output_bias"][-1] = -1e4  # stops at no earlier time
        sure = replace(machine, params=sure)
        produced = produce(sure.machines, memory[None, None], torch.tensor([[limit]]))
        assert run.tapes[limit].argmax(-1).tolist() == produced[0, 0].tolist()
    assert run.registers.shape == (8, 4, 8) and run.stop_probs.sum().item() == pytest.approx(1)


def test_entropy_is_zero_for_one_hot_circuits_and_not_for_soft_ones():
    memory = [4, 1, 2, 3, 0, 0, 0, 0]
    sharp, soft = (run_fuzzy(hand_made("copy", strength), memory, 7).entropy() for strength in (1e4, 3.0))
    assert set(sharp["of"]) == {"register", "memory cell", "choice of the circuit", "choice in use"}
    assert sharp["bits"].abs().max() < 1e-6
    assert (soft[soft["timestep"] == 7]["bits"] > 0.1).all()
    both = entropies(pd.concat([sharp.assign(run="sharp"), soft.assign(run="soft")]))
    assert [axes.get_title() for axes in both.axes] == ["sharp", "soft"]
    assert all(len(axes.lines) >= 4 for axes in both.axes)


def test_pictures_can_be_saved(tmp_path):
    written = style.save(circuits.circuit(published("access").circuits[0]), tmp_path, "access")
    assert {path.suffix for path in written} == {".png", ".svg"} and all(path.stat().st_size > 1000 for path in written)
