"""Figures that compare methods as a whole: their order from task to task, and what their quality costs."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import measure, plain, short, words
from course_lib.notebook.plots.layout import headline
from course_lib.notebook.plots.picture import COLOURS, GREY, LINES, MARKERS, Picture, show, style


def ranks(methods: dict[str, dict], tasks: dict, title: str = "Places of the methods") -> Picture:
    """The place of each method on each task, as lines that cross where the order changes; the first place is on top.

    methods: {name: {task: value}}, at most 7, all measured on every task.
    tasks: {task: heading}, in their order.
    title: of the figure.
    Returns a Picture. Raises ValueError for a method without a task.
    """
    names = list(mapping(methods, "methods", 7))
    if missing := next((n for n in names if set(tasks) - set(methods[n])), None):
        raise ValueError(f"methods[{missing!r}] lacks a task of {', '.join(map(str, tasks))}")
    values = np.array([[float(methods[n][task]) for task in tasks] for n in names])
    places = (values[:, None] < values[None]).sum(1) + 1  # (methods, tasks); equal values share a place
    headings = [measure(heading) for heading in tasks.values()]
    with style():
        figure = Figure(figsize=(3.4 + 1.75 * len(tasks), 1.6 + 0.5 * len(names)))
        axes = figure.subplots()
        for i, name in enumerate(names):
            axes.plot(places[i], MARKERS[i], color=COLOURS[i], linestyle=LINES[i], markersize=10)
            sharing = (places[:i] == places[i]).sum(0)  # how many methods before this one have the same places
            height = places[i, -1] + 0.5 * sharing[-1]
            axes.text(len(tasks) - 0.85, height, words(name, 22, 1), color=COLOURS[i], va="center")
            for x in np.flatnonzero(sharing == 0):
                axes.text(x, places[i, x] - 0.2, f"{values[i, x]:.2f}", ha="center", va="bottom", fontsize=12)
        axes.set_xticks(range(len(tasks)), [words(heading, 14) for heading in headings])
        axes.set_yticks(range(1, len(names) + 1))
        axes.set(ylabel="Place", xlim=(-0.4, len(tasks) + 0.2), ylim=(len(names) + 0.4, 0.3))
        axes.spines["bottom"].set_visible(False)
        headline(figure, title)
    told = [
        f"{plain(heading)}: " + ", ".join(f"{plain(names[i])} {values[i, x]:.3f}" for i in (-values[:, x]).argsort())
        for x, heading in enumerate(headings)
    ]
    return show(figure, f"Lines, {plain(title)}, from the first place to the last. " + "; ".join(told) + ".")


def quality_by_cost(
    panels: dict[str, dict], levels: dict[str, float], ylabel: str, title: str = "Quality against cost"
) -> Picture:
    """Methods as points with their names, cost to the right and quality upwards; what costs nothing is a level line.

    panels: {label of the cost: {name: (cost, value, low, high, whether to mark it)}}; marked points are filled, such as
        those that no other point beats.
    levels: {name: value}.
    ylabel: what the values are.
    title: of the figure.
    Returns a Picture. Raises ValueError for a cost that is not above 0.
    """
    mapping(panels, "panels", 2)
    for label, points in panels.items():
        for name, point in mapping(points, f"panels[{label!r}]").items():
            if numbers(point, f"panels[{label!r}][{name!r}]", ndim=1)[0] <= 0:
                raise ValueError(f"panels[{label!r}][{name!r}] costs {point[0]}; draw what costs nothing as a level")
    with style():
        figure = Figure(figsize=(1.1 + 4.9 * len(panels), 5.6))
        for axes, (label, points) in zip(np.ravel(figure.subplots(1, len(panels), sharey=True)), panels.items()):
            _cost_panel(axes, points, levels)
            axes.set_xlabel(words(label, 50))
        figure.axes[0].set_ylabel(words(ylabel, 50))
        headline(figure, title)
    told = [
        f"{plain(label)}: "
        + ", ".join(f"{plain(n)} {round(float(p[0]), 1):,g} for {p[1]:.3f}" for n, p in points.items())
        for label, points in panels.items()
    ]
    told += [f"level line {plain(name)} at {short(value)}" for name, value in levels.items()]
    return show(figure, f"Points, {plain(title)}, {plain(ylabel)}. " + "; ".join(told) + ".")


def _cost_panel(axes, points, levels):
    costs = np.array([point[0] for point in points.values()])
    right = costs.max() * 1.35
    every = [*levels.values(), *(point[1] for point in points.values())]
    near = 0.04 * (max(every) - min(every))
    for name, value in levels.items():
        axes.axhline(value, color=GREY, linestyle=LINES[1], linewidth=1.2)
        below = any(0 < other - value < near for other in levels.values())  # above it there is no room for a name
        axes.text(0, value, f" {words(name, 30, 1)}", color=GREY, va="top" if below else "bottom", fontsize=12)
    for i, (name, (cost, value, low, high, marked)) in enumerate(points.items()):
        colour = COLOURS[i % len(COLOURS)]
        axes.vlines(cost, low, high, color=colour, linewidth=1.5)
        axes.plot(cost, value, "o", color=colour, markersize=11, markerfacecolor=colour if marked else "white", mew=2)
        label = axes.annotate(words(name, 24, 1), (cost, value), (9, 0), textcoords="offset points", va="center")
        label.set(color=colour, path_effects=[withStroke(linewidth=3, foreground="white")])
    axes.set_xlim(0, right)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
