"""A command's jobs while they are at work: on a terminal a live line each, elsewhere one plain line a minute.

Each job tells its state in a file of its own (see `nram.training.status`), whatever process it is in. The board reads
these files twice a second. The file of a job that was killed stays until the board is told that the job has ended.
"""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from nram.experiments.board_lines import clock, fitted, printable, status_fields
from nram.experiments.forecast import AtWork, Expected, Forecast
from nram.training import status

__all__ = ["Board", "is_terminal"]

POLL_SECONDS = 0.5
PLAIN_SECONDS = 60.0
WIDTH = 100  # columns, where there is no terminal
MANY = 4  # jobs in a plain line


class Board:
    """Shows the jobs at work on a stream, and what is said, above them. Without a stream it shows nothing.

    Used as a context; outside it, nothing tells the board anything.
    """

    def __init__(self, stream: TextIO | None = None, plain_seconds: float = PLAIN_SECONDS):
        self.stream, self.plain_seconds = stream, plain_seconds
        self.is_live = stream is not None and is_terminal(stream)
        self.folder: Path | None = None
        self.forecast = Forecast({}, 1)
        self.began = time.monotonic()
        self._since: dict[str, float] = {}  # when the jobs at work began
        self._told: dict[str, dict | None] = {}  # what they told last
        self._training: dict[str, float] = {}  # the seconds of training that they told last
        self._bars: list[tqdm] = []
        self._over, self._lock = threading.Event(), threading.RLock()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Board":
        with contextlib.suppress(OSError):  # no place for temporary files: nothing is told
            self.folder = Path(tempfile.mkdtemp(prefix="nram-"))
        if self.folder and self.stream is not None:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.close()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None

    def close(self) -> None:
        """Remove the live lines for good; what is said is still printed."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._draw([])

    # What the command says

    def expect(self, jobs: Mapping[str, Expected] | Iterable[str], parallel: int = 1, around: float = 0.0) -> None:
        """Announce the jobs that there will be, by name, with what they take if that is known (see `Forecast`)."""
        jobs = jobs if isinstance(jobs, Mapping) else dict.fromkeys(jobs, Expected())
        with self._lock:
            self.forecast = Forecast(jobs, parallel, around)

    def say(self, text: str) -> None:
        """Print a line with the time since the board began, or several lines as they are."""
        if self.stream is None:
            return
        if "\n" not in text:
            text = f"{clock(time.monotonic() - self.began):>6}  {text}"
        text = printable(text, self.stream.encoding)
        with self._lock:
            if self._bars:
                tqdm.write(text, file=self.stream)
            else:
                print(text, file=self.stream, flush=True)

    @property
    def width(self) -> int:
        """The columns that lines may have: the terminal's, elsewhere 100."""
        return width_of(self.stream) if self.is_live else WIDTH

    def file_of(self, name: str) -> Path | None:
        """Where a job tells its state; None outside the context."""
        return self.folder and self.folder / f"{name}.json"

    def begin(self, name: str) -> None:
        """A job begins."""
        with self._lock:
            self._since[name] = time.monotonic()
        if not self.is_live:
            self.say(f"{self._padded(name)}  started")

    def end(self, name: str, said: str = "") -> None:
        """A job has ended, however it did. said: what came of it."""
        with self._lock:
            self.forecast.end(name, self._at_work(name, trained=True) if name in self._since else None)
            if self.folder:
                with contextlib.suppress(OSError):
                    self.file_of(name).unlink()
            if self._bars:
                self._draw(self.lines())
        if said:
            self.say(f"{self._padded(name)}  {said}")

    @contextlib.contextmanager
    def job(self, name: str) -> Iterator[None]:
        """A job that this process does itself."""
        with self._lock:
            self._since[name] = time.monotonic()
        with status.telling(self.file_of(name)):
            yield
        self.end(name)

    def each(self, items: Iterable, name_of: Callable[[object], str], done: str) -> Iterator:
        """Yield the items; work on each is a job of this process. done: what is said of it then."""
        items = list(items)
        self.expect(map(name_of, items))
        for item in items:
            name, began = name_of(item), time.monotonic()
            with self.job(name):
                yield item
            self.say(f"{self._padded(name)}  {done} in {time.monotonic() - began:.0f} s")

    # What it shows

    def lines(self) -> list[list[str]]:
        """The fields of a line for each job at work; a last line says what is left."""
        told = {path.stem: status.read(path) for path in sorted(self.folder.glob("*.json"))}
        lines, running = [], {}
        with self._lock:
            for name, state in told.items():
                self._since.setdefault(name, time.monotonic())
                self._told[name] = state or self._told.get(name)
            for name in self._since:
                if name in self.forecast.ended:
                    continue
                state = self._told.get(name) or {"stage": "starting"}
                if "seconds" in state:
                    self._training[name] = state["seconds"]
                running[name] = self._at_work(name, trained=name in self._training and "seconds" not in state)
                elapsed = [] if "seconds" in state else [clock(running[name].seconds)]
                lines.append([self._padded(name), *elapsed, *status_fields(state)])
            if len(self.forecast.jobs) > 1:
                lines.append(self.forecast.fields(running))
        return lines

    def _at_work(self, name: str, trained: bool) -> AtWork:
        return AtWork(time.monotonic() - self._since[name], self._training.get(name, 0.0), trained)

    def _padded(self, name: str) -> str:
        return name.ljust(max(map(len, self.forecast.jobs), default=0))

    def _follow(self) -> None:
        """Show the jobs until the board is over. A stream that is closed ends this."""
        due = time.monotonic() + self.plain_seconds
        with contextlib.suppress(OSError, ValueError):
            while not self._over.wait(POLL_SECONDS):
                lines = self.lines()
                if self.is_live:
                    self._draw(lines)
                elif time.monotonic() >= due:
                    due += self.plain_seconds
                    self.say(_plain_line(lines, has_forecast=len(self.forecast.jobs) > 1))

    def _draw(self, lines: list[list[str]]) -> None:
        """Replace the live lines: each is the text of a progress bar without a bar."""
        with self._lock:
            while len(self._bars) > len(lines):
                self._bars.pop().close()
            while len(self._bars) < len(lines):
                place = len(self._bars)
                options = {"bar_format": "{desc}", "leave": False, "dynamic_ncols": True, "file": self.stream}
                self._bars.append(tqdm(position=place, **options))
            for bar, line in zip(self._bars, lines, strict=True):
                bar.set_description_str(printable(fitted(line, self.width - 1), self.stream.encoding))


def _plain_line(lines: list[list[str]], has_forecast: bool) -> str:
    """All lines in one."""
    jobs, rest = (lines[:-1], lines[-1:]) if has_forecast else (lines, [])
    parts = [f"{name.rstrip()} {', '.join(fields)}" for name, *fields in jobs[:MANY]]
    parts += [f"and {len(jobs) - MANY} more"] * (len(jobs) > MANY)
    return "; ".join(parts + [", ".join(each) for each in rest])


def is_terminal(stream: TextIO) -> bool:
    """Whether lines of this stream can be replaced."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width_of(stream: TextIO) -> int:
    """The columns of the terminal behind a stream; `WIDTH` if they are unknown."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or WIDTH
    except (OSError, ValueError):
        return WIDTH
