"""The modules on symbols."""

from nram.program.abstract import NONZERO, abstract_output
from nram.program.proof.expressions import ANY, ONE, ZERO, Element, Number, Unknown, Value, combine, integer
from nram.program.proof.facts import Facts

__all__ = ["apply", "apply_to_same"]


def apply(name: str, a: Value, b: Value, facts: Facts) -> Value:
    """The output of a module other than READ and WRITE for the inputs a and b."""
    if name in ("INC", "DEC"):
        return _sum(a, Number(ONE), 1 if name == "INC" else -1)
    if name in ("ADD", "SUB"):
        total = _sum(a, b, 1 if name == "ADD" else -1)
        if total != ANY:
            return total
    same = a == b and not isinstance(a, Unknown)
    if isinstance(a, Number) and isinstance(b, Number) and not same:
        decided = _compared(name, a, b, facts)
        if decided is not None:
            return decided
    if name in ("MIN", "MAX") and same:
        return a
    result = abstract_output(name, facts.abstract(a), facts.abstract(b), same)
    if name in ("MAX", "SUB", "ADD") and facts.abstract(b) == 0:
        return a
    if name in ("MAX", "ADD") and facts.abstract(a) == 0:
        return b
    return Number(integer(result)) if isinstance(result, int) else Unknown(result == NONZERO)


def apply_to_same(name: str, value: Unknown) -> Value:
    """The output of a module whose two inputs come from one source with an unknown value."""
    if name in ("LESS-THAN", "SUB"):
        return Number(ZERO)
    if name in ("LESS-OR-EQUAL-THAN", "EQUALITY-TEST"):
        return Number(ONE)
    return value if name in ("MIN", "MAX") else ANY


def _compared(name: str, a: Number, b: Number, facts: Facts) -> Value | None:
    """The output of a module that compares its inputs, if the facts tell which is larger."""
    first, second = facts.normal(a.expression), facts.normal(b.expression)
    if first is None or second is None:
        return None
    difference = combine((1, first), (-1, second))
    above, strictly_above = (facts.at_least(difference, bound) for bound in (0, 1))  # a >= b, a > b
    below, strictly_below = (facts.at_least(combine((-1, difference)), bound) for bound in (0, 1))
    truth = {
        "LESS-THAN": 0 if above else 1 if strictly_below else None,
        "LESS-OR-EQUAL-THAN": 1 if below else 0 if strictly_above else None,
        "EQUALITY-TEST": 0 if strictly_above or strictly_below else 1 if above and below else None,
    }.get(name)
    if truth is not None:
        return Number(integer(truth))
    if name in ("MIN", "MAX") and (above or below):
        return b if above == (name == "MIN") else a
    return None


def _sum(a: Value, b: Value, sign: int) -> Value:
    """a + sign * b, if that is a Number or an Element, else ANY."""
    if isinstance(b, Number):
        if isinstance(a, Number):
            return Number(combine((1, a.expression), (sign, b.expression)))
        if isinstance(a, Element):
            return Element(a.address, combine((1, a.offset), (sign, b.expression)))
    if isinstance(b, Element):
        if isinstance(a, Number) and sign == 1:
            return Element(b.address, combine((1, b.offset), (1, a.expression)))
        if isinstance(a, Element) and sign == -1 and a.address == b.address:
            return Number(combine((1, a.offset), (-1, b.offset)))
    return ANY
