"""Damage to the files of a run is noticed: one line names the file, and the other runs are shown."""

import json
import shutil
import subprocess

import pytest
from builders import CONFIG, save_run

import nram
from nram import results
from nram.__main__ import main
from nram.results.digests import SUMS, write_sums

DAMAGES = {
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut after a line": lambda content: content[: content[: len(content) // 2].rfind(b"\n") + 1],
    "one bit": lambda content: content[:-2] + bytes([content[-2] ^ 1]) + content[-1:],
    "empty": lambda content: b"",
}


@pytest.fixture
def two(tmp_path):
    """A folder of two runs, Copy and Swap; the folder of Copy's."""
    save_run(tmp_path, CONFIG | {"task": "swap"})
    return save_run(tmp_path)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", results.FILES)
def test_a_damaged_file_is_named_and_the_other_runs_stay(two, name, damage):
    path = two / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        results.find_run(two.parent, CONFIG)
    for load in (results.load_runs, results.load_generalization):
        with pytest.warns(results.BrokenRun, match=f"left out: {path} is damaged"):
            assert set(load(two.parent)["task"]) == {"swap"}
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        results.load_runs(two)


@pytest.mark.parametrize("name", [*results.FILES, SUMS])
def test_a_missing_file_is_named(two, name):
    path = two / name
    path.unlink()
    if name == SUMS:  # as in a run of an earlier version
        with pytest.warns(UserWarning, match=f"{two} has no {SUMS}"):
            assert results.load_run(two).config == CONFIG
        return
    with pytest.warns(results.BrokenRun, match=f"{path} is missing"):
        assert len(results.load_runs(two.parent)) == 1


@pytest.mark.parametrize(("line", "message"), [("", "it lacks config.json"), ("no digest\n", "line 1 holds no digest")])
def test_damaged_digests_are_named(two, line, message):
    path = two / SUMS
    path.write_text(line + "".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match=f"{path} is damaged: {message}"):
        results.load_run(two)


def test_a_machine_is_not_loaded_from_damaged_files(two):
    path = two / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        nram.load(two)


def test_a_damaged_notebook_is_named_and_the_run_stays(two):
    path = two / "notebook.ipynb"
    path.write_text("{}")
    results.add_sum(two, path.name)
    assert len(results.load_runs(two.parent)) == 2
    path.write_text("{")
    with pytest.warns(results.BrokenRun, match=f"{path} is damaged"):
        assert len(results.load_runs(two.parent)) == 2


@pytest.mark.parametrize("text", ["", 'a,b\n"1', "a,b\n1,2,3,4\n1,2,3,4,5\n"])
def test_a_table_that_was_never_whole_is_named(two, text):
    path = two / "history.csv"
    path.write_text(text)
    write_sums(two)
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        results.load_run(two)


def test_a_run_of_a_newer_format_and_one_of_another_configuration_are_refused(two):
    path = two / "config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"format": 2}))
    with pytest.raises(ValueError, match="format 2; this version of nram reads format 1"):
        results.load_run(two)
    path.write_text(json.dumps(written | {"seed": 3}))
    write_sums(two)
    with pytest.raises(ValueError, match="is not the configuration"):
        results.load_run(two)


def test_the_recorded_runs_have_a_digest_of_every_file():
    folders = [path.parent for path in results.RECORDED.glob("*/config.json")]
    assert len(folders) == 10
    for folder in folders:
        listed = {line.split()[1] for line in (folder / SUMS).read_text().splitlines()}
        assert listed == {path.name for path in folder.iterdir()} - {SUMS}
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--quiet", "--strict", SUMS], cwd=folders[0], check=True)


@pytest.fixture
def broken(tmp_path):
    """A folder of two recorded runs: Access, and Copy, whose generalization.csv ends after a line in the middle."""
    for task in ("access", "copy"):
        shutil.copytree(results.RECORDED / task, tmp_path / "runs" / task)
    path = tmp_path / "runs" / "copy" / "generalization.csv"
    path.write_bytes(DAMAGES["cut after a line"](path.read_bytes()))
    return tmp_path / "runs"


@pytest.mark.parametrize(
    "command",
    [
        "table {}",
        "compare recorded {}",
        "compare --mine {}",
        pytest.param("report --runs {} --out {}/../report", marks=pytest.mark.slow),
        pytest.param("verify {} --cases 5 --max-complexity 15 --quiet", marks=pytest.mark.slow),
        "reproduce --table-only --results {}/..",
    ],
)
def test_commands_show_the_others_name_the_broken_run_once_and_fail(broken, command, capsys):
    assert main(command.replace("{}", str(broken)).split()) == 1
    printed = capsys.readouterr()
    assert "access" in printed.out or "report" in command
    (line,) = printed.err.splitlines()
    assert line.startswith("nram: left out: ") and "copy/generalization.csv is damaged" in line
