"""The site's pages of executed notebooks."""

import re
from pathlib import Path

import jinja2
import nbformat
from pygments.formatters import HtmlFormatter

from nram import results, tasks
from nram.report import recorded

__all__ = ["write_notebook_pages"]


def write_notebook_pages(runs: Path, best: dict, out: Path, environment: jinja2.Environment) -> list[dict]:
    """Write a page into `out` for every executed notebook of a folder of runs; each page's name and title, in order.

    The notebooks are those in the folder `notebooks` inside `runs` or beside it, and those of the best runs.
    Removes the pages of notebooks that are gone.
    """
    from nbconvert import HTMLExporter

    for old in out.glob("*.html"):
        old.unlink()
    exporter = HTMLExporter(template_name="basic")
    template = environment.get_template("notebook.html.jinja")
    results.write_text(out / "code.css", HtmlFormatter(style="default").get_style_defs(".highlight"))
    notebooks = {
        name: recorded.light(nbformat.read(path, as_version=4)) for name, path in _executed(runs, best).items()
    }
    pages = [{"name": name, "title": _title(name, notebook)} for name, notebook in notebooks.items()]
    for place, notebook in enumerate(notebooks.values()):
        body, _ = exporter.from_notebook_node(notebook)
        page = template.render(
            title=pages[place]["title"],
            body=_accessible(body),
            before=pages[place - 1] if place else None,
            after=pages[place + 1] if place + 1 < len(pages) else None,
        )
        results.write_text(out / f"{pages[place]['name']}.html", page)
    return pages


def _executed(runs: Path, best: dict) -> dict[str, Path]:
    """The executed notebooks by name, in the order of names; those of single tasks in the order of tasks."""
    found = {}
    for folder in (runs.parent / "notebooks", runs / "notebooks"):
        # For the runs of `results`, the first of these is the folder of sources.
        if folder.resolve() != results.NOTEBOOKS.resolve():
            found |= {path.stem: path for path in folder.glob("*.ipynb")}
    for key, run in best.items():
        path = Path(run["folder"]) / "notebook.ipynb"
        if path.is_file():
            found.setdefault(f"10_task-{key}", path)

    def place(name: str):
        start, _, key = name.partition("-")
        return start, tasks.KEYS.index(key) if key in tasks.KEYS else -1, name

    return {name: found[name] for name in sorted(found, key=place)}


def _title(name: str, notebook) -> str:
    """A notebook's first heading, with the task's title before it in a notebook of one task."""
    found = re.search(r"^#\s+(.+)$", notebook.cells[0].source if notebook.cells else "", re.MULTILINE)
    title = found.group(1) if found else name
    _, _, key = name.partition("-")
    return f"{tasks.get(key).title}: {title[0].lower()}{title[1:]}" if key in tasks.KEYS else title


def _accessible(body: str) -> str:
    """A notebook's HTML with an alternative text for every picture and a scrolling box around every table."""
    body = re.sub(r"<img(?![^>]*\balt=)", '<img alt="A figure; the text around it says what it shows."', body)
    return re.sub(r"(<table\b.*?</table>)", r'<div class="scroll" tabindex="0">\1</div>', body, flags=re.DOTALL)
