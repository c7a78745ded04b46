"""Figures of training: what happens from step to step."""

import re
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import measure, plain, short, words
from course_lib.notebook.plots.layout import headline, legend_beside, level_lines, panel_grid
from course_lib.notebook.plots.picture import COLOURS, LINES, MARKERS, Picture, show, style


def curves(
    series: dict,
    ylabel: str,
    xlabel: str = "Step",
    title: str = "",
    smooth: int = 1,
    references: dict | None = None,
    log_x: bool = False,
) -> Picture:
    """Lines by step; of several seeds their mean, in a band from the lowest to the highest.

    series: {name: [(step, value), …]}, or {name: [points of one seed, points of the next, …]} with the same steps in
        each seed; at most 7.
    ylabel, xlabel, title: of the figure.
    smooth: values averaged around each point.
    references: {name: value}, drawn as level lines.
    log_x: whether the steps are drawn on a logarithmic scale.
    Returns a Picture. Raises ValueError for points of another shape, and for seeds measured at different steps.
    """
    read = {name: _seeds(points, f"series[{name!r}]") for name, points in mapping(series, "series", 7).items()}
    with style():
        figure = Figure(figsize=(9, 4.8))
        axes = figure.subplots()
        for i, (name, (steps, values)) in enumerate(read.items()):
            _line(axes, steps, values, i, words(name, 26, 2), smooth)
        levels = level_lines(axes, references)
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: _count_in_words(value))
            axes.xaxis.set_minor_formatter("")
        else:
            axes.locator_params(axis="x", integer=all((steps == steps.round()).all() for steps, _ in read.values()))
        axes.set(xlabel=xlabel, ylabel=words(ylabel, 40), title=words(title, 60))
        legend_beside(axes, _band_in_words(read.values()))
    told = [_line_in_words(name, steps, values) for name, (steps, values) in read.items()] + levels
    return show(figure, f"{plain(title) or 'Lines'}: {plain(ylabel)} by {plain(xlabel)}. " + "; ".join(told) + ".")


def training_curves(record: Any, title: str = "Training") -> Picture:
    """Loss, gradient norm and every evaluation of a training, each in its own panel.

    Steps at which a value is not finite in every seed are left out and counted in the panel's title.

    record: a TrainingRecord, the same as a dict (the `training` of a run record), or a list of these, one per seed,
        drawn as their mean in a band from the lowest to the highest.
    title: of the figure.
    Returns a Picture. Raises ValueError for a record without steps.
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


def batch_bars(
    panels: dict[str, ArrayLike], marked: ArrayLike, names: tuple[str, str], ylabel: str, title: str = "One batch"
) -> Picture:
    """One number per sentence of a batch, as bars in two colours; one panel per batch, all on one scale.

    panels: {heading: (B,) numbers}, at most 3.
    marked: (B,) bool, which bars have the second colour.
    names: what the first and the second colour mean.
    ylabel, title: of the figure.
    Returns a Picture. Raises ValueError for another number of marks.
    """
    panels, marked = mapping(panels, "panels", 3), np.asarray(marked, dtype=bool)
    panels = {heading: numbers(values, f"panels[{heading!r}]", ndim=1) for heading, values in panels.items()}
    for heading, values in panels.items():
        if len(values) != len(marked):
            raise ValueError(f"marked holds {len(marked)} for {len(values)} bars in {heading!r}; pass one for each")
    with style():
        figure = Figure(figsize=(1 + 4.5 * len(panels), 3.8))
        grid = np.ravel(figure.subplots(1, len(panels), sharey=True))
        for axes, (heading, values) in zip(grid, panels.items()):
            for i, name in enumerate(names):
                chosen = np.flatnonzero(marked == bool(i))
                axes.bar(chosen + 1, values[chosen], color=COLOURS[i], label=words(name, 30))
            axes.locator_params(axis="x", integer=True)
            axes.set(title=words(heading, 40), xlabel="Sentence of the batch")
        grid[0].set_ylabel(words(ylabel, 30))
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        headline(figure, title)
    told = [
        f"{plain(heading)}: {plain(names[0])} {_range_in_words(values[~marked])}; "
        f"{plain(names[1])} {_range_in_words(values[marked])}"
        for heading, values in panels.items()
    ]
    return show(figure, f"Bars, {plain(title)}: {plain(ylabel)} of {len(marked)} sentences. " + ". ".join(told) + ".")


def learning_rates(schedules: dict[str, ArrayLike], title: str = "Learning rate by step") -> Picture:
    """Schedules of the learning rate, one line each.

    schedules: {name: (n,) rates of steps 1 to n}, at most 7; they may differ in length.
    title: of the figure.
    Returns a Picture.
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


# --------------------------------------------------------------------------- parts of the figures


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


def _count_in_words(value):
    """A count as a label: 500, 10,000, 100 M (million), 1 B (billion)."""
    for size, name in ((1e9, " B"), (1e6, " M")):
        if value >= size:
            return f"{value / size:,g}{name}"
    return f"{value:,g}"


def _band_in_words(lines):
    """The title of a legend, which says what a band is; None where there is no band."""
    seeds = sorted({len(values) for _, values in lines if len(values) > 1})
    return f"Band: lowest to highest\nof {' or '.join(map(str, seeds))} seeds" if seeds else None


def _training(record):
    """A training as a dict; ValueError for anything else."""
    record = asdict(record) if is_dataclass(record) else mapping(record, "record")
    if missing := [k for k in ("steps", "evaluations") if k not in record]:
        raise ValueError(f"record has no {missing[0]!r}; pass a TrainingRecord, or the `training` of a run record")
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


def _range_in_words(values):
    if not len(values):
        return "none"
    return f"{short(values.min())} to {short(values.max())} ({(values == 0).sum()} of {len(values)} are 0)"


def _rate_in_words(rate):
    """A learning rate as it is written in code: 1e-5, 2.5e-6."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if rate else "0"


def _schedule_in_words(rates):
    """The steps of a staircase where they are few, else start, peak and end."""
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
