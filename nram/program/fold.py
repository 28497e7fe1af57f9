"""Fewer controller states: what an LSTM did in some executions, as a small automaton."""

from nram.program.program import Program
from nram.program.table import Key
from nram.program.tree import Row

__all__ = ["folded"]


def folded(program: Program, max_states: int = 1000) -> Program:
    """A program of fewer controller states that does the same in all executions that the program covers.

    It merges states greedily, in their order, if their rows do not contradict each other and the states that these rows
    lead to can be merged as well. In other executions the result guesses what the LSTM would do. A program of more than
    `max_states` states stays as it is.
    """
    if program.num_states > max_states:
        return program
    states = _States(program)
    kept: list[int] = []
    for state in range(program.num_states):
        if states.leader_of(state) == state and not any(states.merge(earlier, state) for earlier in kept):
            kept.append(state)
    number = {state: index for index, state in enumerate(kept)}
    rows: dict[Key, Row] = {}
    for state in kept:
        for pattern, row in states.rows[state].items():
            following = 0 if row.stop else number[states.leader_of(row.next_state)]
            rows[number[state], pattern] = row._replace(next_state=following)
    return program.with_rows(rows)


class _States:
    """Controller states in groups; the smallest of a group is its leader.

    leader: state -> a state of its group that is nearer to the leader, or itself. rows: leader -> pattern -> Row.
    """

    def __init__(self, program: Program):
        self.leader = list(range(program.num_states))
        self.rows: dict[int, dict[int, Row]] = {state: {} for state in self.leader}
        for (state, pattern), row in program.rows.items():
            self.rows[state][pattern] = row

    def leader_of(self, state: int, merges: dict[int, int] | None = None) -> int:
        """The leader of a state's group after `merges` (state -> new leader)."""
        while True:
            following = (merges or {}).get(state, self.leader[state])
            if following == state:
                return state
            state = following

    def merge(self, first: int, second: int) -> bool:
        """Merge two groups and all that this forces together; return False and change nothing if rows contradict."""
        merges: dict[int, int] = {}
        added: dict[int, dict[int, Row]] = {}
        waiting = [(first, second)]
        while waiting:
            a, b = sorted(self.leader_of(state, merges) for state in waiting.pop())
            if a == b:
                continue
            merges[b] = a
            known = {**self.rows[a], **added.get(a, {})}
            for pattern, row in {**self.rows[b], **added.get(b, {})}.items():
                other = known.get(pattern)
                if other is None:
                    added.setdefault(a, {})[pattern] = row
                elif (other.circuit, other.stop) != (row.circuit, row.stop):
                    return False
                elif not row.stop:
                    waiting.append((other.next_state, row.next_state))
        for state, target in merges.items():
            self.leader[state] = target
        for state, new in added.items():
            self.rows[self.leader_of(state)].update(new)
        return True
