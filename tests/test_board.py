"""What a command shows of its jobs at work: live lines on a terminal, plain ones elsewhere, what is left."""

import contextlib
import io
import os
import re
import time
from types import SimpleNamespace

import pytest
import torch
from builders import tiny_config

from nram import tasks
from nram.experiments import board as boards
from nram.experiments import workers
from nram.experiments.board import Board
from nram.experiments.board_lines import clock, fitted, printable, status_fields
from nram.experiments.forecast import AtWork, Expected, Forecast, in_words
from nram.experiments.launch import launch
from nram.training import status, train
from nram.training.population import Population
from nram.training.progress import tell_progress

TRAINING = {"stage": "training", "time": 1000.0, "seconds": 70.0, "budget_seconds": 900.0, "batches": 340}
TRAINING |= {"budget_batches": None, "lesson": 0, "lessons": 0, "level": 5, "hardest": 15, "error": 0.2134}
TRAINING |= {"started": 24, "solved": 0}


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Boards look ten times as often."""
    monkeypatch.setattr(boards, "POLL_SECONDS", 0.02)
    monkeypatch.delenv(status.FILE, raising=False)


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# What a job tells


def test_what_is_told_is_read_and_gone_afterwards(tmp_path):
    path = tmp_path / "copy, seed 3.json"
    status.tell("nobody listens")
    with status.telling(path):
        assert status.read(path)["stage"] == "starting" and not status.is_due()
        status.tell("training", level=3, error=float("nan"))
        assert status.read(path)["level"] == 3 and abs(status.read(path)["time"] - time.time()) < 5
        path.write_text("{half")
        assert status.read(path) is None
    assert list(tmp_path.iterdir()) == [] and status.read(path) is None and status.FILE not in os.environ


def test_a_folder_that_is_gone_stops_no_work(tmp_path):
    with status.telling(tmp_path / "gone" / "copy.json"):
        assert list(status.counted("abc", "measuring", 3)) == ["a", "b", "c"]


@pytest.fixture
def told(monkeypatch):
    """All that is told."""
    told = []
    monkeypatch.setattr(status, "tell", lambda stage, **facts: told.append({"stage": stage, "time": 1e12, **facts}))
    return told


def test_a_population_tells_where_its_most_advanced_member_is(told):
    config = tiny_config(budget_batches=20)
    population = Population(config, tasks.get("access"))
    population.members.level[1] = 4
    tell_progress("training", population, 7, 61.5)
    assert status_fields(told[0]) == ["1:01, batch 7 of 20", "level 4/4", "error 1.000", "3 seeds"]


@pytest.mark.slow
def test_a_training_that_is_watched_trains_the_same(told, tmp_path, monkeypatch):
    config = tiny_config(budget_batches=20, kernel="reference", polish_batches=0)
    alone = train(config, progress=False)
    monkeypatch.setattr(status, "SECONDS", 0.0)
    with status.telling(tmp_path / "access.json"):
        watched = train(config, progress=False)
    assert [each["batches"] for each in told[1:]] == [*range(1, 21)]
    assert all(torch.equal(watched.machine.params[name], alone.machine.params[name]) for name in alone.machine.params)


# Its line


def test_a_training_is_its_time_level_error_and_seeds():
    assert status_fields(TRAINING, now=1003.0) == ["1:13 of 15:00", "level 5/15", "error 0.213", "24 seeds"]
    assert status_fields(TRAINING | {"stage": "polishing", "solved": 2}, now=1000.0) == [
        *("1:10 of 15:00", "polishing", "level 5/15", "error 0.213", "24 seeds", "2 solved")
    ]
    lesson = status_fields(TRAINING | {"lesson": 2, "lessons": 4, "error": float("nan")}, now=1000.0)
    assert lesson == ["1:10 of 15:00", "lesson 3/4, level 5/15", "24 seeds"]
    assert status_fields(TRAINING | {"lesson": 4, "lessons": 4}, now=0.0)[1] == "lessons learned, level 5/15"
    assert status_fields(TRAINING | {"budget_batches": 1000}, now=1000.0)[0] == "1:10, batch 340 of 1000"
    assert status_fields({"stage": "measuring", "done": 12, "total": 60}) == ["measuring 12 of 60"]
    assert status_fields({"stage": "compiling", "time": 0.0}) == ["compiling"]
    assert (clock(59.9), clock(3600), clock(-1)) == ("0:59", "1:00:00", "0:00")


def test_a_line_keeps_the_fields_that_fit():
    fields = ["copy", "1:10 of 15:00", "level 5/15", "error 0.213"]
    assert fitted(fields, 100) == "copy  1:10 of 15:00  level 5/15  error 0.213"
    assert fitted(fields, 31) == fitted(fields, 43) == "copy  1:10 of 15:00  level 5/15"
    assert fitted(fields, 3) == "cop"


def test_marks_have_stand_ins_where_the_encoding_lacks_them():
    assert printable("✓ ✗ ○ †", "utf-8") == printable("✓ ✗ ○ †", None) == "✓ ✗ ○ †"
    assert printable("✓ ✗ ○ † – é", "latin-1") == "+ x o * - é"
    assert printable("✓ é λ", "ascii") == "+ ? ?"


# What is left


def test_what_is_left_of_trainings():
    jobs = {"copy": Expected(5.0, 900.0), "merge": Expected(900.0, 900.0), "table": Expected(0.0, 0.0)}
    left = Forecast(jobs, parallel=2, around=30.0)
    assert left.left({}) == Expected(930.0, 960.0), "the table comes last"
    running = {"copy": AtWork(40.0, 35.0), "merge": AtWork(110.0, 100.0)}
    assert left.left(running).usual == 800 + 20, "merge again; a search has no memory"
    assert left.fields(running) == ["0 of 3 done", "about 14 min left", "at most 15 min"], left.left(running)
    left.end("merge", AtWork(960.0, 900.0, trained=True))
    assert left.left({"copy": AtWork(40.0, 5.0, trained=True)}) == Expected(60.0, 60.0), "60 s beside its training"
    left.end("copy", None)
    left.end("table", None)
    assert left.fields({}) == ["3 of 3 done"]


def test_what_is_left_of_jobs_that_are_unknown():
    left = Forecast(dict.fromkeys("abcd", Expected()), parallel=1)
    assert left.fields({"a": AtWork(100.0)}) == ["0 of 4 done"]
    left.end("a", AtWork(100.0))
    assert left.fields({"b": AtWork(40.0)}) == ["1 of 4 done", "about 4 min left"]


def test_a_duration_in_words():
    assert [in_words(each) for each in (0, 44, 119, 3599, 4800)] == ["10 s", "40 s", "2 min", "1 h 0 min", "1 h 20 min"]


# The board


def test_without_a_terminal_there_are_plain_lines():
    with Board(io.StringIO(), plain_seconds=0.1) as board:
        board.expect(["copy", "merge"], parallel=2)
        board.begin("copy")
        with status.telling(board.file_of("copy")):
            status.tell(**TRAINING | {"time": time.time()})
            wait_for(lambda: "level" in board.stream.getvalue())
        board.end("copy", "✓ perfect")
    lines = board.stream.getvalue().splitlines()
    assert lines[0] == "  0:00  copy   started" and lines[-1] == "  0:00  copy   ✓ perfect"
    assert "  0:00  copy 1:10 of 15:00, level 5/15, error 0.213, 24 seeds; 0 of 2 done" in lines
    assert not board.folder and "\x1b" not in board.stream.getvalue() and "\r" not in board.stream.getvalue()


def test_many_jobs_are_one_plain_line():
    lines = [[f"seed {number}  ", "0:10", "starting"] for number in range(6)]
    assert boards._plain_line([*lines, ["0 of 9 done", "about 10 s left"]], True) == (
        "seed 0 0:10, starting; seed 1 0:10, starting; seed 2 0:10, starting; seed 3 0:10, starting; and 2 more; "
        "0 of 9 done, about 10 s left"
    )


class Terminal:
    """A pseudo-terminal: what a board writes to `stream`, as lines of the screen."""

    def __init__(self, columns, encoding="utf-8"):
        fcntl, pty, struct, termios = map(pytest.importorskip, ("fcntl", "pty", "struct", "termios"))
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.set_blocking(self.master, False)
        self.stream, self.raw, self.encoding = open(slave, "w", encoding=encoding), b"", encoding

    def screen(self):
        """The lines as they stand, without those that are empty."""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self.master, 65536):
                self.raw += more
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[A|[\r\n]|[^\r\n\x1b]+", self.raw.decode(self.encoding)):
            if part == "\x1b[A":
                row -= 1
            elif part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            else:
                lines[row] = (lines[row].ljust(column)[:column] + part + lines[row][column + len(part) :]).rstrip()
                column += len(part)
        return [line for line in lines if line]


@pytest.fixture
def terminal_of():
    """terminal_of(columns, encoding): a terminal, which is closed at the end."""
    opened = []
    yield lambda *options, **named: opened.append(Terminal(*options, **named)) or opened[-1]
    for terminal in opened:
        terminal.stream.close()
        os.close(terminal.master)


@pytest.mark.parametrize(("columns", "shown"), [(80, "error 0.213  24 seeds"), (40, "level 5/15")])
def test_on_a_terminal_each_job_has_a_live_line_and_ended_ones_stand_above(terminal_of, columns, shown):
    terminal = terminal_of(columns)
    with Board(terminal.stream) as board:
        board.expect({"copy": Expected(5.0, 900.0), "swap": Expected(9.0, 900.0), "table": Expected(0.0, 0.0)}, 2)
        for name in ("copy", "swap"):
            board.begin(name)
            board.file_of(name).write_text('{"stage": "starting", "time": 0}')
        wait_for(lambda: len(terminal.screen()) == 3)
        assert terminal.screen()[:2] == ["copy   0:00  starting", "swap   0:00  starting"]
        assert terminal.screen()[2].startswith("0 of 3 done  about")
        with status.telling(board.file_of("copy")):
            status.tell(**TRAINING | {"time": time.time()})
            wait_for(lambda: "level" in terminal.screen()[0])
            assert terminal.screen()[0].endswith(shown) and max(map(len, terminal.screen())) < columns
        board.end("copy", "✓ perfect")
        wait_for(lambda: "1 of 3 done" in terminal.screen()[-1])
        assert terminal.screen()[:2] == ["  0:00  copy   ✓ perfect", "swap   0:00  starting"]
        board.say("two\nlines")
        board.end("swap", "✗ FAILED: it was killed, and its file stayed")
    assert terminal.screen() == [
        *("  0:00  copy   ✓ perfect", "two", "lines", "  0:00  swap   ✗ FAILED: it was killed, and its file stayed")
    ]


def test_an_interrupt_leaves_no_live_line_and_no_file(terminal_of):
    terminal = terminal_of(40, encoding="latin-1")
    with pytest.raises(KeyboardInterrupt), Board(terminal.stream) as board:
        board.end("copy", "✓ perfect")
        with board.job("swap"):
            wait_for(lambda: len(terminal.screen()) == 2)
            folder = board.folder
            raise KeyboardInterrupt
    assert terminal.screen() == ["  0:00  copy  + perfect"] and not folder.exists()


def test_jobs_of_this_process_are_shown_one_after_another():
    seen = []
    with Board(io.StringIO()) as board:
        for each in board.each([1, 2], lambda number: f"run {number}", "measured"):
            seen.append((each, status.read(board.file_of(f"run {each}"))["stage"]))
    assert seen == [(1, "starting"), (2, "starting")]
    assert board.stream.getvalue() == "  0:00  run 1  measured in 0 s\n  0:00  run 2  measured in 0 s\n"


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(terminal_of, monkeypatch):
    terminal = terminal_of(80)
    assert boards.is_terminal(terminal.stream) and not boards.is_terminal(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not boards.is_terminal(terminal.stream)


def test_a_job_whose_outcome_cannot_be_told_has_failed():
    def outcome():
        raise ValueError("metrics.json is damaged")

    failure, said = workers._outcome(SimpleNamespace(outcome=outcome), None, 12.3)
    assert failure.error == "metrics.json is damaged" and said == "✗ FAILED after 12 s: metrics.json is damaged"
    assert workers._outcome(SimpleNamespace(outcome=lambda: "✓ perfect"), None, 1.0) == (None, "✓ perfect; 1 s in all")
    assert workers._outcome(None, failure, 12.3) == (failure, said)


@pytest.mark.slow
def test_jobs_in_other_processes_are_shown():
    with Board(io.StringIO(), plain_seconds=0.05) as board:
        calls, names = [(1.0,), (1.0,)], ["seed 1", "seed 2"]
        assert list(launch(time.sleep, calls, jobs=2, names=names, board=board)) == [None, None]
        assert set(board.forecast.ended) == set(names) and not list(board.folder.iterdir())
    assert all(f"{name} 0:00, starting" in board.stream.getvalue() for name in names)
