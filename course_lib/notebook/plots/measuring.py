"""Figures of evaluation: agreement with people, who wins on which query, intervals side by side."""

import numpy as np
from matplotlib.figure import Figure

from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import plain, short, words
from course_lib.notebook.plots.layout import headline, ink, legend_beside
from course_lib.notebook.plots.picture import COLOURS, GREY, LINES, MARKERS, Picture, show, style


def scatter(panels: dict, xlabel: str, ylabel: str, title: str = "Scatter") -> Picture:
    """Points in panels beside each other, on one vertical scale.

    panels: {heading: (x, y)}, (N,) numbers each; at most 3.
    xlabel, ylabel, title: of the figure.
    Returns a Picture. Raises ValueError for x and y of different lengths.
    """
    read = {}
    for heading, (x, y) in mapping(panels, "panels", 3).items():
        x, y = (numbers(v, f"panels[{heading!r}]", ndim=1) for v in (x, y))
        if len(x) != len(y):
            raise ValueError(f"panels[{heading!r}] holds {len(x)} x and {len(y)} y; pass one y for every x")
        read[heading] = x, y
    with style():
        figure = Figure(figsize=(1 + 4.6 * len(read), 4.4))
        for axes, (heading, (x, y)) in zip(np.ravel(figure.subplots(1, len(read), sharey=True)), read.items()):
            axes.plot(x, y, "o", color=COLOURS[0], alpha=0.3, markersize=4, markeredgewidth=0)
            axes.set(xlabel=words(xlabel, 40), title=words(heading, 48))
        figure.axes[0].set_ylabel(words(ylabel, 30))
        headline(figure, title)
    told = [f"{plain(h)}, {len(x):,} points, y from {short(y.min())} to {short(y.max())}" for h, (x, y) in read.items()]
    return show(figure, f"Scatter of {plain(ylabel)} by {plain(xlabel)}, {plain(title)}. " + "; ".join(told) + ".")


