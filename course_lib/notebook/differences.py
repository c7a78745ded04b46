"""Differences between runs as a table of a notebook."""

from collections.abc import Hashable

from IPython.display import Markdown

from course_lib.evaluation import Difference, verdict
from course_lib.experiments import RunRecord
from course_lib.experiments.report import difference, markdown_table, mean_value


def difference_table(records: list[RunRecord], baselines: dict[str, list[RunRecord]]) -> Markdown:
    """One system on every task, and its difference from others with 95 % intervals, query by query.

    records: of the system, one per seed.
    baselines: {title: records}; a system that was not measured on a task has a dash.
    Returns a table.
    """
    seeds = f", mean of {len(records)} seeds" if len(records) > 1 else ""
    headings = ["Task", records[0].title + seeds, *(f"minus {b}" for b in baselines)]
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    for task, result in records[0].results.items():
        gains = [difference(records, runs, task) if runs else None for runs in baselines.values()]
        lines.append([result["title"], f"{mean_value(records, task):.3f}", *map(_cell, gains)])
    return Markdown(markdown_table(lines))


def sweep_verdicts(records: dict[Hashable, list[RunRecord]], recipe: Hashable, name: str) -> Markdown:
    """What every setting of a sweep does, compared with the recipe's own value, query by query: one line per setting.

    records: {value: records, one per seed}, as `Sweep.records` gives them; [] for what has not been recorded.
    recipe: the value in the recipe.
    name: of the setting.
    """
    lines = []
    for value, seeds in records.items():
        if value != recipe:
            said = _verdicts(seeds, records[recipe]) if seeds and records[recipe] else "not recorded yet"
            lines.append(
                f"- {name} **{value}** against {recipe}, {len(seeds)} and {len(records[recipe])} seeds: {said}."
            )
    return Markdown("\n".join(lines))


def _verdicts(records, baseline):
    found = {}
    for task, result in records[0].results.items():
        if gain := difference(records, baseline, task):
            found.setdefault(verdict(gain), []).append(f"{result['title']} ({gain.difference:+.3f})")
    order = sorted(found, key=["better", "worse", "cannot tell"].index)
    return "; ".join(f"{word} on {', '.join(found[word])}" for word in order)


def _cell(gain):
    if gain is None:
        return "–"
    said = {"better": "**better**", "worse": "**worse**"}.get(verdict(gain), verdict(gain))
    return f"{with_interval(gain)}, {said}"


def with_interval(gain: Difference) -> str:
    """A difference with its interval, as tables show it."""
    return f"{gain.difference:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
