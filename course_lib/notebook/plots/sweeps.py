"""Figures of sweeps: what one setting does to the result, seed by seed."""

from collections.abc import Hashable

import numpy as np
from matplotlib.figure import Figure

from course_lib.experiments import RunRecord
from course_lib.notebook.plots.checks import mapping
from course_lib.notebook.plots.labels import measure, plain, words
from course_lib.notebook.plots.layout import headline, panel_grid
from course_lib.notebook.plots.picture import COLOURS, LINES, Picture, show, style


def sweep(
    records: dict[Hashable, list[RunRecord]],
    xlabel: str,
    title: str,
    base: RunRecord | None = None,
    yours: tuple[Hashable, RunRecord] | None = None,
    tasks: list[str] | None = None,
) -> Picture:
    """A result by the value of a setting: a dot per seed, a line through the means, one panel per task.

    records: {value: records, one per seed}, as `Sweep.records` gives them; the values stand at equal distances. A
        value without a record is marked.
    xlabel, title: of the figure.
    base: of the encoder before the training, drawn as a level line.
    yours: (value, record) of a run of the reader's own, drawn as a cross.
    tasks: which to show; by default all that were measured.
    Returns a Picture. Raises ValueError where nothing has been recorded.
    """
    every = [record for seeds in mapping(records, "records").values() for record in seeds]
    if not every:
        raise ValueError(f"records has no record for {', '.join(map(str, records))}; make recorded-runs makes them")
    tasks = tasks or list(every[0].results)
    down, across = panel_grid(len(tasks))
    with style():
        figure = Figure(figsize=(1 + 3.3 * across, 1 + 2.9 * down))
        grid = np.ravel(figure.subplots(down, across))
        for axes, task in zip(grid, tasks):
            _panel(axes, records, task, base, yours)
            axes.set(title=words(_heading(every, task), 30), xlabel=words(xlabel, 30))
        for axes in grid[len(tasks) :]:
            axes.remove()
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        headline(figure, title)
    told = [f"{plain(_heading(every, task))}: {_in_words(records, task, base, yours)}" for task in tasks]
    return show(figure, f"Dots, {plain(title)}, by {plain(xlabel)}. " + "; ".join(told) + ".")


def _heading(every, task):
    result = next(record.results[task] for record in every if task in record.results)
    return measure(f"{result['title']}, {result['metric']}")


def _values(seeds, task):
    return [record.results[task]["value"] for record in seeds if task in record.results]


def _panel(axes, records, task, base, yours):
    values = {value: _values(seeds, task) for value, seeds in records.items()}
    there = [(x, found) for x, found in enumerate(values.values()) if found]
    axes.plot(
        [x for x, _ in there], [np.mean(found) for _, found in there], color=COLOURS[0], label="mean of the seeds"
    )
    dots = np.array([(x, value) for x, found in there for value in found])
    axes.plot(*dots.T, "o", color=COLOURS[0], markersize=6, markerfacecolor="white", label="one seed")
    if yours and task in yours[1].results:
        x = list(values).index(yours[0])
        axes.plot(x, yours[1].results[task]["value"], "X", color=COLOURS[1], markersize=11, label="the run above")
    if base and task in base.results:
        axes.axhline(base.results[task]["value"], color="black", linestyle=LINES[1], label="base encoder")
    labels = [words(f"{value:g}" if isinstance(value, float) else str(value), 8, 1) for value in values]
    labels = [name if found else f"{name}\nno run" for name, found in zip(labels, values.values())]
    axes.set_xticks(range(len(values)), labels)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.margins(y=0.15)


def _in_words(records, task, base, yours):
    told = []
    for value, seeds in records.items():
        found = _values(seeds, task)
        seeds = f"{len(found)} seed" + "s" * (len(found) != 1)
        told.append(f"{np.mean(found):.3f} at {value} ({seeds})" if found else f"not recorded at {value}")
    if base and task in base.results:
        told.append(f"base encoder {base.results[task]['value']:.3f}")
    if yours and task in yours[1].results:
        told.append(f"the run above {yours[1].results[task]['value']:.3f} at {yours[0]}")
    return ", ".join(told)
