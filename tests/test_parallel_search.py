"""A search as a list of populations: their own seeds, nothing run twice, one table; and what the launcher refuses."""

import io
import re

import pandas as pd
import pytest
from builders import search_config

import nram
from nram.__main__ import main, make_parser
from nram.experiments import parallel_search, search
from nram.experiments.board import Board
from nram.experiments.launch import launch
from nram.training import train


@pytest.mark.slow
def test_populations_have_seeds_of_their_own_and_are_not_run_twice(tmp_path):
    board = Board(io.StringIO())
    rows = parallel_search.search_in_parallel(search_config(seed=5), tmp_path, 2, board=board)
    assert re.findall(r"\d of 2: seed \d(?=: \d+ started)", board.stream.getvalue()) == [
        "1 of 2: seed 5",
        "2 of 2: seed 6",
    ]
    assert set(rows["seed"]) == {5, 6} and not rows["learning_rate"].duplicated().any()
    assert not rows.duplicated(["seed", "trial"]).any()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "trials.csv", dtype={"rises": str}), rows, check_dtype=False)
    for row in rows[rows["solved"]].itertuples():
        assert nram.load(tmp_path / row.folder / "machines" / str(row.trial)).task == "access"

    assert search.success_rate(rows)["solved"] == rows["solved"].sum(), "numbers that two seeds share are two trials"

    with pytest.raises(ValueError, match="holds a search already"):
        parallel_search.search_in_parallel(search_config(seed=5), tmp_path, 2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("population-*/*")}
    more = parallel_search.search_in_parallel(search_config(seed=5), tmp_path, 3, resume=True)
    assert before == {path: path.stat().st_mtime_ns for path in before}, "finished populations are left alone"
    pd.testing.assert_frame_equal(more.iloc[: len(rows)], rows)
    assert set(more["seed"]) == {5, 6, 7}


@pytest.mark.slow
def test_a_half_done_population_spends_what_is_left_of_its_budget(tmp_path, monkeypatch):
    parallel_search.search_in_parallel(search_config(), tmp_path, 1)
    (tmp_path / "population-0000" / "finished.json").unlink()
    results = []
    monkeypatch.setattr(search, "train", lambda *args, **options: results.append(train(*args, **options)))
    parallel_search.search_in_parallel(search_config(budget_seconds=6.0), tmp_path, 1, resume=True)
    (result,) = results
    assert result.resumed == 1 and 3.0 <= result.earlier_seconds < 5.0 and 6.0 <= result.seconds < 8.0


@pytest.mark.slow
def test_folders_of_earlier_versions_are_read_and_continued(tmp_path):
    rows = parallel_search.search_in_parallel(search_config(), tmp_path, 2)
    (tmp_path / "population-0000").rename(tmp_path / "trial-0000")
    assert set(parallel_search.merge_trials(tmp_path)["folder"]) == {"trial-0000", "population-0001"}
    with pytest.raises(ValueError, match="holds a search already"):
        parallel_search.search_in_parallel(search_config(), tmp_path, 2)
    again = parallel_search.search_in_parallel(search_config(), tmp_path, 2, resume=True)
    pd.testing.assert_frame_equal(again.drop(columns="folder"), rows.drop(columns="folder"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["population-0001", "trial-0000", "trials.csv"]


@pytest.mark.slow
def test_the_command_searches_with_several_populations(tmp_path, capsys):
    small = "--set population=2 --set train_difficulty=3 --set verify_cases=20 --set hidden=8 --set kernel=reference"
    command = f"search --task access --budget 0.5 --populations 2 --jobs 1 --out {tmp_path / 'a'} {small}"
    assert main(command.split()) == 0
    printed = capsys.readouterr()
    assert "2 of 2: seed 1:" in printed.err and str(tmp_path / "a" / "trials.csv") in printed.out
    assert main(command.split()) == 2
    assert "resume it" in capsys.readouterr().err
    assert main([*command.split(), "--resume", "--slurm", "partition=main"]) == 2
    assert "the launcher is local" in capsys.readouterr().err
    assert make_parser().parse_args("search --task access --trials 2".split()).populations == 2, "its former name"


def test_where_there_is_no_slurm_it_says_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs SLURM's commands"):
        list(launch(pow, [(2, 3)], launcher="slurm", logs=tmp_path))
    with pytest.raises(ValueError, match="valid: local, slurm"):
        launch(pow, [(2, 3)], launcher="lsf")
