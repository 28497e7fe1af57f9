"""What the README says of the code: the deviations, the example, the files and targets that it names."""

import ast
import re
from collections import Counter

import pytest

from nram import results, tasks
from nram.experiments import chances, study_tables

README = (results.CHECKOUT / "README.md").read_text(encoding="utf-8")
PACKAGE = results.CHECKOUT / "nram"
ROW = re.compile(r"^\| `(nram/[\w/]+\.py)`(?: `([\w.]+)`)? \|", re.MULTILINE)


def docstrings(tree: ast.Module):
    """(qualified name, docstring) of a module (name ""), its classes and functions."""

    def walk(node, name):
        yield name, ast.get_docstring(node) or ""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                yield from walk(child, f"{name}.{child.name}".lstrip("."))

    return list(walk(tree, ""))


def sources():
    return {path.relative_to(results.CHECKOUT).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


def test_the_deviations_of_the_code_are_the_rows_of_the_readme():
    rows, found = Counter(ROW.findall(README)), Counter()
    for path, source in sources().items():
        for name, text in docstrings(ast.parse(source)):
            found[path, name] += len(re.findall(r"^\s*Deviation:", text, re.MULTILINE))
        in_path = sum(count for (each, _), count in found.items() if each == path)
        assert in_path == source.count("Deviation:"), f"{path}: a deviation begins a docstring's line"
    assert +found == rows and rows.total() >= 15


def test_the_tables_are_those_of_the_recorded_runs():
    recorded = results.CHECKOUT / "results" / "recorded"
    tables = results.readme_tables(results.load_runs(recorded)) | study_tables.readme_tables(recorded / "studies")
    tables |= chances.readme_tables(recorded / "studies")
    assert len(tables) == 5
    for name, expected in tables.items():
        (block,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
        assert block.strip() == expected.strip(), f"python -m nram recorded --tables renews {name}"


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(example.strip().splitlines()) <= 13
    quick = example.replace("budget_seconds=60", "budget_seconds=1, population=2").replace("cases=1000", "cases=5")
    assert quick.count("population=2") == quick.count("cases=5") == 1
    monkeypatch.setattr("nram.kernels.resolve", lambda *_: "reference")  # nothing to compile
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(quick, names)
    assert len(names["frame"]) == 1 and names["frame"].task[0] == "access"
    assert names["produced"].shape == names["exact"].shape == (2, 14)


def test_all_tasks_are_named():
    for key in tasks.KEYS:
        assert f"`{key}`" in README


def test_files_and_targets_that_are_named_exist():
    makefile = (results.CHECKOUT / "Makefile").read_text("utf-8")
    targets = re.findall(r"`make (\w+)|^    make (\w+)", README, re.MULTILINE)
    assert len(targets) > 10
    for target in map("".join, targets):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for name in re.findall(r"`([\w/]+\.(?:py|ipynb|yml|cff)|[\w/]+/)`", README):
        places = [results.CHECKOUT / name, PACKAGE / name, results.CHECKOUT / "notebooks" / name]
        made = name.startswith(("notebook.ipynb", "results/notebooks", "results/figures", "results/tables"))
        assert made or any(place.exists() for place in places), name


@pytest.mark.parametrize("mark", ["<!-- table1 -->", "<!-- /table1 -->"])
def test_the_place_of_table_1_is_marked(mark):
    assert README.count(mark) == 1


def test_the_first_screen_has_a_picture_the_two_commands_and_the_table():
    start, table, _ = README.partition("<!-- table1 -->")
    assert table and start.count("\n") <= 20
    (picture,) = re.findall(r'<img src="([^"]+)"[^>]* alt="[^"]{20,}"', start)
    assert (results.CHECKOUT / picture).stat().st_size < 100_000
    assert re.findall(r"^    make (\w+)", start, re.MULTILINE) == ["test", "reproduce"]


def test_links_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", README, re.M)
    }
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 15
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("https://"):
            assert (results.CHECKOUT / link).is_file(), link


def test_what_make_does_is_there_in_plain_python():
    makefile = (results.CHECKOUT / "Makefile").read_text("utf-8")
    plain = dict(re.findall(r"^    \.venv/bin/(python -m [\w .-]+?) +# make (\w+)$", README, re.MULTILINE))
    assert {"test", "reproduce", "lab", "report", "compare"} <= set(plain.values())
    for command, target in plain.items():
        (recipe,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
        assert command.removeprefix("python ") in recipe.replace("\\\n", " ")


def test_commands_that_are_named_exist():
    from nram.__main__ import make_parser

    (known,) = (action.choices for action in make_parser()._actions if action.dest == "command")
    named = set(re.findall(r"python -m nram (\w+)", README))
    assert {"train", "compare", "report", "recorded"} <= named <= set(known)
