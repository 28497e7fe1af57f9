"""Files that are whole or absent, folders that are held; and the same where the system is not POSIX."""

import errno
import fcntl
import os
import subprocess
import sys
import types

import pytest

from nram import results
from nram.results import files

# Stands in for Windows: modules that only POSIX has cannot be imported, and there is no SIGHUP.
WITHOUT_POSIX = """
import signal, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
del signal.SIGHUP
"""


@pytest.fixture
def windows(monkeypatch):
    """No fcntl, and a msvcrt that locks a whole file where the real one locks a byte; the list of its calls."""
    asked = []

    def locking(descriptor, mode, count):
        asked.append((mode, count))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None

    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(LK_NBLCK=2, locking=locking))
    monkeypatch.setattr(files, "fcntl", None)
    return asked


def test_a_file_is_held_by_one(tmp_path):
    with open(tmp_path / "file", "a+") as first, open(tmp_path / "file", "a+") as second:
        assert files.hold(first) and not files.hold(second)
    with open(tmp_path / "file", "a+") as third:
        assert files.hold(third)


def test_a_file_is_held_by_one_without_fcntl(tmp_path, windows):
    test_a_file_is_held_by_one(tmp_path)
    assert windows == [(2, 1)] * 3
    with files.locked(tmp_path, "test"), pytest.raises(files.Busy, match="another test"):
        with files.locked(tmp_path, "test"):
            pass
    with files.locked(tmp_path, "test"):
        (tmp_path / ".lock").read_text()


def test_holding_a_file_does_not_move_it(tmp_path, windows):
    with open(tmp_path / "file", "w+") as file:
        file.write("abc")
        file.seek(1)
        assert files.hold(file) and file.read() == "bc"


def test_a_row_is_on_disk_once_it_is_appended(tmp_path, monkeypatch):
    path, forced = tmp_path / "rows.csv", []
    monkeypatch.setattr("os.fsync", lambda descriptor: forced.append(path.read_text()))
    with open(path, "a") as file:
        files.append_row(file, ("a", "b"), {"b": "x,y", "a": 1, "other": 2})
        files.append_row(file, ("a", "b"), {"a": 0.1})
    assert forced == ['1,"x,y"\n', '1,"x,y"\n0.1,\n']


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_a_folder_is_worked_in_with_a_warning(tmp_path, monkeypatch, code):
    def lacking(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", lacking)
    monkeypatch.setattr(os, "fsync", lacking)
    with pytest.warns(UserWarning, match=f"{tmp_path} is on a file system without locks"):
        with files.locked(tmp_path, "test"):
            files.write_text(tmp_path / "file", "whole")
            with open(tmp_path / "rows.csv", "a") as file:
                files.append_row(file, ("a",), {"a": 1})
    assert (tmp_path / "file").read_text() == "whole" and (tmp_path / "rows.csv").read_text() == "1\n"


def test_errors_of_a_disk_name_the_path(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    monkeypatch.setattr(fcntl, "flock", broken)

    def append():
        with open(tmp_path / "rows.csv", "a") as file:
            files.append_row(file, ("a",), {"a": 1})

    def lock():
        with files.locked(tmp_path, "test"):
            pass

    for write, name in ((lambda: files.write_text(tmp_path / "f", ""), "f"), (append, "rows.csv"), (lock, ".lock")):
        with pytest.raises(OSError, match=f"{tmp_path}/{name}"):
            write()


def test_what_is_proved_writable_is_left_as_it_was(tmp_path):
    files.prove_writable(tmp_path / "a" / "b")
    files.prove_writable(tmp_path / "a" / "b.csv", is_file=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("mine")
    files.prove_writable(tmp_path / "file", is_file=True)
    files.prove_writable(os.devnull, is_file=True)
    files.write_text(type(tmp_path)(os.devnull), "a device stays one")
    assert (tmp_path / "file").read_text() == "mine" and not os.path.isfile(os.devnull)
    for path, is_file in (("file", False), ("file/below", False), ("file/x.csv", True), ("", True)):
        with pytest.raises(OSError, match=f"{tmp_path}"):
            files.prove_writable(tmp_path / path, is_file)


@pytest.mark.slow
def test_the_commands_start_without_posix():
    script = f"{WITHOUT_POSIX}\nimport nram.__main__, nram.experiments.reproduce\n"
    script += "import nram.report, nram.report.recorded, nram.report.play\n"
    script += "nram.__main__.main(['compare', 'paper', 'recorded'])\n"
    script += "sys.exit(nram.__main__.main(['reproduce', '--table-only', '--results', 'no/such/folder']))"
    done = subprocess.run([sys.executable, "-c", script], cwd=results.CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 2 and "no/such/folder" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert "| task | measure |" in done.stdout
