"""The circuits behind the published executions (Tables 2 to 6; Figures 4 to 9), as programs.

The paper prints memory and registers timestep by timestep. These circuits reproduce every number, and others may as
well. The first rule is the step that prepares the registers.

The paper's Swap alternates between two circuits. Ours has three, and swaps any two elements. Two circuits give the
table's numbers, too, and so do 14 modules with one READ per timestep (tests/test_published.py), because some of these
numbers happen to be neighbors. But a machine with one READ sees only three cells in its three timesteps, and the result
depends on four: the two pointers and the two elements.
"""

from nram.machine.circuit import Layout
from nram.program.program import Program

__all__ = ["PUBLISHED", "published"]

# task: registers, repetitions, rules
PUBLISHED = {
    "copy": (
        4,
        1,
        """
        when r2 = 0:                        # r2 becomes p - 1, destination minus source
            READ r4; WRITE r4 READ; DEC READ; INC r3
            r2 = DEC; r4 = INC
        otherwise:                          # copies every element twice, because r3 lags behind r4
            READ r4; ADD r2 r4; WRITE ADD READ; INC r3
            r3 = r4; r4 = INC
        """,
    ),
    "access": (
        2,
        1,
        """
        when r1 = 0:
            READ r1
            r1 = READ
        otherwise:
            READ r1; WRITE r2 READ
        """,
    ),
    "increment": (
        5,
        1,
        """
        otherwise:
            READ r1; INC READ; WRITE r1 INC; ADD r1 ONE
            r1 = ADD; r2 = INC; r3 = INC; r4 = INC; r5 = ADD
        """,
    ),
    "reverse": (
        4,
        1,
        """
        when r1 = 0:                        # r1 becomes p
            READ r1; INC r3
            r1 = READ; r3 = INC; r4 = ONE
        otherwise:                          # element r3 goes to 2 p - r3 - 1
            READ r3; ADD r1 r1; SUB ADD r3; DEC SUB; WRITE DEC READ; INC r3
            r3 = INC; r2 = ONE
        """,
    ),
    "swap": (
        2,
        2,
        """
        when r2 = 0:                        # the element at p goes to cell 0; r2 becomes p
            READ r1; READ2 READ; WRITE2 r1 READ2
            r1 = ONE; r2 = READ
        when r1 > 0:                        # the element at q goes to p; r2 becomes q
            READ r1; READ2 READ; WRITE2 r2 READ2
            r1 = ZERO; r2 = READ
        otherwise:                          # the element in cell 0 goes to q
            READ r1; WRITE r2 READ
            r1 = READ; r2 = ONE
        """,
    ),
}


def published(task: str) -> Program:
    """The program behind the published execution of a task. Raises ValueError for a task that has none."""
    if task not in PUBLISHED:
        raise ValueError(f"no execution of {task!r} was published; there are {', '.join(PUBLISHED)}")
    num_registers, repetitions, rules = PUBLISHED[task]
    return Program.parse(rules, Layout(num_registers, repetitions), task)
