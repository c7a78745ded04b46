"""What papers and libraries report: the rows of `data/published_results.csv`."""

import csv
from functools import cache

from course_lib.storage import DATA


@cache
def rows() -> tuple[dict[str, str], ...]:
    """Every row, as {column: text}; the columns are method, model, setting, task, metric, value, source and note."""
    with open(DATA / "published_results.csv", encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def value(method: str, setting: str, task: str, model: str | None = None) -> float:
    """The first number with these entries; None for any model.

    Raises KeyError where there is none.
    """
    for row in rows():
        found = row["method"], row["setting"], row["task"]
        if found == (method, setting, task) and model in (None, row["model"]):
            return float(row["value"])
    raise KeyError(f"published_results.csv has no {task!r} of {method!r}, {setting!r}")
