"""Figures of training: what happens by step and by second."""

import math
import re
from dataclasses import asdict, is_dataclass

import numpy as np
from matplotlib.figure import Figure

from course_lib.notebook.plots.picture import (
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    headline,
    legend_beside,
    mapping,
    measure,
    numbers,
    panel_grid,
    plain,
    short,
    show,
    style,
    words,
)

# where an axis of seconds may have ticks, the most telling first
TICKS = (60, 600, 3600, 10, 1, 36_000, 120, 1800, 360, 30, 7200, 5, 86_400, 18_000, 0.1)


def curves(series, ylabel, xlabel="Step", title="", smooth=1, references=None):
    """Lines by step; with several seeds their mean, in a band from the lowest to the highest.

    series: {name: [(step, value), …]}, or {name: [that of one seed, that of the next, …]}, with the same steps in each
    seed; at most 7. smooth: values averaged around each point. references: {name: value}, drawn as level lines.
    """
    read = {name: _seeds(points, f"series[{name!r}]") for name, points in mapping(series, "series", 7).items()}
    with style():
        figure = Figure(figsize=(9, 4.8))
        axes = figure.subplots()
        for i, (name, (steps, values)) in enumerate(read.items()):
            _line(axes, steps, values, i, words(name, 26, 2), smooth)
        levels = _levels(axes, references)
        axes.locator_params(axis="x", integer=all((steps == steps.round()).all() for steps, _ in read.values()))
        axes.set(xlabel=xlabel, ylabel=words(ylabel, 40), title=words(title, 60))
        legend_beside(axes, _band_in_words(read.values()))
    told = [_line_in_words(name, steps, values) for name, (steps, values) in read.items()] + levels
    return show(figure, f"{plain(title) or 'Lines'}: {plain(ylabel)} by {plain(xlabel)}. " + "; ".join(told) + ".")


def training_curves(record, title="Training"):
    """Loss, gradient norm and every evaluation of a training, each in a panel of its own.

    record: a TrainingRecord, the same as a dict (RunRecord.training), or a list of these, one a seed, drawn as their
    mean in a band from the lowest to the highest. Steps at which a value is not finite in every seed are left out and
    counted in the panel's title. Raises ValueError for a record without steps.
    """
    records = [_training(r) for r in (record if isinstance(record, (list, tuple)) else [record])]
    if not records:
        raise ValueError("record is an empty list; pass a TrainingRecord, or one for each seed")
    measured = [k for k in (records[0]["evaluations"] or [{}])[0] if k not in ("step", "seconds")]
    panels = {"Loss": ("loss", "steps"), "Gradient norm": ("gradient_norm", "steps")}
    panels |= {_quantity(k): (k, "evaluations") for k in measured}
    rows, columns = panel_grid(len(panels))
    told = []
    with style():
        figure = Figure(figsize=(1.5 + 3 * columns, 0.7 + 3 * rows))
        grid = np.ravel(figure.subplots(rows, columns))
        for axes, (name, (key, kind)) in zip(grid, panels.items()):
            seeds = [{e["step"]: e[key] for e in r[kind] if key in e} for r in records]
            told.append(_training_panel(axes, name, seeds))
        for axes in grid[len(panels) :]:
            axes.remove()
        spread = f"; mean and range of {len(records)} seeds" if len(records) > 1 else ""
        headline(figure, title + spread)
    return show(figure, f"{plain(title)}, {len(records[0]['steps'])} steps{spread}. " + "; ".join(told) + ".")


def learning_rates(schedules, title="Learning rate by step"):
    """Schedules of the learning rate, one line each.

    schedules: {name: (n,) rates, of steps 1 to n}, at most 7; they may differ in length.
    """
    schedules = {n: numbers(r, f"schedules[{n!r}]", ndim=1) for n, r in mapping(schedules, "schedules", 7).items()}
    with style():
        figure = Figure(figsize=(9, 4.2))
        axes = figure.subplots()
        for i, (name, rates) in enumerate(schedules.items()):
            axes.plot(
                range(1, len(rates) + 1),
                rates,
                color=COLOURS[i],
                linestyle=LINES[i],
                label=words(name, 26, 2),
                drawstyle="steps-mid",
            )
        axes.yaxis.set_major_formatter(lambda rate, _: _rate_in_words(rate))
        axes.locator_params(axis="x", integer=True)
        axes.set(xlabel="Step", ylabel="Learning rate", ylim=(0, None), title=words(title, 60))
        legend_beside(axes)
    told = [f"{plain(n)}: {_schedule_in_words(rates)}" for n, rates in schedules.items()]
    return show(figure, f"Lines, {plain(title)}. " + "; ".join(told) + ".")


