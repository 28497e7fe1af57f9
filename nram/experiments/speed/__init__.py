"""How fast the machine is: what is timed, the computer's limits, and the targets.

cases.py       what is measured: cases and plans
calls.py       what is timed, as functions
timing.py      calls in turns, medians, a case's rows
limits.py      the computer's limits
memory.py      peak memory
benchmark.py   everything together: the measurements
operations.py  operations and bytes, counted
claims.py      tables and targets
figures.py     figures
"""
