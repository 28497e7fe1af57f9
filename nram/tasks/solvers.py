"""The ten tasks in plain Python: each reads one memory as a machine would and changes it in place.

They share nothing with the generators and are told nothing but the memory: pointers are followed, arrays end at NULL,
at their guard or where the next one starts. A sampled target is right if it agrees with them on the output cells.
"""

NULL = 0


def access(memory: list[int]) -> None:
    """Cell 0 receives the element it points at."""
    memory[0] = memory[memory[0]]


def increment(memory: list[int]) -> None:
    """Every element up to the first NULL is increased by one, modulo M."""
    i = 0
    while memory[i] != NULL:
        memory[i] = (memory[i] + 1) % len(memory)
        i += 1


def copy(memory: list[int]) -> None:
    """Cells 1..p-1 are copied to p on."""
    p = memory[0]
    for i in range(p - 1):
        memory[p + i] = memory[1 + i]


def reverse(memory: list[int]) -> None:
    """Cells p-1..1, backwards, are copied to p on."""
    p = memory[0]
    for i in range(p - 1):
        memory[p + i] = memory[p - 1 - i]


def swap(memory: list[int]) -> None:
    """The elements at p and q change places."""
    p, q = memory[0], memory[1]
    memory[p], memory[q] = memory[q], memory[p]


def permutation(memory: list[int]) -> None:
    """Every entry of P, which lies before A, is replaced by the element of A that it numbers."""
    a = memory[0]
    for i in range(1, a):
        memory[i] = memory[a + memory[i]]


def listk(memory: list[int]) -> None:
    """Follows k pointers from the head and writes the value found there to `out`."""
    node, hops, out = memory[:3]
    for _ in range(hops):
        node = memory[node]
    memory[out] = memory[node + 1]


def listsearch(memory: list[int]) -> None:
    """Follows pointers from the head to a node with the value v and writes its address to `out`."""
    node, wanted, out = memory[:3]
    while memory[node + 1] != wanted:
        node = memory[node]
    memory[out] = node


def merge(memory: list[int]) -> None:
    """Moves the smaller of the two front elements to o until both arrays are at their guards."""
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
    """Walks down from the root, a turn per path cell, until a pointer is NULL, and writes the last value to `out`."""
    node, out = memory[:2]
    path = 2
    while memory[node + 1 + memory[path]] != NULL:
        node = memory[node + 1 + memory[path]]
        path += 1
    memory[out] = memory[node]
