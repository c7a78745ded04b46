"""Figures of training: what happens by step and by second."""

from dataclasses import asdict, is_dataclass

import numpy as np
from matplotlib.figure import Figure

from course_lib.notebook.plots.picture import (
    COLOURS, GREY, LINES, MARKERS, mapping, numbers, panel_grid, plain, short, show, style, words,
)


def curves(series, ylabel, xlabel="Step", title="", smooth=1, references=None):
    """Lines by step; with several seeds their mean, in a band from the lowest to the highest.

    series: {name: [(step, value), …]}, or {name: [that of one seed, that of the next, …]}, with the same steps in each
    seed; at most 7. smooth: values averaged around each point. references: {name: value}, drawn as level lines.
    """
    read = {name: _seeds(points, f"series[{name!r}]") for name, points in mapping(series, "series", 7).items()}
    references = {n: float(numbers(v, f"references[{n!r}]", ndim=0)) for n, v in (references or {}).items()}
    with style():
        figure = Figure(figsize=(9, 4.8))
        axes = figure.subplots()
        for i, (name, (steps, values)) in enumerate(read.items()):
            _line(axes, steps, values, i, words(name, 26, 2), smooth)
        for i, (name, value) in enumerate(references.items()):
            axes.axhline(value, color=GREY, linestyle=LINES[1:][i % 6], label=f"{words(name, 26, 2)}: {short(value)}")
        axes.locator_params(axis="x", integer=all((steps == steps.round()).all() for steps, _ in read.values()))
        axes.set(xlabel=xlabel, ylabel=words(ylabel, 40), title=words(title, 60))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    told = [_line_in_words(name, steps, values) for name, (steps, values) in read.items()]
    told += [f"level line {plain(n)} at {short(v)}" for n, v in references.items()]
    return show(figure, f"{plain(title) or 'Lines'}: {plain(ylabel)} by {plain(xlabel)}. " + "; ".join(told) + ".")


def training_curves(record, title="Training"):
    """Loss, gradient norm and every evaluation of a training, each in a panel of its own.

    record: a TrainingRecord, or the same as a dict (RunRecord.training). Steps whose value is not finite are left out
    and counted in the panel's title. Raises ValueError for a record without steps.
    """
    record = asdict(record) if is_dataclass(record) else mapping(record, "record")
    if missing := [k for k in ("steps", "evaluations") if k not in record]:
        raise ValueError(f"record has no {missing[0]!r}; pass a TrainingRecord, or the `training` of a RunRecord")
    panels = {"Loss": ("loss", record["steps"]), "Gradient norm": ("gradient_norm", record["steps"])}
    measured = [k for k in (record["evaluations"] or [{}])[0] if k not in ("step", "seconds")]
    panels |= {k: (k, record["evaluations"]) for k in measured}
    rows, columns = panel_grid(len(panels))
    told = []
    with style():
        figure = Figure(figsize=(1.5 + 3 * columns, 0.7 + 3 * rows))
        grid = np.ravel(figure.subplots(rows, columns))
        for axes, (name, (key, entries)) in zip(grid, panels.items()):
            told.append(_training_panel(axes, name, [(e["step"], e[key]) for e in entries if key in e]))
        for axes in grid[len(panels):]:
            axes.remove()
        figure.suptitle(words(title, 60))
    return show(figure, f"{plain(title)}, {len(record['steps'])} steps. " + "; ".join(told) + ".")


