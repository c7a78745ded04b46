"""Differences between runs as a table of a notebook."""

from IPython.display import Markdown

from course_lib.evaluation import verdict
from course_lib.experiments import RunRecord
from course_lib.experiments.report import difference


def difference_table(records: list[RunRecord], baselines: dict[str, list[RunRecord]]) -> Markdown:
    """One system on every task, and its difference from others with 95 % intervals, query by query.

    records: of the system, one per seed.
    baselines: {title: records}; a system that was not measured on a task has a dash.
    Returns a table.
    """
    headings = ["Task", f"{records[0].title}, mean of {len(records)} seed(s)", *(f"minus {b}" for b in baselines)]
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    for task, result in records[0].results.items():
        mean = sum(r.results[task]["value"] for r in records) / len(records)
        gains = [difference(records, runs, task) if runs else None for runs in baselines.values()]
        lines.append([result["title"], f"{mean:.3f}", *map(_cell, gains)])
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _cell(gain):
    if gain is None:
        return "–"
    said = {"better": "**better**", "worse": "**worse**"}.get(verdict(gain), verdict(gain))
    return f"{gain.difference:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), {said}"
