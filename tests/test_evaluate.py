"""A machine's two forms on the same cases, counted cell by cell; the sweep over complexities."""

import pytest
import torch

import nram
from nram import results, tasks
from nram.evaluate import compare_forms, error_per_case, evaluate, run_cases


@pytest.fixture(scope="module")
def machine():
    """A machine that errs, and more so when discretized."""
    return nram.load(results.RECORDED / "more" / "merge-descent")


def draw(task, difficulty, seed=0):
    return task.sample(difficulty, task.min_cells(int(difficulty.max())), torch.Generator().manual_seed(seed))


def test_both_forms_are_counted_cell_by_cell(machine):
    batch = draw(tasks.get("merge"), torch.full((200,), 20))
    compared = compare_forms(machine, batch)
    fuzzy = machine.run(batch.memory, batch.limit).tolist()
    discretized = machine.discretize().run(batch.memory, batch.limit).tolist()
    for case, mask in enumerate(batch.mask.tolist()):
        cells = [cell for cell, is_output in enumerate(mask) if is_output]
        target = batch.target[case].tolist()
        assert compared.output_cells[case] == len(cells)
        assert compared.fuzzy_wrong[case] == sum(fuzzy[case][cell] != target[cell] for cell in cells)
        assert compared.discretized_wrong[case] == sum(discretized[case][cell] != target[cell] for cell in cells)
        assert compared.differs[case] == any(fuzzy[case][cell] != discretized[case][cell] for cell in cells)
    assert compared.fuzzy_wrong.sum() > 0 and compared.differs.any(), "this machine errs"


def test_the_error_is_the_share_of_wrong_output_cells():
    errors = error_per_case(torch.tensor([0, 1, 3]), torch.tensor([5, 4, 3]))
    assert errors.tolist() == [0, 0.25, 1]


def test_cases_become_a_row_for_each_form(machine):
    task, difficulty = tasks.get("merge"), torch.full((200,), 20)
    num_cells = task.min_cells(20)
    rows = run_cases(machine, task, difficulty, num_cells, torch.Generator().manual_seed(0))
    compared = compare_forms(machine, draw(task, difficulty))
    assert [row["machine"] for row in rows] == ["fuzzy", "discretized"]
    for row, wrong in zip(rows, (compared.fuzzy_wrong, compared.discretized_wrong), strict=True):
        assert row["wrong_cases"] == (wrong > 0).sum() and row["disagreements"] == compared.differs.sum()
        assert row["error"] == pytest.approx((wrong / compared.output_cells).mean().item())
        assert row["cases"] == 200 and row["num_cells"] == num_cells


def test_the_train_difficulty_is_always_measured(machine):
    found = evaluate(machine, train_difficulty=6, cases=20, complexities=[2, 30], uniform_complexities=[5])
    frame = found.generalization
    assert frame.loc[frame["machine"] == "fuzzy", "complexity"].tolist() == [6, 2, 30, 5]
    assert frame["mode"].tolist() == ["at"] * 6 + ["uniform"] * 2
    assert found.metrics == results.judge(frame, 6).metrics() and found.metrics["max_complexity"] == 30


def test_a_complexity_may_be_asked_for_twice(machine):
    found = evaluate(machine, cases=10, complexities=[4, 4], uniform_complexities=[])
    assert len(found.generalization) == 6 and found.metrics["cases"] == 10
