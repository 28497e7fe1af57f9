"""The lines of a board as text: what a job tells, fitted to the terminal's width and encoding."""

import math
import time

__all__ = ["clock", "fitted", "printable", "status_fields"]

IN_ASCII = str.maketrans({"✓": "+", "✗": "x", "○": "o", "†": "*", "–": "-", "“": '"', "”": '"'})


def clock(seconds: float) -> str:
    """A duration as minutes:seconds, or hours:minutes:seconds."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def status_fields(status: dict, now: float | None = None) -> list[str]:
    """What a job tells (see `nram.training.status`), the most important first. now: Unix time."""
    if "done" in status:
        return [f"{status['stage']} {status['done']} of {status['total']}"]
    if "seconds" not in status:
        return [status["stage"]]
    seconds = status["seconds"] + max(0.0, (time.time() if now is None else now) - status["time"])
    if status["budget_batches"]:
        spent = f"{clock(seconds)}, batch {status['batches']} of {status['budget_batches']}"
    else:
        spent = f"{clock(seconds)} of {clock(status['budget_seconds'])}"
    level = f"level {status['level']}/{status['hardest']}"
    if status["lessons"]:
        at = f"lesson {status['lesson'] + 1}/{status['lessons']}"
        level = f"{at if status['lesson'] < status['lessons'] else 'lessons learned'}, {level}"
    fields = [spent, level]
    if math.isfinite(status["error"]):
        fields.append(f"error {status['error']:.3f}")
    fields.append(f"{status['started']} seeds")
    if status["solved"]:
        fields.append(f"{status['solved']} solved")
    return fields if status["stage"] == "training" else [spent, status["stage"], *fields[1:]]


def fitted(fields: list[str], width: int) -> str:
    """As many of the fields as fit into a line; the first one is cut if it alone does not."""
    line = fields[0][:width]
    for field in fields[1:]:
        if len(line) + 2 + len(field) > width:
            break
        line += f"  {field}"
    return line


def printable(text: str, encoding: str | None) -> str:
    """The text, or one like it that a terminal of this encoding can show."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(IN_ASCII).encode(encoding, "replace").decode(encoding)
    return text
