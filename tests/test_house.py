"""The rooms of the package: a file imports only from rooms above it, and nothing runs in a circle."""

import ast
import importlib
import re
from graphlib import TopologicalSorter
from pathlib import Path

import nram
from nram import results

PACKAGE = Path(nram.__file__).parent
# In import order. `results` knows no machine; `report` may show everything.
ROOMS = (
    "tasks",
    "machine",
    "kernels",
    "results",
    "program",
    "model",
    "evaluate",
    "annealing",
    "training",
    "related",
    "experiments",
    "report",
    "arguments",
    "commands",
    "__init__",
    "__main__",
)
LONGEST = 400  # lines of a file


def modules():
    """Every file of the package by its dotted name below `nram`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


def imports(path):
    """The modules of the package that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("nram").lstrip(".") or "__init__" for alias in node.names
                        if alias.name.split(".")[0] == "nram")  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nram":
            base = node.module.removeprefix("nram").lstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                yield full if full in MODULES else base or "__init__"


def room(name):
    return name.split(".")[0]


def test_every_file_is_in_a_room():
    assert {room(name) for name in MODULES} == set(ROOMS)


def test_nothing_is_imported_from_a_room_below():
    rank = {name: place for place, name in enumerate(ROOMS)}
    upwards = [
        f"{name} imports {other}"
        for name, path in MODULES.items()
        for other in imports(path)
        if rank[room(other)] > rank[room(name)]
    ]
    assert not upwards


def test_no_imports_run_in_a_circle():
    graph = {name: set(imports(path)) - {name} for name, path in MODULES.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_a_file_is_short():
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > LONGEST}
    assert not long


def test_the_readme_names_every_room_and_every_file():
    section = (results.CHECKOUT / "README.md").read_text(encoding="utf-8").partition("\n## Where things are\n")[2]
    rooms = dict(re.findall(r"^\| `nram/(\w+)/` \| (.*) \|$", section, re.MULTILINE))
    files = re.findall(r"`nram/(\w+)\.py`", section.partition("\n### ")[0])
    below = {path.stem for path in PACKAGE.iterdir() if path.name[0] not in "_."}
    assert rooms.keys() | set(files) == below | {"__main__"}
    for room_name, text in rooms.items():
        named = {name.rstrip("/") for name in re.findall(r"\*\*([\w/]+)\*\*", text)}
        there = {path.stem for path in (PACKAGE / room_name).iterdir() if path.name[0] not in "_."}
        assert named == there - {"assets"}, room_name


def test_the_readme_finds_what_the_paper_has():
    text = (results.CHECKOUT / "README.md").read_text(encoding="utf-8")
    section = text.partition("### From the paper to the code\n")[2].partition("\n## ")[0]
    found = re.findall(r"`nram/([\w/]+)\.py`((?:,? `\w+`)*)", section)
    assert len(found) > 15
    for path, names in found:
        module = importlib.import_module(f"nram.{path.replace('/', '.')}")
        assert [name for name in re.findall(r"\w+", names) if not hasattr(module, name)] == [], path
