"""Where training leads: quality by training time, alignment by uniformity."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import plain, short, words
from course_lib.notebook.plots.layout import headline, legend_beside, level_lines
from course_lib.notebook.plots.picture import COLOURS, LINES, MARKERS, Picture, show, style

# where an axis of seconds may have ticks, the most useful first
TICKS = (60, 600, 3600, 10, 1, 36_000, 120, 1800, 360, 30, 7200, 5, 86_400, 18_000, 0.1)


def frontier(
    methods: dict, ylabel: str, references: dict | None = None, title: str = "What training time buys"
) -> Picture:
    """Quality against seconds of training, on a logarithmic axis of time: one line per method.

    methods: {name: [(seconds, value), …]} or {name: [(seconds, value, low, high), …]}, drawn with its interval; at most
        7, seconds above 0.
    ylabel: what the values are.
    references: {name: value}, drawn as level lines, such as the start of training, or BM25.
    title: of the figure.
    Returns a Picture. Raises ValueError for points of another shape or at 0 seconds.
    """
    paths = {n: _by_seconds(points, f"methods[{n!r}]") for n, points in mapping(methods, "methods", 7).items()}
    with style():
        figure = Figure(figsize=(9, 4.8))
        axes = figure.subplots()
        for i, (name, path) in enumerate(paths.items()):
            seconds, value, low, high = path.T
            axes.plot(seconds, value, color=COLOURS[i], linestyle=LINES[i], marker=MARKERS[i], label=words(name, 26, 2))
            axes.vlines(seconds, low, high, color=COLOURS[i], linewidth=1.5)
        levels = level_lines(axes, references)
        axes.set_xscale("log")
        _time_axis(axes, np.concatenate(list(paths.values()))[:, 0])
        axes.set(xlabel="Training time", ylabel=words(ylabel, 40), title=words(title, 60))
        legend_beside(axes)
    told = [
        f"{plain(n)} " + ", ".join(f"{short(p[1])} after {_time_in_words(p[0])}" for p in path)
        for n, path in paths.items()
    ] + levels
    return show(figure, f"{plain(title)}: {plain(ylabel)} by training time. " + "; ".join(told) + ".")


def alignment_uniformity(
    points: dict, title: str = "Alignment and uniformity", steps: Sequence[int] | None = None
) -> Picture:
    """Where encoders stand: alignment of positive pairs against uniformity of all; lower is better on both axes.

    points: {name: (alignment, uniformity)}, or {name: [(alignment, uniformity), …]} in the order of training, drawn as
        a path from the large hollow marker over dots to the filled one; at most 7 names.
    title: of the figure.
    steps: those at which the points of every path were measured, for the legend.
    Returns a Picture. Raises ValueError for points of another shape, and for a path that has not one point per step.
    """
    paths = {name: _path(p, f"points[{name!r}]") for name, p in mapping(points, "points", 7).items()}
    markers = _steps_in_words(paths, steps)
    with style():
        figure = Figure(figsize=(9, 5))
        axes = figure.subplots()
        for i, (name, path) in enumerate(paths.items()):
            axes.plot(path[:, 1], path[:, 0], marker=".", color=COLOURS[i], linestyle=LINES[i], markersize=9)
            if len(path) > 1:
                axes.plot(*path[0, ::-1], MARKERS[i], color=COLOURS[i], fillstyle="none", markersize=17, mew=2)
            axes.plot(*path[-1, ::-1], MARKERS[i], color=COLOURS[i], markersize=11, label=words(name, 26, 2))
        axes.margins(0.12)
        axes.set(xlabel="Uniformity   (← better: spread out)", ylabel="Alignment   (← better: positives close)")
        legend_beside(axes, "\n".join(markers))
        headline(figure, title)
    at = lambda p: f"alignment {p[0]:.2f}, uniformity {p[1]:.2f}"  # noqa: E731
    told = [f"{plain(n)}: {at(p[0])}" + (f", then {at(p[-1])}" if len(p) > 1 else "") for n, p in paths.items()]
    told += [m for m in markers if steps is not None]
    return show(figure, f"{plain(title)}, both better when lower. " + "; ".join(told) + ".")


# --------------------------------------------------------------------------- parts of the figures


def _path(points, name):
    """(n, 2) of one pair of numbers or a list of pairs."""
    path = np.atleast_2d(numbers(points, name))
    if path.ndim != 2 or path.shape[1] != 2:
        raise ValueError(f"{name} has shape {path.shape}; pass (alignment, uniformity), or a list of such pairs")
    return path


def _by_seconds(points, name):
    """(n, 4) of seconds, value, low, high, by seconds; low and high are the value where none were given."""
    path = np.atleast_2d(numbers(points, name))
    if path.ndim != 2 or path.shape[1] not in (2, 4):
        raise ValueError(f"{name} has shape {path.shape}; pass points (seconds, value) or (seconds, value, low, high)")
    if path[:, 0].min() <= 0:
        raise ValueError(
            f"{name} has a point at {path[:, 0].min():g} seconds, which a logarithmic axis does not have; "
            "pass the start as a reference: references={'Start': value}"
        )
    if path.shape[1] == 2:
        path = path[:, [0, 1, 1, 1]]
    return path[path[:, 0].argsort()]


def _time_axis(axes, seconds):
    """Limits a little beyond the points, and ticks in seconds, minutes and hours that do not touch."""
    low, high = seconds.min() / 1.3, seconds.max() * 1.3
    ticks = []
    for tick in TICKS:
        if low <= tick <= high and all(abs(math.log(tick / other)) > math.log(high / low) / 8 for other in ticks):
            ticks.append(tick)
    if len(ticks) < 2:
        ticks = [seconds.min()]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [_time_in_words(t) for t in ticks])
    axes.minorticks_off()


def _time_in_words(seconds):
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit or seconds == unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def _steps_in_words(paths, steps):
    """What the markers of a path are, a line each."""
    if not any(len(p) > 1 for p in paths.values()):
        return []
    if steps is None:
        return ["Hollow: the start", "Filled: the end"]
    if any(len(p) not in (1, len(steps)) for p in paths.values()):
        raise ValueError(
            f"steps holds {len(steps)} for paths of {', '.join(str(len(p)) for p in paths.values())} "
            "points; pass one for each point, or none"
        )
    between = [f"Dots: {len(steps) - 2} measurements between"] if len(steps) > 2 else []
    return [f"Hollow: step {steps[0]}", *between, f"Filled: step {steps[-1]}"]
