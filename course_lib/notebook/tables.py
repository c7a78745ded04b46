"""Tables that a notebook shows, as Markdown."""

from collections.abc import Iterable, Sequence

from IPython.display import Markdown

from course_lib.experiments import published as published_results
from course_lib.experiments.report import markdown_table
from course_lib.notebook.plots.labels import plain


def table(headings: Sequence[str], rows: Iterable[Sequence], note: str = "") -> Markdown:
    """A table of texts and numbers.

    headings: one per column.
    rows: as many cells each; a float is shown with three digits behind the point.
    note: a text below the table.
    """
    lines = [headings, ["---"] * len(headings), *rows]
    return Markdown(markdown_table(map(_cell, line) for line in lines) + (f"\n\n{note}" if note else ""))


def _cell(value):
    return f"{value:.3f}" if isinstance(value, float) else plain(value).replace("|", "\\|")


def published(task: str, methods: Sequence[str], settings: dict[str, str]) -> Markdown:
    """What the papers report for a task, from `data/published_results.csv`; the sources stand below the table.

    task: as in the file.
    methods: the rows, or {method: title}.
    settings: the columns, {setting as in the file: heading}.
    """
    found = {(r["method"], r["setting"]): r for r in published_results.rows() if r["task"] == task}
    titles = methods if isinstance(methods, dict) else {method: method for method in methods}
    used = {key: found[key] for method in titles for setting in settings if (key := (method, setting)) in found}
    values = {key: float(row["value"]) for key, row in used.items()}
    rows = [
        [title, *(f"{values[method, setting]:.1f}" if (method, setting) in values else "–" for setting in settings)]
        for method, title in titles.items()
    ]
    sources = "; ".join(dict.fromkeys(row["source"] for row in used.values()))
    return table(["Method", *settings.values()], rows, f"Source: {sources}.")
