"""Choosing a machine and an example: with widgets that move, and without widgets."""

import sys

import pytest
import torch
from IPython.core.display import Markdown
from matplotlib.figure import Figure

import nram
from nram import results
from nram.report import play, recorded

BEST = results.best_runs(results.load_runs(recorded.RECORDED))


class Shown(list):
    """Everything displayed: for each display, its first version and those that replaced it."""

    def display(self, each, display_id=None):
        self.append([each])
        versions = self[-1]
        return type("Handle", (), {"update": staticmethod(versions.append)})


@pytest.fixture
def shown(monkeypatch):
    shown = Shown()
    monkeypatch.setattr("IPython.display.display", shown.display)
    return shown


def rows(figure: Figure) -> int:
    return len(figure.axes[0].get_yticklabels())


@pytest.mark.slow
def test_an_execution_leaves_what_the_machine_leaves():
    for task in ("copy", "listk", "merge"):
        batch, steps = play.execute(BEST[task], 5, 3)
        left = nram.load(BEST[task]["folder"]).discretize().run(batch.memory, batch.limit)
        assert list(steps[-1].memory) == left[0].tolist()
        right = bool(((left == batch.target) | ~batch.mask).all())
        assert right == ("are right" in play.outcome(batch, steps))
    batch, _ = play.execute(BEST["swap"], 1, 0)
    assert batch.difficulty.tolist() == [2]
    assert torch.equal(play.execute(BEST["swap"], 4, 7)[0].memory, play.execute(BEST["swap"], 4, 7)[0].memory)


@pytest.mark.slow
def test_moving_the_widgets_changes_the_picture(shown):
    widgets = play.watch(BEST, "copy", 4, 0)
    controls, picture, sentence = shown
    assert list(controls[0].children) == list(widgets.values())
    assert list(widgets) == ["task", "length", "seed", "rows"]
    steps = play.execute(BEST["copy"], 4, 0)[1]
    assert rows(picture[0]) == len(steps) == widgets["rows"].value
    widgets["rows"].value = 3
    assert rows(picture[-1]) == 3 and len(sentence) == 1
    widgets["length"].value = 9
    steps = play.execute(BEST["copy"], 9, 0)[1]
    assert rows(picture[-1]) == len(steps) == widgets["rows"].value == widgets["rows"].max
    widgets["task"].value = "merge"
    batch, steps = play.execute(BEST["merge"], 9, 0)
    assert picture[-1].axes[0].get_title() == "Merge" and sentence[-1].data == play.outcome(batch, steps)
    widgets["task"].value = "access"
    widgets["seed"].value = 5
    batch, steps = play.execute(BEST["access"], 9, 5)
    assert rows(picture[-1]) == len(steps) == widgets["rows"].max and sentence[-1].data == play.outcome(batch, steps)


def test_without_widgets_the_execution_is_shown_all_the_same(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert play.watch(BEST, "reverse", 3, 0) == {}
    (picture,), (sentence,) = shown
    assert isinstance(picture, Figure) and isinstance(sentence, Markdown) and "are right" in sentence.data


def test_a_task_without_a_run_is_an_error(shown):
    with pytest.raises(ValueError, match="there is no run of 'swap'; there are copy$"):
        play.watch({"copy": BEST["copy"]}, "swap", 3, 0)
