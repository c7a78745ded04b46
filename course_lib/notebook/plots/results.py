"""Figures of results: which method is better where, and whether the difference is real."""

import numpy as np
from matplotlib.figure import Figure

from course_lib.notebook.plots.picture import COLOURS, LINES, numbers, panel_grid, plain, short, show, style, words


def comparison_bars(records, tasks=None, title="Results on held-out texts"):
    """Methods on tasks as bars with 95 % intervals; BM25 is a dashed line in each panel, not a bar.

    records: RunRecords, or the rows that `comparison.table` makes of them. tasks: which to show, in this order; a list
    of names or {name: heading}. A method not measured on a task has a dash.
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
        for axes in grid[len(headings):]:
            axes.remove()
        figure.suptitle(words(title, 60))
        if any(line.get(t) for t in headings):
            figure.legend(*grid[[bool(line.get(t)) for t in headings].index(True)].get_legend_handles_labels(),
                          loc="outside lower center")
    told = [f"{plain(heading)}: " + ", ".join(f"{plain(r['method'])} {_in_words(r.get(task))}" for r in rows)
            for task, heading in headings.items()]
    return show(figure, f"Bars, {plain(title)}, with 95 % intervals. " + "; ".join(told) + ".")


def comparison_picture(records):
    """The figure of `comparison_bars` as PNG bytes, for a file."""
    return comparison_bars(records).data


def bootstrap_distribution(differences, observed, low, high, title="Is the difference real?", xlabel="Difference"):
    """Differences between two systems in bootstrap resamples, with the observed one, its interval, and zero.

    differences: (samples,), of resampled queries. observed, low, high: as `evaluation.paired_bootstrap` gives them.
    """
    differences = numbers(differences, "differences", ndim=1)
    observed, low, high = (float(numbers(value, name, ndim=0)) for name, value in
                           {"observed": observed, "low": low, "high": high}.items())
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
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        figure.suptitle(words(title, 60))
    return show(figure, f"{plain(title)} – histogram of {len(differences):,} resampled differences, observed "
                        f"{short(observed)}. {verdict}; {np.mean(differences <= 0):.1%} of them are not above 0.")


# --------------------------------------------------------------------------- parts of the figures


def _rows(records, tasks):
    """Rows of the comparison, and {task: heading}."""
    records = list(records)
    if not records:
        raise ValueError("records is empty; run a method first: course compare")
    if isinstance(records[0], dict):
        rows = records
        headings = {k: k for r in rows for k, v in r.items() if isinstance(v, tuple)}
    else:
        from course_lib.evaluation.comparison import table, task_titles

        rows, headings = table(records), task_titles(records)
    unknown = [t for t in tasks or () if t not in headings]
    if unknown or not headings:
        raise ValueError(f"nobody measured {', '.join(unknown) or 'a task'}; measured: {', '.join(headings) or 'none'}")
    # the rank correlation of an encoder that gives every pair the same cosine is NaN
    rows = [r | {t: None for t in headings if r.get(t) and not np.isfinite(r[t]).all()} for r in rows]
    return rows, tasks if isinstance(tasks, dict) else {t: headings[t] for t in tasks or headings}


def _bar_panel(axes, rows, task, heading, bm25):
    ends = [0, *(v for row in (*rows, {task: bm25}) for v in row.get(task) or ())]
    for y, row in enumerate(rows):
        value, low, high = row.get(task) or (0, 0, 0)
        axes.barh(y, value, 0.62, color=COLOURS[y % len(COLOURS)], alpha=0.75)
        axes.plot((low, high), (y, y), color="black", linewidth=2)
        # values stand in a column of their own on the right, where neither bars nor the line of BM25 reach
        axes.text(0.99, y, f"{value:.2f}" if row.get(task) else "–", ha="right", va="center", fontsize=12,
                  transform=axes.get_yaxis_transform())
    if bm25:
        axes.axvline(bm25[0], color="black", linestyle=LINES[1], label="BM25")
    axes.set_yticks(range(len(rows)), [words(r["method"], 20, 2) for r in rows])
    axes.set(title=words(heading, 22), xlim=(min(ends), max(ends) * 1.4 or 1), ylim=(len(rows) - 0.5, -0.5))
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="y", length=0)


def _in_words(value):
    return "not measured" if value is None else f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"
