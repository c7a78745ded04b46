"""Exercises that recognise typical mistakes: `from course_lib.notebook.exercises import simcse`.

A module has `NOTEBOOK`, the notebook that it belongs to, and its exercises as variables. A new module is found without
being listed here.
"""

import importlib
import pkgutil

from course_lib.notebook.exercises import answers
from course_lib.notebook.exercises.kit import DIFFICULTIES, Exercise
from course_lib.notebook.exercises.showing import Shown, box, inline


def all_exercises() -> list[Exercise]:
    """Every Exercise of every module in this package, in the order of the notebooks and of their definition."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    topics = sorted((m for m in modules if hasattr(m, "NOTEBOOK")), key=lambda m: m.NOTEBOOK)
    return [e for module in topics for e in vars(module).values() if isinstance(e, Exercise)]


def progress() -> Shown:
    """A table of all exercises, which marks those that are solved on this machine."""
    solved, remark = answers.load()
    every = all_exercises()
    rows = [
        (
            "✓" if e.name in solved else "·",
            e.name,
            e.title,
            f"{DIFFICULTIES[e.difficulty]} {e.difficulty}",
            f"{e.minutes} min",
        )
        for e in every
    ]
    done = sum(e.name in solved for e in every)
    summary = f"{done} of {len(every)} exercises solved." + (f" Note: {remark}." if remark else "")
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(5)]
    text = [" ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    style = 'style="text-align:left;padding:0 1em 0 0"'
    head = "".join(f"<th {style}>{h}</th>" for h in ("solved", "exercise", "what it is", "difficulty", "time"))
    cells = "".join("<tr>" + "".join(f"<td {style}>{inline(c)}</td>" for c in row) + "</tr>" for row in rows)
    return Shown("\n".join([*text, summary]), box(f"<table><tr>{head}</tr>{cells}</table>{inline(summary)}"))


def forget() -> None:
    """Delete the progress file: every exercise counts as unsolved again."""
    answers.forget()
