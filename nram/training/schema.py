"""What a setting is: a dataclass field with its default, its range and the sentence that explains it, all in one place.

Settings lie in groups (`nram.training.settings`). In JSON, on the command line and in notebooks they have flat names,
which are the fields' own names unless the field says otherwise.
"""

import math
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import get_args

__all__ = ["Bounds", "Group", "documented", "flat_name", "groups_of", "setting", "settings_of"]

Bounds = tuple[float, float]  # (low, high): every trial draws its own value between them
LARGEST = 10**9  # upper bound of every count


def setting(
    default,
    sentence: str,
    *,
    flat: str | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    choices: tuple[str, ...] = (),
):
    """A dataclass field that is a setting.

    low, high: the range of a number, or of both bounds; above: a bound that a number must exceed. choices: valid words.
    flat: its name outside Python, if that is not the field's.
    """
    rules = {"sentence": sentence, "flat": flat, "low": low, "high": high, "above": above, "choices": choices}
    return field(default=default, metadata=rules)


def flat_name(each: Field) -> str:
    """The name of a setting in JSON, on the command line and in notebooks."""
    return each.metadata["flat"] or each.name


class Group:
    """Base class of a group of settings: checks every value when it is made. Raises ValueError naming the setting."""

    def __post_init__(self):
        for each in settings_of(self):
            object.__setattr__(self, each.name, _checked(each, getattr(self, each.name)))


def documented(cls):
    """A frozen dataclass whose docstring lists its settings: each with its flat name, default and sentence."""
    cls = dataclass(frozen=True)(cls)
    lines = [f"{flat_name(each)} ({_shown(each)}): {each.metadata['sentence']}" for each in settings_of(cls)]
    for group in groups_of(cls):
        lines += ["", f"{group.name}: {group.type.__doc__}"]
    cls.__doc__ = "\n".join([cls.__doc__.strip(), "", *lines])
    return cls


def settings_of(group) -> list[Field]:
    """The fields of a class or of its instance that are settings."""
    return [each for each in fields(group) if "sentence" in each.metadata]


def groups_of(cls) -> list[Field]:
    """The fields of a class that are groups of settings."""
    return [each for each in fields(cls) if isinstance(each.type, type) and issubclass(each.type, Group)]


def _shown(each: Field) -> str:
    return "required" if each.default is MISSING else f"{each.default!r}"


def _checked(each: Field, value):
    """The value as the setting's type. Raises ValueError if it has another type or lies outside the range."""
    name, rules = flat_name(each), each.metadata
    kinds = get_args(each.type) if type(None) in get_args(each.type) else (each.type,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    if kind == Bounds:
        numbers = isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_number, value))
        if not numbers or value[0] > value[1]:
            raise ValueError(f"{name} must be two numbers (low, high), not {value!r}")
        value = (float(value[0]), float(value[1]))
    elif kind is int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} must be an integer, not {value!r}")
        if abs(value) > max(LARGEST, rules["high"] if math.isfinite(rules["high"]) else 0):
            raise ValueError(f"{name} must be at most {LARGEST}, not {value!r}")
    elif kind is float:
        if not _is_number(value):
            raise ValueError(f"{name} must be a finite number, not {value!r}")
        value = float(value)
    elif not isinstance(value, kind):
        raise ValueError(f"{name} must be of type {kind.__name__}, not {value!r}")
    if rules["choices"] and value not in rules["choices"]:
        raise ValueError(f"unknown {name} {value!r}; valid: {', '.join(rules['choices'])}")
    if kind in (int, float, Bounds):
        _check_range(name, value if kind == Bounds else (value,), rules)
    return value


def _check_range(name: str, values: tuple[float, ...], rules) -> None:
    low, high, above = rules["low"], rules["high"], rules["above"]
    for value in values:
        if not low <= value <= high:
            between = f"lie between {low:g} and {high:g}"
            raise ValueError(f"{name} must {between if math.isfinite(high) else f'be at least {low:g}'}, not {value!r}")
        if value <= above:
            raise ValueError(f"{name} must be above {above:g}, not {value!r}")


def _is_number(value) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