def frontier(methods, ylabel, references=None, title="What training time buys"):
    """Quality against seconds of training, on a logarithmic axis of time: one line a method.

    methods: {name: [(seconds, value), …]} or {name: [(seconds, value, low, high), …]}, drawn with its interval; seconds
    above 0; at most 7. references: {name: value}, drawn as level lines: where training started, BM25.
    """
    paths = {n: _by_seconds(points, f"methods[{n!r}]") for n, points in mapping(methods, "methods", 7).items()}
    with style():
        figure = Figure(figsize=(9, 4.8))
        axes = figure.subplots()
        for i, (name, path) in enumerate(paths.items()):
            seconds, value, low, high = path.T
            axes.plot(seconds, value, color=COLOURS[i], linestyle=LINES[i], marker=MARKERS[i], label=words(name, 26, 2))
            axes.vlines(seconds, low, high, color=COLOURS[i], linewidth=1.5)
        levels = _levels(axes, references)
        axes.set_xscale("log")
        _time_axis(axes, np.concatenate(list(paths.values()))[:, 0])
        axes.set(xlabel="Training time", ylabel=words(ylabel, 40), title=words(title, 60))
        legend_beside(axes)
    told = [
        f"{plain(n)} " + ", ".join(f"{short(p[1])} after {_time_in_words(p[0])}" for p in path)
        for n, path in paths.items()
    ] + levels
    return show(figure, f"{plain(title)}: {plain(ylabel)} by training time. " + "; ".join(told) + ".")


def alignment_uniformity(points, title="Alignment and uniformity", steps=None):
    """Where encoders stand: alignment of positive pairs against uniformity of all, lower is better on both axes.

    points: {name: (alignment, uniformity)}, or {name: [(alignment, uniformity), …]} in the order of training, drawn as
    a path from the large hollow marker over dots to the filled one; at most 7 names. steps: those at which the points
    of every path were measured, for the legend.
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
    return (
        f"{plain(name)}{seeds} from {short(mean[0])} at {steps[0]:g} to {short(mean[-1])} at {steps[-1]:g}, "
        f"lowest {short(mean.min())}, highest {short(mean.max())}"
    )


def _band_in_words(lines):
    """The title of a legend that says what a band is, where there is one."""
    seeds = sorted({len(values) for _, values in lines if len(values) > 1})
    return f"Band: lowest to highest\nof {' or '.join(map(str, seeds))} seeds" if seeds else None


def _levels(axes, references):
    """Draw level lines; returns them in words."""
    references = {n: float(numbers(v, f"references[{n!r}]", ndim=0)) for n, v in (references or {}).items()}
    for i, (name, value) in enumerate(references.items()):
        axes.axhline(value, color=GREY, linestyle=LINES[1:][i % 6], label=f"{words(name, 26, 2)}: {short(value)}")
    return [f"level line {plain(n)} at {short(v)}" for n, v in references.items()]


def _training(record):
    """A training as a dict; ValueError for anything else."""
    record = asdict(record) if is_dataclass(record) else mapping(record, "record")
    if missing := [k for k in ("steps", "evaluations") if k not in record]:
        raise ValueError(f"record has no {missing[0]!r}; pass a TrainingRecord, or the `training` of a RunRecord")
    return record


def _quantity(key):
    """What an evaluation measures, as a title: `held_out_loss` is Held out loss."""
    return re.sub("^[a-z](?![A-Z])", lambda found: found[0].upper(), measure(key.replace("_", " ")))


def _training_panel(axes, name, seeds):
    """Draw one quantity of a training, {step: value} for each seed, smoothed where it is noisy; returns it in words."""
    steps = [step for step in seeds[0] if all(step in seed for seed in seeds)]
    values = np.array([[seed[step] for step in steps] for seed in seeds], dtype=float)  # (seeds, steps)
    finite = np.isfinite(values).all(0)
    if not finite.any():
        raise ValueError(f"record holds no finite {name.lower()} in {len(steps)} steps; there is nothing to draw")
    lost = f" (not finite at {(~finite).sum()} of {len(steps)} steps)" if not finite.all() else ""
    steps, values = np.array(steps)[finite], values[:, finite]
    noisy = len(steps) > 40
    if noisy and len(values) == 1:
        axes.plot(steps, values[0], color=COLOURS[5], linewidth=1, alpha=0.6)
    _line(axes, steps, values, 0, None, len(steps) // 20 if noisy else 1)
    axes.locator_params(axis="x", integer=True)
    axes.set(title=words(name + lost, 26), xlabel="Step")
    return _line_in_words(name + lost, steps, values)


def _rate_in_words(rate):
    """A learning rate as it is written in code: 1e-5, 2.5e-6."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if rate else "0"


def _schedule_in_words(rates):
    """Its stairs where they are few, else its start, its peak and its end."""
    stairs = np.flatnonzero(np.diff(rates, prepend=np.nan))  # where a new rate begins
    if len(stairs) <= 6:
        return (
            "constant " * (len(stairs) == 1)
            + ", then ".join(f"{_rate_in_words(rates[i])} from step {i + 1}" for i in stairs)
            + f" to step {len(rates)}"
        )
    peak = rates.argmax()
    return (
        f"{_rate_in_words(rates[0])} at step 1, highest {_rate_in_words(rates[peak])} at step {peak + 1}, "
        f"{_rate_in_words(rates[-1])} at step {len(rates)}"
    )


def _by_seconds(points, name):
    """(n, 4) of seconds, value, low, high, by seconds; low and high are the value where none were given."""
    path = np.atleast_2d(numbers(points, name))
    if path.ndim != 2 or path.shape[1] not in (2, 4):
        raise ValueError(f"{name} has shape {path.shape}; pass (seconds, value) or (seconds, value, low, high) a point")
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
