"""A program as a Python module that needs nothing else."""

from nram.program.notation import Circuit
from nram.program.table import Table
from nram.program.tree import Branch, Tree

__all__ = ["statements", "to_python"]

_NAMES = {
    "READ": "read", "INC": "inc", "ADD": "add", "SUB": "sub", "DEC": "dec", "LESS-THAN": "less",
    "LESS-OR-EQUAL-THAN": "at_most", "EQUALITY-TEST": "equal", "MIN": "smaller", "MAX": "larger",
}  # fmt: skip
_TEXTS = {
    "READ": "memory[{}]", "ZERO": "0", "ONE": "1", "TWO": "2", "INC": "({} + 1) % M", "ADD": "({} + {}) % M",
    "SUB": "({} - {}) % M", "DEC": "({} - 1) % M", "LESS-THAN": "int({} < {})", "LESS-OR-EQUAL-THAN": "int({} <= {})",
    "EQUALITY-TEST": "int({} == {})", "MIN": "min({}, {})", "MAX": "max({}, {})", "WRITE": "0",
}  # fmt: skip


def to_python(program: Table) -> str:
    """The text of a Python module without imports; its `run(memory, limit)` returns what `Program.run` returns.

    Registers are r1..rR; `state` holds the controller state if there are several. A pattern without a row takes the
    path of a similar one.
    """
    layout = program.layout
    names = [f"r{register + 1}" for register in sorted(_registers(program))]
    body = []
    if program.num_states == 1:
        body += _tree(program, program.tree)
    for state in program.states if program.num_states > 1 else ():
        body += [
            f"{'elif' if state else 'if'} state == {state}:",
            *_indented(_tree(program, program.state_tree(state))),
        ]
    title = f"{program.task}, as a trained machine does it" if program.task else "A machine's program"
    lines = [
        f'"""{title[0].upper() + title[1:]}: {layout.num_registers} registers, '
        f"{len(layout.modules)} modules per timestep,",
        f'{len(program.circuits)} different circuits; M is the number of memory cells and the integers are 0..M-1."""',
        "",
        "",
        "def run(memory, limit):",
        '    """The memory, a list of M integers of 0..M-1, after at most `limit` timesteps."""',
        "    memory = list(memory)",
        "    M = len(memory)",
        *([f"    {' = '.join(names)} = 0"] if names else []),
        *(["    state = 0"] if program.num_states > 1 else []),
        "    for _ in range(limit):",
        *_indented(body, 2),
        "    return memory",
    ]
    return "\n".join(lines) + "\n"


def _registers(program: Table) -> set[int]:
    """The registers that some circuit or test reads or changes."""
    used = set()
    for circuit in program.circuits:
        used |= {source for found in circuit.inputs if found for source in found}
        used |= {r for r, source in enumerate(circuit.registers) if source != r}
        used |= {source for r, source in enumerate(circuit.registers) if source != r}
    for state in program.states:
        used |= program.state_tree(state).tested()
    return {source for source in used if source < program.layout.num_registers}


def _indented(lines: list[str], levels: int = 1) -> list[str]:
    return ["    " * levels + line for line in lines]


def _tree(program: Table, tree: Tree) -> list[str]:
    """The tests and circuits below one branch of the tree."""
    if not isinstance(tree, Branch):
        row = tree.row
        lines = statements(program.circuits[row.circuit])
        if row.stop:
            return [*lines, "return memory"]
        if program.num_states > 1:
            lines.append(f"state = {row.next_state}")
        return lines or ["pass"]
    zero, nonzero = _tree(program, tree.zero), _tree(program, tree.nonzero)
    lines = [f"if r{tree.register + 1} == 0:", *_indented(zero)]
    if isinstance(tree.nonzero, Branch):
        return [*lines, "el" + nonzero[0], *nonzero[1:]]
    return [*lines, "else:", *_indented(nonzero)]


def statements(circuit: Circuit) -> list[str]:
    """One timestep in Python. A value that is used once stands where it is used, unless a WRITE comes in between."""
    layout = circuit.layout
    num_registers, per_repetition = layout.num_registers, len(layout.modules) // layout.repetitions
    changes = [(r, source) for r, source in enumerate(circuit.registers) if source != r]
    uses: dict[int, list[int]] = {}  # source -> the modules that use it; Q for the registers at the end
    for index, found in enumerate(circuit.inputs):
        for source in found or ():
            uses.setdefault(source, []).append(index)
    for _, source in changes:
        uses.setdefault(source, []).append(len(layout.modules))
    writes = [i for i, found in enumerate(circuit.inputs) if found and layout.modules[i].name == "WRITE"]
    # Where a value is computed: at its own place, or, if it is inlined, at the place of its user.
    place = {len(layout.modules): len(layout.modules)}
    texts = [f"r{register + 1}" for register in range(num_registers)]
    inline = {}
    for index in reversed(range(len(layout.modules))):
        users = uses.get(num_registers + index, [])
        place[index] = index
        if len(users) == 1 and layout.modules[index].arity and layout.modules[index].name != "WRITE":
            where = place[users[0]]
            reads = _contains_read(circuit, index)
            inline[index] = not reads or not any(index <= write < where for write in writes)
            if inline[index]:
                place[index] = where
    lines = []
    for index, (module, found) in enumerate(zip(layout.modules, circuit.inputs, strict=True)):
        text = ""
        if found is not None or module.arity == 0:
            inputs = [texts[source] for source in found or ()]
            text = "(M - 1)" if (module.name, *inputs) == ("DEC", "0") else _TEXTS[module.name].format(*inputs)
            if module.name == "WRITE":
                lines.append(f"memory[{inputs[0]}] = {inputs[1]}")
            elif module.arity and not inline.get(index):
                number = index // per_repetition + 1
                name = _NAMES[module.name] + (str(number) if number > 1 else "")
                lines.append(f"{name} = {text}")
                text = name
        texts.append(text)
    if changes:
        left = ", ".join(f"r{register + 1}" for register, _ in changes)
        lines.append(f"{left} = {', '.join(texts[source] for _, source in changes)}")
    return lines


def _contains_read(circuit: Circuit, index: int) -> bool:
    """Whether a module's value depends on a READ of this timestep; then it must not move past a WRITE."""
    if circuit.layout.modules[index].name == "READ":
        return True
    num_registers = circuit.layout.num_registers
    return any(
        source >= num_registers and _contains_read(circuit, source - num_registers)
        for source in circuit.inputs[index] or ()
    )
