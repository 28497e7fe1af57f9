"""The ten tasks in plain Python: each function reads one memory as a machine would and changes it in place.

Solvers share no code with the generators and know only the memory. They follow its pointers; an array ends at NULL, at
its guard or where the next array starts. A drawn target is right if it equals the solver's answer on the output cells.
"""

NULL = 0


def access(memory: list[int]) -> None:
    """Cell 0 receives the element that it points at."""
    memory[0] = memory[memory[0]]


def increment(memory: list[int]) -> None:
    """Every element up to the first NULL receives its successor modulo M."""
    i = 0
    while memory[i] != NULL:
        memory[i] = (memory[i] + 1) % len(memory)
        i += 1


def copy(memory: list[int]) -> None:
    """Copies cells 1..p-1 to p, p+1, and so on."""
    p = memory[0]
    for i in range(p - 1):
        memory[p + i] = memory[1 + i]


def reverse(memory: list[int]) -> None:
    """Copies cells p-1, p-2, ..., 1 to p, p+1, and so on."""
    p = memory[0]
    for i in range(p - 1):
        memory[p + i] = memory[p - 1 - i]


def swap(memory: list[int]) -> None:
    """Exchanges the elements at p and q."""
    p, q = memory[0], memory[1]
    memory[p], memory[q] = memory[q], memory[p]


def permutation(memory: list[int]) -> None:
    """Replaces every entry of P, which lies between cell 0 and A, by the element of A with that index."""
    a = memory[0]
    for i in range(1, a):
        memory[i] = memory[a + memory[i]]


def listk(memory: list[int]) -> None:
    """Follows k pointers from the head and writes the node's value to `out`."""
    node, hops, out = memory[:3]
    for _ in range(hops):
        node = memory[node]
    memory[out] = memory[node + 1]


def listsearch(memory: list[int]) -> None:
    """Follows pointers from the head to the first node with the value v and writes its address to `out`."""
    node, wanted, out = memory[:3]
    while memory[node + 1] != wanted:
        node = memory[node]
    memory[out] = node


def merge(memory: list[int]) -> None:
    """Moves the smaller of the two front elements to o, o+1, and so on, until both arrays are at their guards."""
    a, b, o = memory[:3]
    guard = len(memory) - 1
    while memory[a] != guard or memory[b] != guard:
        if memory[a] <= memory[b]:
            memory[o] = memory[a]
            a += 1
        else:
            memory[o] = memory[b]
            b += 1
        o += 1


def walkbst(memory: list[int]) -> None:
    """Walks down from the root, a turn per path cell, until a pointer is NULL. Writes the last value to `out`."""
    node, out = memory[:2]
    path = 2
    while memory[node + 1 + memory[path]] != NULL:
        node = memory[node + 1 + memory[path]]
        path += 1
    memory[out] = memory[node]