def alignment_uniformity(points, title="Alignment and uniformity"):
    """Where encoders stand: alignment of positive pairs against uniformity of all, lower is better on both axes.

    points: {name: (alignment, uniformity)}, or {name: [(alignment, uniformity), …]} in the order of training, drawn as
    a path from the large hollow marker to the filled one; at most 7 names.
    """
    paths = {name: _path(p, f"points[{name!r}]") for name, p in mapping(points, "points", 7).items()}
    with style():
        figure = Figure(figsize=(9, 5))
        axes = figure.subplots()
        for i, (name, path) in enumerate(paths.items()):
            axes.plot(path[:, 1], path[:, 0], color=COLOURS[i], linestyle=LINES[i])
            if len(path) > 1:
                axes.plot(*path[0, ::-1], MARKERS[i], color=COLOURS[i], fillstyle="none", markersize=17, mew=2)
            axes.plot(*path[-1, ::-1], MARKERS[i], color=COLOURS[i], markersize=11, label=words(name, 26, 2))
        axes.margins(0.12)
        axes.set(xlabel="Uniformity   (← better: spread out)", ylabel="Alignment   (← better: positives close)")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5),
                    title="Hollow: the start" if any(len(p) > 1 for p in paths.values()) else None)
        figure.suptitle(words(title, 60))
    at = lambda p: f"alignment {p[0]:.2f}, uniformity {p[1]:.2f}"  # noqa: E731
    told = [f"{plain(n)}: {at(p[0])}" + (f", then {at(p[-1])}" if len(p) > 1 else "") for n, p in paths.items()]
    return show(figure, f"{plain(title)}, both better when lower. " + "; ".join(told) + ".")


# --------------------------------------------------------------------------- parts of the figures


def _path(points, name):
    """(n, 2) of one pair of numbers or a list of pairs."""
    path = np.atleast_2d(numbers(points, name))
    if path.ndim != 2 or path.shape[1] != 2:
        raise ValueError(f"{name} has shape {path.shape}; pass (alignment, uniformity), or a list of such pairs")
    return path


def _seeds(points, name):
    """Steps (n,) and values (seeds, n) of [(step, value), …] or a list of such lists."""
    try:
        points = np.asarray(points, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} cannot be read; pass [(step, value), …], or equally long lists of those") from None
    points = numbers(points, name)
    if points.ndim == 2:
        points = points[None]
    if points.ndim != 3 or points.shape[2] != 2:
        raise ValueError(f"{name} has shape {points.shape}; pass [(step, value), …], or such a list for each seed")
    if not (points[:, :, 0] == points[0, :, 0]).all():
        raise ValueError(f"{name} has seeds measured at different steps; measure them at the same ones")
    return points[0, :, 0], points[:, :, 1]


def _smoothed(values, window):
    """Mean of `window` values around each; at the ends, of those there are."""
    kernel = np.ones(max(1, int(window)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _line(axes, steps, values, i, label, smooth):
    values = np.array([_smoothed(v, min(smooth, len(v))) for v in values])
    few = MARKERS[i] if len(steps) <= 20 else None
    axes.plot(steps, values.mean(0), color=COLOURS[i], linestyle=LINES[i], marker=few, label=label)
    if len(values) > 1:
        axes.fill_between(steps, values.min(0), values.max(0), color=COLOURS[i], alpha=0.18, linewidth=0)


def _line_in_words(name, steps, values):
    mean = values.mean(0)
    seeds = f" ({len(values)} seeds)" if len(values) > 1 else ""
    return (f"{plain(name)}{seeds} from {short(mean[0])} at {steps[0]:g} to {short(mean[-1])} at {steps[-1]:g}, "
            f"lowest {short(mean.min())}, highest {short(mean.max())}")


def _training_panel(axes, name, points):
    """Draw one quantity of a training, smoothed where it is noisy; returns it in words."""
    steps, values = np.array(points, dtype=float).reshape(-1, 2).T
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError(f"record holds no finite {name.lower()} in {len(values)} steps; there is nothing to draw")
    lost = f" (not finite at {(~finite).sum()} of {len(values)} steps)" if not finite.all() else ""
    steps, values = steps[finite], values[finite]
    if len(values) > 40:
        axes.plot(steps, values, color=COLOURS[5], linewidth=1, alpha=0.6)
        axes.plot(steps, _smoothed(values, len(values) // 20), color=COLOURS[0])
    else:
        axes.plot(steps, values, "o-", color=COLOURS[0])
    axes.locator_params(axis="x", integer=True)
    axes.set(title=words(name + lost, 26), xlabel="Step")
    return _line_in_words(name + lost, steps, values[None])
