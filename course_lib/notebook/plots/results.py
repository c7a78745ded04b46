"""Figures of results: which method is better on which task, and whether the difference is real."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike

from course_lib.experiments.report import table, task_titles
from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import measure, plain, short, words
from course_lib.notebook.plots.layout import headline, ink, legend_beside, panel_grid
from course_lib.notebook.plots.picture import COLOURS, LINES, MARKERS, Picture, show, style


def comparison_bars(
    records: list, tasks: list | dict | None = None, title: str = "Results on held-out texts"
) -> Picture:
    """Methods on tasks as bars with 95 % intervals; BM25 is a dashed line in each panel, not a bar.

    A method that was not measured on a task has a dash.

    records: run records, or the rows that `table` makes of them.
    tasks: which to show, in this order: names, or {name: heading}; None for all.
    title: of the figure.
    Returns a Picture. Raises ValueError without a record, and for a task that nobody measured.
    """
    rows, headings = _rows(records, tasks)
    bars = [r for r in rows if r["method"] != "BM25"] or rows
    line = next((r for r in rows if r not in bars), {})
    down, across = panel_grid(len(headings))
    with style():
        figure = Figure(figsize=(2.4 + 2.7 * across, 0.9 + (0.9 + 0.47 * len(bars)) * down))
        grid = np.ravel(figure.subplots(down, across, sharey=True))
        for axes, (task, heading) in zip(grid, headings.items()):
            _bar_panel(axes, bars, task, heading, line.get(task))
        for axes in grid[len(headings) :]:
            axes.remove()
        headline(figure, title)
        if any(line.get(t) for t in headings):
            figure.legend(
                *grid[[bool(line.get(t)) for t in headings].index(True)].get_legend_handles_labels(),
                loc="outside lower center",
            )
    told = [
        f"{plain(heading)}: " + ", ".join(f"{plain(r['method'])} {_in_words(r.get(task))}" for r in rows)
        for task, heading in headings.items()
    ]
    return show(figure, f"Bars, {plain(title)}, with 95 % intervals. " + "; ".join(told) + ".")


def comparison_picture(records: list) -> bytes:
    """The figure of `comparison_bars` as PNG bytes, for a file.

    records: run records.
    """
    return comparison_bars(records).data


def gains(
    tasks: dict, baseline: str, title: str = "Gains", xlabel: str = "nDCG@10, gain", same_scale: bool = False
) -> Picture:
    """Differences from one baseline as points with 95 % intervals: one panel per task, the baseline a line at 0.

    tasks: {heading: {series: {row: Difference}}}, at most 7 series, each with its own colour and marker. Where a task
        has no Difference for a row, or None, the row is marked as not recorded.
    baseline: what was subtracted, in words.
    title: of the figure.
    xlabel: of every panel.
    same_scale: whether all panels have the same horizontal axis.
    Returns a Picture.
    """
    series, rows = _series_and_rows(tasks)
    with style():
        figure = Figure(figsize=(max(7.5, 2.5 + 3 * len(tasks)), 1.6 + 0.42 * max(3, len(rows))))
        grid = np.ravel(figure.subplots(1, len(tasks), sharey=True, sharex=same_scale))
        for axes, (heading, of) in zip(grid, tasks.items()):
            _gain_panel(axes, of, series, rows, words(baseline, 40))
            axes.set(title=words(heading, 22), xlabel=words(xlabel, 22))
        grid[0].set_yticks(range(len(rows)), [words(row, 24, 2) for row in rows])
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(series) + 1))
        headline(figure, title)
    told = [
        f"{plain(heading)}: "
        + ", ".join(
            f"{plain(row)}{f' ({plain(name)})' if len(series) > 1 else ''} {d.difference:+.3f}"
            for name in series
            for row, d in of.get(name, {}).items()
            if d
        )
        for heading, of in tasks.items()
    ]
    alt = f"Points, {plain(title)}, with 95 % intervals; 0 is {plain(baseline)}. "
    return show(figure, alt + "; ".join(told) + ".")


def bootstrap_distribution(
    differences: ArrayLike,
    observed: float,
    low: float,
    high: float,
    title: str = "Is the difference real?",
    xlabel: str = "Difference",
) -> Picture:
    """Differences between two systems in bootstrap resamples, with the observed one, its interval, and zero.

    differences: (samples,), of resampled queries.
    observed, low, high: as `evaluation.paired_bootstrap` returns them.
    title: of the figure.
    xlabel: what the difference is of.
    Returns a Picture. Raises ValueError where observed lies outside low to high.
    """
    differences = numbers(differences, "differences", ndim=1)
    observed, low, high = (
        float(numbers(value, name, ndim=0)) for name, value in {"observed": observed, "low": low, "high": high}.items()
    )
    if not low <= observed <= high:
        raise ValueError(f"observed is {observed:.4g}, outside of low = {low:.4g} to high = {high:.4g}")
    excluded = low > 0 or high < 0
    verdict = f"The 95 % interval, {short(low)} to {short(high)}, {'excludes' if excluded else 'includes'} 0"
    with style():
        figure = Figure(figsize=(9, 4.4))
        axes = figure.subplots()
        axes.hist(differences, bins=50, color=COLOURS[5], weights=np.full(len(differences), 100 / len(differences)))
        axes.axvspan(low, high, color=COLOURS[0], alpha=0.15, linewidth=0, label="95 % interval")
        axes.axvline(observed, color=COLOURS[0], label=f"Observed: {short(observed)}")
        axes.axvline(0, color="black", linestyle=LINES[1], label="No difference")
        axes.set(xlabel=words(xlabel, 60), ylabel="Share of resamples (%)", title=verdict)
        legend_beside(axes)
        headline(figure, title)
    return show(
        figure,
        f"{plain(title)} – histogram of {len(differences):,} resampled differences, observed "
        f"{short(observed)}. {verdict}; {np.mean(differences <= 0):.1%} of them are not above 0.",
    )


def memory_bars(methods: dict[str, dict[str, float]], title: str = "Memory of one training step") -> Picture:
    """Where the memory of a training goes: one bar per method, stacked from its parts, with its sum at the end.

    methods: {method: {part: megabytes}}, with parts such as weights, gradients, optimiser, activations and logits; at
        most 7 different ones. A part of 0 is left out of its bar.
    title: of the figure.
    Returns a Picture. Raises ValueError for more parts, a negative one, and a method without any memory.
    """
    methods = {m: _parts(parts, m) for m, parts in mapping(methods, "methods").items()}
    names = list(dict.fromkeys(part for parts in methods.values() for part in parts))
    if len(names) > len(COLOURS):
        raise ValueError(f"methods holds {len(names)} different parts, above {len(COLOURS)}; add up the small ones")
    longest = max(sum(parts.values()) for parts in methods.values())
    with style():
        figure = Figure(figsize=(9.5, 1.5 + 0.55 * len(methods)))
        axes = figure.subplots()
        for y, parts in enumerate(methods.values()):
            _stack(axes, y, parts, names, longest)
        axes.set_yticks(range(len(methods)), [words(m, 24, 2) for m in methods])
        axes.set(xlabel="Megabytes", title=words(title, 60), xlim=(0, longest * 1.14), ylim=(len(methods) - 0.5, -0.5))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.tick_params(axis="y", length=0)
        handles = [Patch(color=COLOURS[i], label=words(name, 24, 2)) for i, name in enumerate(names)]
        legend_beside(axes, handles=handles)
    told = "; ".join(
        f"{plain(m)} {sum(parts.values()):,.0f} MB: "
        + ", ".join(f"{plain(name)} {size:,.0f}" for name, size in parts.items())
        for m, parts in methods.items()
    )
    return show(figure, f"Stacked bars, {plain(title)}, in megabytes. {told}.")


# --------------------------------------------------------------------------- parts of the figures


def _series_and_rows(tasks):
    """The names of the series and of the rows, in the order of their first appearance."""
    for heading, of in mapping(tasks, "tasks").items():
        for name, row in mapping(of, f"tasks[{heading!r}]").items():
            mapping(row, f"tasks[{heading!r}][{name!r}]")
            for d in filter(None, row.values()):
                numbers(tuple(d)[:3], f"tasks[{heading!r}][{name!r}]")
    series = dict.fromkeys(name for of in tasks.values() for name in of)
    rows = dict.fromkeys(row for of in tasks.values() for rows in of.values() for row in rows)
    return list(mapping(series, "series", most=len(COLOURS))), list(rows)


def _gain_panel(axes, of, series, rows, baseline):
    axes.axvline(0, color="black", label=baseline)
    for n, name in enumerate(series):
        up = 0.26 * (n - (len(series) - 1) / 2)
        for row, d in of.get(name, {}).items():
            if d:
                y = rows.index(row) + up
                axes.plot((d.low, d.high), (y, y), color=COLOURS[n])
                axes.plot(d.difference, y, MARKERS[n], color=COLOURS[n], markersize=8)
        axes.plot([], [], MARKERS[n] + "-", color=COLOURS[n], label=words(name, 24, 2))
    for y, row in enumerate(rows):
        if not any(of.get(name, {}).get(row) for name in series):
            axes.text(0.5, y, "not recorded", ha="center", va="center", transform=axes.get_yaxis_transform())
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=4)


def _parts(parts, method):
    """{part: megabytes} of one method, checked."""
    parts = {
        str(p): float(numbers(mb, f"methods[{method!r}][{p!r}]", ndim=0))
        for p, mb in mapping(parts, f"methods[{method!r}]").items()
    }
    if min(parts.values()) < 0 or not sum(parts.values()):
        raise ValueError(f"methods[{method!r}] is {parts}; memory is not negative, and some part takes some")
    return {p: mb for p, mb in parts.items() if mb}


def _stack(axes, y, parts, names, longest):
    """One bar of parts, each with its number where there is room, and the sum at its end."""
    left = 0
    for name, size in ((n, parts[n]) for n in names if n in parts):
        colour = COLOURS[names.index(name)]
        axes.barh(y, size, 0.7, left, color=colour, edgecolor="white", linewidth=1.5)
        if size > 0.07 * longest:
            axes.text(left + size / 2, y, f"{size:,.0f}", ha="center", va="center", fontsize=12, color=ink(colour))
        left += size
    axes.text(left + 0.01 * longest, y, f"{left:,.0f}", ha="left", va="center", fontsize=12, fontweight="bold")


def _rows(records, tasks):
    """Rows of the comparison, and {task: heading}."""
    records = list(records)
    if not records:
        raise ValueError("records is empty; run a method first: course compare")
    if isinstance(records[0], dict):
        rows = records
        headings = {k: k for r in rows for k, v in r.items() if isinstance(v, tuple)}
    else:
        rows, headings = table(records), task_titles(records)
    unknown = [t for t in tasks or () if t not in headings]
    if unknown or not headings:
        raise ValueError(f"nobody measured {', '.join(unknown) or 'a task'}; measured: {', '.join(headings) or 'none'}")
    # the rank correlation of an encoder that gives every pair the same cosine is NaN
    rows = [r | {t: None for t in headings if r.get(t) and not np.isfinite(r[t]).all()} for r in rows]
    headings = tasks if isinstance(tasks, dict) else {t: headings[t] for t in tasks or headings}
    return rows, {task: measure(heading) for task, heading in headings.items()}


def _bar_panel(axes, rows, task, heading, bm25):
    ends = [0, *(v for row in (*rows, {task: bm25}) for v in row.get(task) or ())]
    for y, row in enumerate(rows):
        value, low, high = row.get(task) or (0, 0, 0)
        axes.barh(y, value, 0.62, color=COLOURS[y % len(COLOURS)], alpha=0.75)
        axes.plot(
            (low, high), (y, y), color="black", linewidth=2, path_effects=[withStroke(linewidth=4, foreground="white")]
        )
        # values stand in a column of their own on the right, where neither bars nor the line of BM25 reach
        axes.text(
            0.99,
            y,
            f"{value:.2f}" if row.get(task) else "–",
            ha="right",
            va="center",
            fontsize=12,
            transform=axes.get_yaxis_transform(),
        )
    if bm25:
        axes.axvline(bm25[0], color="black", linestyle=LINES[1], label="BM25")
    axes.set_yticks(range(len(rows)), [words(r["method"], 20, 2) for r in rows])
    axes.set(title=words(heading, 22), xlim=(min(ends), max(ends) * 1.4 or 1), ylim=(len(rows) - 0.5, -0.5))
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="y", length=0)


def _in_words(value):
    return "not measured" if value is None else f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"