def systems(panels: dict, xlabel: str, ylabel: str, title: str = "Systems") -> Picture:
    """Systems as points, each with a colour and marker of its own, in panels beside each other on one vertical scale.

    panels: {heading: {system: (x, y)}}, the same systems in each; at most 3 panels and 14 systems.
    xlabel, ylabel, title: of the figure.
    Returns a Picture.
    """
    read = {
        heading: {name: numbers(point, f"panels[{heading!r}][{name!r}]", ndim=1) for name, point in of.items()}
        for heading, of in mapping(panels, "panels", 3).items()
    }
    with style():
        figure = Figure(figsize=(2.8 + 3.7 * len(read), 4.4))
        grid = np.ravel(figure.subplots(1, len(read), sharey=True))
        for axes, (heading, of) in zip(grid, read.items()):
            for number, (name, (x, y)) in enumerate(of.items()):
                look = {"color": COLOURS[number % 7], "marker": MARKERS[(number + number // 7) % 7]}
                axes.plot(x, y, linestyle="", markersize=10, label=words(name, 26, 2), **look)
            axes.set(xlabel=words(xlabel, 40), title=words(heading, 34))
        grid[0].set_ylabel(words(ylabel, 30))
        legend_beside(grid[-1])
        headline(figure, title)
    told = [
        f"{plain(heading)}: " + ", ".join(f"{plain(n)} ({short(x)}, {short(y)})" for n, (x, y) in of.items())
        for heading, of in read.items()
    ]
    return show(figure, f"Points, {plain(ylabel)} by {plain(xlabel)}, {plain(title)}. " + "; ".join(told) + ".")


def wins(tasks: dict, first: str, second: str, title: str = "Who wins on which query") -> Picture:
    """How often each of two systems is better on a query, with two kinds of ties, as stacked bars.

    tasks: {task: (values of the first system, values of the second)}, (N,) numbers each, of the same queries.
    first, second: names of the systems.
    title: of the figure.
    Returns a Picture. Raises ValueError where the systems have different numbers of queries.
    """
    read = {}
    for task, (a, b) in mapping(tasks, "tasks").items():
        a, b = (numbers(v, f"tasks[{task!r}]", ndim=1) for v in (a, b))
        if len(a) != len(b):
            raise ValueError(
                f"tasks[{task!r}] holds {len(a)} and {len(b)} values; pass both systems on the same queries"
            )
        read[task] = [(a > b).mean(), ((a == b) & (a > 0)).mean(), ((a == 0) & (b == 0)).mean(), (a < b).mean()]
    parts = [f"{plain(first)} better", "equal", "both 0", f"{plain(second)} better"]
    colours = COLOURS[0], "#BDBDBD", "#E3E3E3", COLOURS[1]
    with style():
        figure = Figure(figsize=(10, 1.5 + 0.6 * len(read)))
        axes = figure.subplots()
        for y, shares in enumerate(read.values()):
            left = 0
            for share, part, colour in zip(shares, parts, colours):
                axes.barh(y, 100 * share, 0.68, left, color=colour, edgecolor="white", label=part if y == 0 else None)
                if share >= 0.06:
                    at = left + 50 * share
                    axes.text(at, y, f"{share:.0%}", ha="center", va="center", fontsize=12, color=ink(colour))
                left += 100 * share
        axes.set_yticks(range(len(read)), [words(task, 24, 2) for task in read])
        axes.set(xlabel="Share of the queries (%)", xlim=(0, 100), ylim=(len(read) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=4)
        headline(figure, title)
    told = [
        f"{plain(task)}: " + ", ".join(f"{part} {share:.0%}" for part, share in zip(parts, shares))
        for task, shares in read.items()
    ]
    return show(figure, f"Stacked bars, {plain(title)}, in shares of the queries. " + "; ".join(told) + ".")


def intervals(panels: dict, title: str = "Intervals", reference: dict | None = None) -> Picture:
    """Values with their intervals, one row each, in panels below each other with a scale of their own.

    panels: {heading: {row: (value, low, high)}}.
    title: of the figure.
    reference: {heading: {name: value}}, drawn as a dashed line in that panel; at most one per panel.
    Returns a Picture.
    """
    read = {
        heading: {row: numbers(tuple(of)[:3], f"panels[{heading!r}][{row!r}]", ndim=1) for row, of in rows.items()}
        for heading, rows in mapping(panels, "panels").items()
    }
    heights = [len(rows) + 0.8 for rows in read.values()]
    with style():
        figure = Figure(figsize=(10, 0.8 + 0.6 * len(read) + 0.42 * sum(map(len, read.values()))))
        grid = np.ravel(figure.subplots(len(read), 1, height_ratios=heights))
        for axes, (heading, rows) in zip(grid, read.items()):
            for y, (value, low, high) in enumerate(rows.values()):
                axes.plot((low, high), (y, y), color=COLOURS[0], linewidth=4, solid_capstyle="butt", alpha=0.55)
                axes.plot(value, y, "o", color=COLOURS[0])
            for name, value in (reference or {}).get(heading, {}).items():
                axes.axvline(value, color=GREY, linestyle=LINES[1], label=words(name, 24))
                axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
            axes.set_yticks(range(len(rows)), [words(row, 44, 2) for row in rows])
            axes.set(title=words(heading, 60), ylim=(len(rows) - 0.4, -0.6))
            axes.locator_params(axis="x", nbins=6)  # more labels than that may touch beside long names
            axes.tick_params(axis="y", length=0)
        headline(figure, title)
    told = [
        f"{plain(heading)}: "
        + ", ".join(f"{plain(r)} {short(v)} ({short(a)} to {short(b)})" for r, (v, a, b) in rows.items())
        for heading, rows in read.items()
    ]
    return show(figure, f"Points with intervals, {plain(title)}. " + "; ".join(told) + ".")
