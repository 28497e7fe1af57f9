"""The command line in other people's terminals and folders: encodings, ~ in paths, outputs that cannot be written."""

import argparse
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nram
from nram import results
from nram.__main__ import main, make_parser

PACKAGE = Path(nram.__file__).parent
TAKES = {  # what a command needs besides the option that is tried
    "train": ["--task", "copy"],
    "search": ["--task", "copy"],
    "study": ["rates"],
    "evaluate": [str(results.RECORDED / "copy")],
}


def commands():
    (action,) = (each for each in make_parser()._actions if isinstance(each, argparse._SubParsersAction))
    return action.choices


OUTPUTS = [
    (name, action.option_strings[0], is_file)
    for name, command in commands().items()
    for action in command._actions
    for dest, is_file in (command.get_default("outputs") or {}).items()
    if dest == action.dest
]


def test_every_path_is_expanded_where_arguments_are_read():
    from nram.arguments import path, source

    for name, command in commands().items():
        for action in command._actions:
            if action.metavar in ("DIR", "FILE", "RUN"):
                assert action.type is path, f"{name} {action.dest}"
    assert source("recorded") == "recorded" and source("~/runs") == str(Path.home() / "runs")
    written = {option for name, option, _ in OUTPUTS}
    assert written == {"--out", "--csv", "--json", "--results"} and len(OUTPUTS) == 9


@pytest.mark.parametrize(("command", "option", "is_file"), OUTPUTS)
def test_outputs_are_proved_writable_before_work_begins(command, option, is_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    for work in ("experiments.run.run", "experiments.run.evaluate_run", "experiments.verify.verify"):
        monkeypatch.setattr(f"nram.{work}", None)
    blocked = ["~/file/x.csv", "~"] if is_file else ["~/file/runs", "~/file"]
    for path in blocked:
        assert main([command, *TAKES.get(command, []), f"{option}={path}"]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        assert path.replace("~", str(tmp_path)) in printed.err, printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "no folder named ~"


def test_a_home_that_is_not_there_is_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["table", "~nobody-of-that-name/runs"])
    assert "~nobody-of-that-name/runs" in capsys.readouterr().err


def test_numbers_are_written_below_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "paper", "recorded", "--csv=~/deep/c.csv"]) == 0
    assert (tmp_path / "deep" / "c.csv").is_file() and [path.name for path in tmp_path.iterdir()] == ["deep"]


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}])
def test_a_terminal_that_cannot_encode_gets_replacements_and_files_are_utf8(terminal, tmp_path):
    (tmp_path / "runs").symlink_to(results.RECORDED)
    command = ["-m", "nram", "reproduce", "--table-only", "--results", str(tmp_path)]
    environment = os.environ | {"PYTHONUTF8": "0"} | terminal
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, cwd=results.CHECKOUT)
    assert done.returncode == 0, done.stderr
    assert b"| listk |" in done.stdout and b"permutation ? |" in done.stdout
    assert "permutation † |" in (tmp_path / "tables" / "table1.md").read_text(encoding="utf-8")


def test_no_file_depends_on_the_locale():
    """Every open, read_text and write_text names its encoding."""
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func)
            method = re.search(r"\.(read_text|write_text)$", name) and name != "results.write_text"
            if name == "open" or method:
                named = any(keyword.arg == "encoding" for keyword in call.keywords)
                assert named, f"{path.relative_to(PACKAGE)}, line {call.lineno}"
