"""The site: its files on their own, and, where Chromium is installed, in a browser at two widths."""

import json
import re
import shutil
from html.parser import HTMLParser

import nbformat
import pandas as pd
import pytest
from builders import executed_notebook

from nram import results, tasks
from nram.__main__ import main
from nram.report import recorded

pytestmark = pytest.mark.slow  # building the site takes seconds, the browser is a process

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (400, 1400)
TASKS = ("access", "reverse", "listk", "merge")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of some recorded runs, one of them unsolved, and of a study of chances; its folder."""
    folder = tmp_path_factory.mktemp("site")
    runs = folder / "results" / "runs"
    for task in TASKS:
        source = "more/merge-descent" if task == "merge" else task
        shutil.copytree(recorded.RECORDED / source, runs / task)
    chances = [{"task": "copy", "seed": n, "perfect": n > 0, "solved": n > 0, "seconds": 4.0 + n} for n in range(4)]
    results.write_text(
        runs / "studies" / "reproduce" / "runs.csv", pd.DataFrame(chances).assign(commit="c").to_csv(index=False)
    )
    (folder / "results" / "notebooks").mkdir()
    nbformat.write(executed_notebook(), folder / "results" / "notebooks" / "20_table1.ipynb")
    nbformat.write(executed_notebook(), runs / "reverse" / "notebook.ipynb")
    assert main(["report", "--runs", str(runs), "--out", str(folder / "report")]) == 0
    return folder / "report"


class Page(HTMLParser):
    """The elements of a page: (name, attributes) in order, and its identifiers."""

    def __init__(self, path):
        super().__init__()
        self.elements = []
        self.feed(path.read_text(encoding="utf-8"))
        self.ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))


def pages(site):
    return [site / "index.html", *sorted((site / "notebooks").glob("*.html"))]


def test_everything_is_there_and_nothing_is_fetched_from_elsewhere(site):
    assert [path.name for path in pages(site)] == ["index.html", "10_task-reverse.html", "20_table1.html"]
    for path in pages(site):
        page = Page(path)
        for name, attributes in page.elements:
            address = attributes.get("src") or attributes.get("href") or ""
            if address.startswith(("data:", "#")) or (name == "a" and address.startswith("https:")):
                continue
            local, _, fragment = address.partition("#")
            if address:
                assert (path.parent / local).is_file(), f"{path.name}: {address} is not there"
            assert not fragment or fragment in Page(path.parent / local).ids
    assert not re.search(r"url\(|@import|https?:", (site / "style.css").read_text())
    assert set(re.findall(r"https?://[^\"]+", (site / "stepper.js").read_text())) == {"http://www.w3.org/2000/svg"}


def test_pictures_have_text_headings_are_one_and_identifiers_are_unique(site):
    for path in pages(site):
        page = Page(path)
        assert all(attributes.get("alt") for name, attributes in page.elements if name == "img")
        assert [name for name, _ in page.elements].count("h1") == 1
        assert len(set(page.ids)) == len(page.ids)
        assert ("html", {"lang": "en"}) in page.elements
    pictures = [attributes for name, attributes in Page(site / "index.html").elements if name == "img"]
    assert len(pictures) == len(TASKS)
    assert any("Reverse: the fuzzy machine makes no error up to 50" in each["alt"] for each in pictures)


def test_notebooks_lose_widgets_and_keep_the_rest(site):
    text = (site / "notebooks" / "20_table1.html").read_text()
    assert "VBox" not in text and "widget" not in text and "<script" not in text
    assert "<strong>Said</strong>" in text and "A <em>small</em> notebook" in text
    assert "10_task-reverse.html" in text and "../index.html" in text


def test_table_1_on_the_page_is_that_of_the_runs(site):
    table = results.table1(results.load_runs(site.parent / "results" / "runs"))
    written = pd.read_csv(site / "table1.csv")
    assert written["task"].tolist() == list(tasks.KEYS) and written["train_error"].notna().sum() == len(TASKS)
    text = (site / "index.html").read_text()
    marks = results.reached(table).set_index("task")
    for value, name in ((True, "pass"), (False, "fail")):
        assert text.count(f'class="{name}"') == (marks == value).sum().sum()
    assert "3 of 10 tasks reach the paper wherever it gives a number" in text


def test_the_chances_of_make_reproduce_are_shown(site):
    text = (site / "index.html").read_text()
    (section,) = re.findall(r'<section aria-labelledby="chances">(.*?)</section>', text, re.DOTALL)
    cells = re.findall(r"<td>(.*?)</td>", section)
    low, high = results.wilson_interval(3, 4)
    assert cells == ["4", "3", f"{100 * low:.0f} to {100 * high:.0f}%", "6", "7"] and ">Copy<" in section


def load_traces(site):
    text = (site / "traces.js").read_text()
    return json.loads(text.removeprefix("const TRACES = ").removesuffix(";\n"))


def test_traces_are_those_of_the_machines(site):
    entries = {entry["key"]: entry for entry in load_traces(site)}
    assert list(entries) == [key for key in tasks.KEYS if key in TASKS]
    assert [entry["solved"] for entry in entries.values()] == [True, True, True, False]
    for key, entry in entries.items():
        ours = [execution for execution in entry["executions"] if execution["target"]]
        assert len(ours) == 3 and len(entry["executions"]) == 3 + (key in results.PAPER_EXECUTIONS)
        for execution in ours:
            first, last = execution["steps"][0]["memory"], execution["steps"][-1]["memory"]
            right = all(last[cell] == execution["target"][cell] for cell in execution["output"])
            assert right or not entry["solved"]
            names = {}
            exec(entry["program"], names)  # noqa: S102 - our own program's text
            assert names["run"](first, execution["limit"]) == last
    frame = results.paper_execution("reverse")
    published = entries["reverse"]["executions"][-1]["steps"]
    assert [step["memory"] for step in published[:-1]] == frame.filter(regex=r"^m\d").to_numpy().tolist()
    assert [step["registers"] for step in published[:-1]] == frame.filter(regex=r"^r\d").to_numpy().tolist()


def test_every_step_follows_from_its_circuit(site):
    """The next step's registers and memory, recomputed from the circuit's description and the values shown."""
    for entry in load_traces(site):
        for execution in entry["executions"]:
            for step, following in zip(execution["steps"], execution["steps"][1:], strict=False):
                circuit, memory = entry["circuits"][step["circuit"]], list(step["memory"])
                for _, name, inputs in circuit["lines"]:
                    if name.startswith("WRITE"):
                        memory[step["values"][inputs[0][0]]] = step["values"][inputs[1][0]]
                assert memory == following["memory"]
                assert [step["values"][source] for _, source, _ in circuit["registers"]] == following["registers"]
                drawn = {node[0] for node in circuit["nodes"]}
                assert {end for wire in circuit["wires"] for end in wire[:2]} <= drawn


def test_a_folder_without_runs_is_one_line(tmp_path, capsys):
    assert main(["report", "--runs", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "is not a folder of runs" in capsys.readouterr().err
    assert main(["report", "--runs", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no finished run" in capsys.readouterr().err and not (tmp_path / "out").exists()


# In a browser

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Open a file at a width. An error on the page, or a request to elsewhere, fails the test."""
    complaints = []
    contexts = []

    def visit(path, width=1400, fragment=""):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"{request.url} failed"))
        page.on(
            "request",
            lambda request: request.url.startswith(("file:", "data:")) or complaints.append(f"fetches {request.url}"),
        )
        page.goto(path.as_uri() + fragment)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not complaints


