"""Settings: what is valid, what is refused and how, and what recorded configurations mean."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nram import results, tasks
from nram.training import curriculum, loop, optimizer, polish, restarts, step
from nram.training.config import CONSTANTS, REMOVED, TrainConfig
from nram.training.recipes import RECIPES

RECORDED = results.CHECKOUT / "results" / "recorded"


def test_every_recipe_is_valid_and_survives_json():
    for key in tasks.KEYS:
        config = TrainConfig.for_task(key, seed=3)
        again = TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config and config.examples.num_cells >= tasks.get(key).min_cells(
            config.examples.train_difficulty
        )
    assert set(RECIPES) <= set(tasks.KEYS)


def test_every_recorded_configuration_loads_and_keeps_its_hash():
    folders = sorted(RECORDED.glob("*/config.json"))
    assert len(folders) >= 10
    for file in folders:
        recorded = json.loads(file.read_text())
        del recorded["format"]
        config = TrainConfig.from_dict(recorded)
        kept = {name: value for name, value in config.to_dict().items() if name in recorded}
        removed = {name: recorded[name] for name in REMOVED if name in recorded}
        provenance = json.loads((file.parent / "provenance.json").read_text())
        assert results.config_hash(kept | removed) == provenance["config_hash"], file


# The hash of each task's default configuration. Another one renames everybody's runs, so it changes on purpose only.
HASHES = {
    "access": "f2d47bb2c4",
    "increment": "bc90ddd039",
    "copy": "18c00adaa6",
    "reverse": "982a7d8cea",
    "swap": "e1e6e55e2e",
    "permutation": "472c22d472",
    "listk": "d5026bb2a1",
    "listsearch": "bf9d1a052a",
    "merge": "e2f37b946f",
    "walkbst": "7fffeccfaa",
}


def test_the_default_configurations_keep_their_hashes():
    assert {key: results.config_hash(TrainConfig.for_task(key).to_dict())[:10] for key in tasks.KEYS} == HASHES


def test_constants_are_those_where_they_are_used():
    assert CONSTANTS == {
        "adam_betas": list(optimizer.ADAM_BETAS),
        "entropy_half_life": step.ENTROPY_HALF_LIFE,
        "level_decay": curriculum.LEVEL_DECAY,
        "level_gap": curriculum.LEVEL_GAP,
        "patience_at_top": restarts.PATIENCE_AT_TOP,
        "polish_learning_rate": polish.LEARNING_RATE,
        "history_batches": loop.HISTORY_EVERY,
    }
    with pytest.raises(ValueError, match="level_gap is always 10 in this version, not 5"):
        TrainConfig.for_task("copy", level_gap=5)


def test_a_setting_is_documented_once_with_its_default():
    for name in TrainConfig.names():
        assert re.search(rf"^ *{name} \(.*\): \w", TrainConfig.__doc__, re.MULTILINE), name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learning_rat": 0.1}, "did you mean 'learning_rate'.*valid: task, seed"),
        ({"learning_rate": 0.1}, "learning_rate must be two numbers"),
        ({"learning_rate": (0.1, 0.01)}, "low, high"),
        ({"hidden": 4.5}, "hidden must be an integer"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"curriculum": "no"}, "curriculum must be of type bool"),
        ({"budget_seconds": -1}, "budget_seconds must be at least 0"),
        ({"budget_seconds": float("nan")}, "budget_seconds must be a finite number"),
        ({"controller": "gru"}, "valid: mlp, lstm"),
        ({"loss": "likelihood"}, "valid: expected, marginal"),
        ({"kernel": "fast"}, "kernel"),
        ({"num_cells": 3}, "needs at least 22 cells"),
        ({"entropy": (0, 0.1)}, "entropy is drawn log-uniformly"),
    ],
)
def test_wrong_settings_are_errors_that_name_what_is_valid(overrides, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig.for_task("access", **overrides)


def test_an_unknown_task_is_an_error_that_names_the_tasks():
    with pytest.raises(ValueError, match="reverse"):
        TrainConfig.for_task("revers")


@given(
    st.sampled_from([name for name in TrainConfig.names() if name != "task"]),
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.floats(), max_size=3)
    ),
)
def test_any_override_is_taken_or_refused_with_a_value_error(name, value):
    try:
        config = TrainConfig.for_task("copy", **{name: value})
    except ValueError:
        return
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
