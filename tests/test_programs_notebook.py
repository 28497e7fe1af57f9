"""The notebook of programs, executed here on a folder of small runs."""

import pandas as pd
import pytest
from builders import make_run
from matplotlib.figure import Figure


@pytest.mark.slow
def test_programs_of_some_runs(execute, tmp_path):
    make_run(tmp_path / "runs", "access", by_hand=True)
    make_run(tmp_path / "runs", "increment", controller="lstm")
    make_run(tmp_path / "more", "copy", controller="lstm")
    make_run(tmp_path / "more", "reverse")
    folders = {"results_folder": str(tmp_path / "runs"), "figures_folder": str(tmp_path / "figures")}
    folders["more_folder"] = str(tmp_path / "more")
    shown = execute("60_programs", **folders, lengths=[2, 5, 200], lstm_longest=5, lstm_examples=20)
    text = shown.markdown
    assert "2 runs. **No run of: copy, reverse, swap" in text
    assert "5 of 5 published executions are re-enacted number by number." in text
    assert "MLP, 14 modules; error 0 when discretized, at complexity 3." in text and "LSTM, 14 modules" in text
    assert (
        "**Access**: no error up to length 200; proved: right for every n >= 1" in text
        and "**Increment**: first error at length 2" in text
    )
    assert "Access: right for every n >= 1" in text
    assert sum(isinstance(each, Figure) for each in shown) == 10 + 4 + 2 + 1
    lstms, lengths = (each for each in shown if isinstance(each, pd.DataFrame) and "first failure" in each)
    assert lstms["task"].tolist() == ["copy"]
    assert lengths.set_index("task").loc["access", "200"] == "0 of 10"
    written = {path.name for path in (tmp_path / "figures").rglob("*")}
    assert {"access.py", "access.json", "circuits_access.svg", "execution_access.svg", "entropy.svg"} <= written
    assert {"increment-lstm.py", "copy-lstm.json", "circuits_copy-lstm.svg"} <= written


@pytest.mark.slow
def test_programs_of_no_runs(execute, tmp_path, monkeypatch):
    monkeypatch.setattr("nram.report.style.save", lambda *_: [])  # the published figures again: written once is enough
    (tmp_path / "work" / "none").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    shown = execute("60_programs", results_folder="none", figures_folder="figures", more_folder="none")
    assert "0 runs. **No run of: access" in shown.markdown and "**WalkBST**: not run." in shown.markdown
    assert "No recorded run has an LSTM." in shown.markdown