@in_a_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_load_and_nothing_is_wider_than_the_window(site, visit, width):
    for path in pages(site):
        page = visit(path, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = "[...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
        assert page.evaluate(broken) == 0


def shown_memory(page):
    return [int(text) for text in page.locator("#memory .tile > :last-child").all_text_contents()]


def shown_registers(page):
    return [int(text) for text in page.locator("#registers .tile > :last-child").all_text_contents()]


@in_a_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_the_stepper_moves(site, visit, width):
    page = visit(site / "index.html", width)
    (reverse,) = (entry for entry in load_traces(site) if entry["key"] == "reverse")
    steps, last = reverse["executions"][0]["steps"], len(reverse["executions"][0]["steps"]) - 1
    assert page.locator("[aria-pressed=true]").inner_text() == "Reverse"
    assert page.locator("#previous").is_disabled() and shown_memory(page) == steps[0]["memory"]
    for number, step in enumerate(steps):
        assert shown_memory(page) == step["memory"] and shown_registers(page) == step["registers"]
        assert page.locator("#step").input_value() == str(number)
        assert page.locator("#timesteps [aria-current]").count() == 1
        if number < last:
            boxes = page.locator("#wiring rect").count()
            modules = [n for n in reverse["circuits"][step["circuit"]]["nodes"] if n[2] == "module"]
            assert boxes == len(modules) and page.locator("#words li").count() > 0
            page.locator("#next").click()
    assert page.locator("#next").is_disabled()
    assert "output cells are right" in page.locator("#now").inner_text()
    page.locator("#previous").click()
    assert shown_memory(page) == steps[last - 1]["memory"]
    page.locator("#step").fill("1")
    assert shown_memory(page) == steps[1]["memory"]
    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    assert shown_registers(page) == steps[2]["registers"]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#step").input_value() == "0"
    page.locator("#timesteps tbody tr").nth(3).click()
    assert shown_memory(page) == steps[3]["memory"]


@in_a_browser
def test_the_stepper_shows_every_task_every_run_and_plays(site, visit):
    page = visit(site / "index.html", fragment="#trace-merge")
    assert "Merge" in page.locator("[data-task][aria-pressed=true]").inner_text()
    assert "has not solved the task" in page.locator("#warning").inner_text()
    for entry in load_traces(site):
        page.locator(f"[data-task={entry['key']}]").click()
        assert page.locator("#warning").is_visible() == (not entry["solved"])
        for number, execution in enumerate(entry["executions"]):
            page.locator("#execution").select_option(str(number))
            page.locator("#step").fill(str(len(execution["steps"]) - 1))
            assert shown_memory(page) == execution["steps"][-1]["memory"]
            wrong = [
                cell
                for cell in execution["output"]
                if execution["target"] and execution["steps"][-1]["memory"][cell] != execution["target"][cell]
            ]
            assert page.locator("#memory .wrong").count() == len(wrong)
    page.locator("#execution").select_option("0")
    page.locator("#play").click()
    page.wait_for_function("document.getElementById('step').value > 0")
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "play"


@in_a_browser
def test_code_can_be_hidden(site, visit):
    page = visit(site / "notebooks" / "20_table1.html")
    assert page.locator(".input").first.is_visible()
    page.locator("#code").uncheck()
    assert not page.locator(".input").first.is_visible()
