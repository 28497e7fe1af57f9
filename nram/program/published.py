"""The circuits behind the published executions (Tables 2 to 6; Figures 4 to 9), as programs.

The paper prints memory and registers timestep by timestep; these circuits reproduce every number, which does not make
them the only ones that do. The step that prepares the registers is the first rule.

For Swap the paper speaks of two circuits that alternate; here there are three, which swap any two elements. Two
circuits give the table's numbers as well (tests/test_published.py), and so does one READ per timestep, with 14 modules,
where one number happens to be the other's neighbour. But a machine that reads three cells in its three timesteps cannot
swap every array: the outcome rests on four cells, the two pointers and the two elements.
"""

from nram.machine.circuit import Layout
from nram.program.table import Program

__all__ = ["PUBLISHED", "published"]

# task: registers, repetitions, rules
PUBLISHED = {
    "copy": (
        4,
        1,
        """
        when r2 = 0:                        # p - 1, destination minus source, to r2
            READ r4; WRITE r4 READ; DEC READ; INC r3
            r2 = DEC; r4 = INC
        otherwise:                          # every element is copied twice: r3 lags behind r4
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
        when r1 = 0:                        # p to r1
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
        when r2 = 0:                        # the element at p goes to cell 0, p to r2
            READ r1; READ2 READ; WRITE2 r1 READ2
            r1 = ONE; r2 = READ
        when r1 > 0:                        # the element at q goes to p, q to r2
            READ r1; READ2 READ; WRITE2 r2 READ2
            r1 = ZERO; r2 = READ
        otherwise:                          # the element kept in cell 0 goes to q
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
