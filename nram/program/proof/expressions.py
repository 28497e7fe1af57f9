"""What symbols stand for: linear expressions, and values made of them.

An expression c + a n + b i + d M is a tuple (c, a, b, d) of integers: n is the number of elements, i a loop counter or
an index, M the number of cells. Expressions stand for integers modulo M.
"""

from typing import NamedTuple

__all__ = [
    "ANY", "Element", "Expression", "I", "M", "N", "Number", "ONE", "Unknown", "Value", "ZERO", "combine", "integer",
    "plus", "replace_i", "show", "value_at",
]  # fmt: skip

Expression = tuple[int, int, int, int]
ZERO, ONE, N = (0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0)
I, M = (0, 0, 1, 0), (0, 0, 0, 1)  # noqa: E741 - the paper's symbols


def integer(constant: int) -> Expression:
    """A constant as an expression."""
    return (constant, 0, 0, 0)


def combine(*terms: tuple[int, Expression]) -> Expression:
    """The sum of factor * expression."""
    c = n = i = m = 0
    for factor, (of_c, of_n, of_i, of_m) in terms:
        c, n, i, m = c + factor * of_c, n + factor * of_n, i + factor * of_i, m + factor * of_m
    return c, n, i, m


def plus(expression: Expression, constant: int) -> Expression:
    """The sum of an expression and a constant."""
    return combine((1, expression), (constant, ONE))


def replace_i(expression: Expression, by: Expression) -> Expression:
    """The expression with `by` in place of i."""
    c, n, i, m = expression
    return combine((1, (c, n, 0, m)), (i, by))


class Number(NamedTuple):
    """A value that is the expression modulo M."""

    expression: Expression


class Element(NamedTuple):
    """What cell `address` held at the start, an array element of 1..M-1, plus `offset`, modulo M."""

    address: Expression
    offset: Expression = ZERO


class Unknown(NamedTuple):
    """Any value, or any value except zero if `nonzero`."""

    nonzero: bool = False


Value = Number | Element | Unknown
ANY = Unknown()


def value_at(value: Value, i: Expression) -> Value:
    """The value with the expression `i` in place of i."""
    if isinstance(value, Number):
        return Number(replace_i(value.expression, i))
    if isinstance(value, Element):
        return Element(replace_i(value.address, i), replace_i(value.offset, i))
    return value


def show(value: Value | Expression, names: str = "niM") -> str:
    """A value or expression as text; start[e] is what cell e held at the start."""
    if isinstance(value, Unknown):
        return "any value but 0" if value.nonzero else "any value"
    if isinstance(value, Element):
        offset = show(value.offset, names)
        plus_offset = "" if offset == "0" else f" {offset[0]} {offset[1:]}" if offset[0] == "-" else f" + {offset}"
        return f"start[{show(value.address, names)}]{plus_offset}"
    constant, *factors = value.expression if isinstance(value, Number) else value
    terms = [(factor, name) for factor, name in zip(factors, names, strict=True) if factor]
    text = "".join(
        f" {'-' if factor < 0 else '+'} {'' if abs(factor) == 1 else f'{abs(factor)} '}{name}" for factor, name in terms
    )
    if constant or not terms:
        text += f" {'-' if constant < 0 else '+'} {abs(constant)}"
    return text[3:] if text.startswith(" + ") else "-" + text[3:]
