"""Two sources of results side by side, against numbers counted by hand; one line for a user's mistake."""

import json
import shutil

import pandas as pd
import pytest

from nram import results
from nram.__main__ import main
from nram.experiments import compare
from nram.results.digests import write_sums

RECORDED = results.RECORDED
FAR = f"error at {results.PERFECT_UP_TO}"


@pytest.fixture
def mine(tmp_path):
    """A folder of two runs: the recorded Access with 30 wrong cases of 1000 at complexity 50, and Copy as recorded."""
    for task in ("access", "copy"):
        shutil.copytree(RECORDED / task, tmp_path / task)
    frame = pd.read_csv(tmp_path / "access" / "generalization.csv")
    changed = (frame["mode"] == "at") & (frame["machine"] == "fuzzy") & (frame["complexity"] == 50)
    assert changed.sum() == 1 and frame.loc[changed, "cases"].item() == 10_000
    frame.loc[changed, "error"] = 0.03
    frame.loc[changed, "cases"] = 1000
    frame.to_csv(tmp_path / "access" / "generalization.csv", index=False)
    config = json.loads((tmp_path / "copy" / "config.json").read_text()) | {"hidden": 8, "learning_rate": [0.1, 0.2]}
    provenance = json.loads((tmp_path / "copy" / "provenance.json").read_text())
    provenance["config_hash"] = results.config_hash(config)
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    (tmp_path / "copy" / "provenance.json").write_text(json.dumps(provenance))
    for task in ("access", "copy"):
        write_sums(tmp_path / task)
    return tmp_path


def rows_of(frame, task):
    return frame[frame["task"] == task].set_index("measure")


def test_recorded_and_mine(mine):
    frame = compare.compare("recorded", mine)
    assert frame["task"].unique().tolist() == ["access", "copy"]
    row = rows_of(frame, "access").loc[FAR]
    assert row["recorded"] == 0 and row[str(mine)] == 0.03 and row["difference"] == 0.03
    # Newcombe's interval from Wilson's 0.02109 to 0.04251 of 30 in 1000, and 0 to 0.000384 of 0 in 10,000.
    assert row["low"] == pytest.approx(0.03 - (0.00891**2 + 0.000384**2) ** 0.5, abs=2e-5)
    assert row["high"] == pytest.approx(0.04251, abs=2e-5)
    assert row["note"] == f"{mine}: first error at 50 (0.03), 0 at 100"
    copy = rows_of(frame, "copy")
    assert (copy["difference"] == 0).all() and (copy["note"] == "").all()
    settings = copy.loc["train error", "settings that differ"]
    recorded = json.loads((RECORDED / "copy" / "config.json").read_text())
    assert settings == f"hidden {recorded['hidden']} → 8, learning_rate {recorded['learning_rate']} → [0.1, 0.2]"
    assert (rows_of(frame, "access")["settings that differ"] == "").all()


def test_the_paper_counts_as_exact_and_its_words_are_no_numbers(mine):
    frame = compare.compare("paper", mine)
    row = rows_of(frame, "access").loc[FAR]
    assert row["paper"] == 0 and row["low"] == pytest.approx(0.02109, abs=1e-5)
    frame = compare.compare("paper", "recorded")
    assert len(frame) == 10 * len(compare.MEASURES)
    row = rows_of(frame, "merge").loc[FAR]
    assert row[["paper", "difference", "low", "high"]].isna().all()
    assert row["note"] == "paper: weak"
    assert rows_of(frame, "merge").loc["train error", "paper"] == 0.01
    assert compare.compare("recorded", "paper")["difference"].dropna().tolist() == [
        -each for each in frame["difference"].dropna()
    ]


def test_one_run_beside_a_folder_and_a_third_source(mine):
    frame = compare.compare(mine / "copy", mine, beside="paper")
    assert frame["task"].unique().tolist() == ["copy"]
    assert frame.columns[2:5].tolist() == [str(mine / "copy"), str(mine), "paper"]


def test_settings_are_read_once_per_task(mine):
    text = compare.compare_markdown(compare.compare("recorded", mine))
    assert text.count("hidden 48 → 8") == 1 and "| +0.021 to +0.043 |" in text


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["paper"], "two sources, not 1"),
        (["paper", "no/such"], "no/such is not a folder of runs, nor one of the words paper, recorded, mine"),
        (["paper", "paper"], "paper cannot be compared with itself"),
        (["paper", "EMPTY"], "holds no finished run"),
        (["mine", "paper", "--mine", "no/such"], "no/such is not a folder of runs"),
    ],
)
def test_a_users_mistake_is_one_line(sources, message, tmp_path, capsys):
    assert main(["compare", *[str(tmp_path) if each == "EMPTY" else each for each in sources]]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_runs_of_different_tasks(capsys):
    assert main(["compare", str(RECORDED / "copy"), str(RECORDED / "swap")]) == 2
    assert "have no task in common" in capsys.readouterr().err


def test_without_sources_all_that_there_is(mine, tmp_path, capsys):
    assert main(["compare", "--mine", str(tmp_path / "none")]) == 0
    assert "| task | measure | paper | recorded |" in (text := capsys.readouterr().out) and "no runs of yours" in text
    assert main(["compare", "--mine", str(mine), "--csv", str(tmp_path / "c.csv")]) == 0
    assert f"| task | measure | recorded | {mine} | paper | difference |" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "c.csv")["task"].nunique() == 2
