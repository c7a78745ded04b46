"""Figures that explain: one style, readable at half size, each with a text that says what it shows.

Every function returns a Picture, which a notebook shows as the value of a cell. Its alt text, `picture.alt`, is
computed from the same data as the picture. Text from a corpus is drawn as it is: `$` starts no formula.
"""

import base64
import html
import io
import textwrap
from dataclasses import asdict, dataclass, is_dataclass

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from matplotlib import cycler
from matplotlib.figure import Figure

# Okabe and Ito (2008), told apart by colour-blind readers; without their yellow, which is too pale on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.5, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 2)))
GREY = "#595959"
SHORTEST_ALT = 20  # characters; shorter texts name a figure and do not say what it shows

STYLE = {
    # opaque, for JupyterLab's dark theme
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.facecolor": "white",
    "figure.dpi": 100, "savefig.dpi": 100, "figure.constrained_layout.use": True,
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 13, "text.parse_math": False,
    "axes.titlesize": 13, "axes.labelsize": 13, "figure.titlesize": 15, "axes.titlelocation": "left",
    "xtick.labelsize": 12, "ytick.labelsize": 12, "legend.fontsize": 12, "legend.frameon": False,
    "lines.linewidth": 2.2, "lines.markersize": 7, "axes.linewidth": 1, "axes.spines.top": False,
    "axes.spines.right": False, "axes.prop_cycle": cycler(color=COLOURS), "axes.axisbelow": True, "image.cmap": "Blues",
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure: `data`, PNG bytes, and `alt`, what it shows in words.

    It goes into a notebook as HTML, because JupyterLab 4 and nbconvert 7 drop the alt text of an image output.
    """

    data: bytes
    alt: str

    def _repr_html_(self):
        source = base64.b64encode(self.data).decode()
        return f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{source}">'

    def __repr__(self):
        return self.alt


def style():
    """A context in which figures have the course's style: `with plots.style(): figure, axes = plt.subplots()`."""
    return matplotlib.rc_context(STYLE)


def show(figure, alt):
    """The figure as a Picture with its alt text; the figure is closed.

    alt: what a reader who does not see the figure should know, with its key numbers.
    Returns a Picture, shown when it is a cell's last value. Raises ValueError for an alt text under 20 characters.
    """
    alt = " ".join(str(alt or "").split())
    if len(alt) < SHORTEST_ALT:
        raise ValueError(f"alt is {alt!r}; say in a sentence what the figure shows, with its key numbers")
    drawn, file = io.BytesIO(), io.BytesIO()
    with style():
        figure.savefig(drawn, format="png")
    plt.close(figure)
    # 256 colours look the same here and take a third of the bytes, which a committed notebook keeps
    PIL.Image.open(drawn).convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE).save(file, "png", optimize=True)
    return Picture(file.getvalue(), alt)


# --------------------------------------------------------------------------- sentences and tokens


def similarity_heatmap(labels, matrix, title="Cosine similarity"):
    """Cosines between texts as a heat map, written in the cells where they are at most eight.

    labels: n texts. matrix: (n, n) cosines; rows and columns are the same texts, perhaps two views of them.
    """
    matrix = _numbers(matrix, "matrix", ndim=2)
    n = _same_length(labels, matrix, "labels")
    with style():
        cell = min(0.75, 5 / n)  # inches
        figure = Figure(figsize=(3.9 + cell * n + (n > 10), 1.2 + cell * n))
        axes = figure.subplots()
        shown = axes.imshow(matrix, vmin=min(0, matrix.min()), vmax=max(1, matrix.max()), aspect="auto")
        width, lines = (24, 2) if n <= 10 else (34, 1)
        named = [_words(f"{i} {t}", width, lines) for i, t in enumerate(labels, 1)]
        _token_axes(axes, named, range(1, n + 1), n)
        if n <= 8:
            _write_cells(axes, shown, matrix)
        figure.colorbar(shown, ax=axes, label="Cosine", shrink=0.9)
        figure.suptitle(_words(title, 60))
    return show(figure, f"Heat map of {_plain(title)} for {n} texts" + _cosines_in_words(labels, matrix))


def attention_map(tokens, weights, title="Attention of one head"):
    """What one attention head looks at: row i shows how token i spreads its attention over all tokens.

    tokens: T strings. weights: (T, T), none negative, rows summing to 1.
    """
    weights = _numbers(weights, "weights", ndim=2)
    n = _same_length(tokens, weights, "tokens")
    if weights.min() < 0:
        raise ValueError(f"weights holds {weights.min():.3g}; weights are shares: take them after the softmax")
    with style():
        cell = min(0.45, 5.5 / n)  # inches
        figure = Figure(figsize=(2.9 + cell * n, 2 + cell * n))
        axes = figure.subplots()
        shown = axes.imshow(weights, vmin=0, aspect="auto")
        _token_axes(axes, [_words(t, 16, 1) for t in tokens], [_words(t, 16, 1) for t in tokens], n, rotation=90)
        axes.set(xlabel="… attends to this token", ylabel="This token …")
        figure.colorbar(shown, ax=axes, label="Share of attention", shrink=0.9)
        figure.suptitle(_words(title, 60))
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    most = weights.mean(0).argmax()
    return show(figure, f"{_plain(title)} over {n} tokens. The largest share is {weights[row, column]:.2f}, of "
                        f"{_quote(tokens[row])} on {_quote(tokens[column])}; {_quote(tokens[most])} receives most, "
                        f"{weights[:, most].mean():.2f} on average.")


def cosine_histogram(groups, title="Cosines of pairs", bins=30):
    """How cosines are distributed: one outline a group of pairs, with its mean.

    groups: {name: (N,) cosines}; or {panel: {name: (N,) cosines}}, drawn one under the other on one scale.
    """
    panels = _histogram_panels(groups)
    values = np.concatenate([v for part in panels.values() for v in part.values()])
    edges = np.linspace(values.min() - 1e-3, values.max() + 1e-3, bins + 1)
    with style():
        figure = Figure(figsize=(9, 1.2 + 2.6 * len(panels)))
        for axes, (panel, part) in zip(np.ravel(figure.subplots(len(panels), sharex=True)), panels.items()):
            for i, (name, cosines) in enumerate(part.items()):
                _outline(axes, cosines, edges, i, f"{_words(name, 26, 2)}: mean {cosines.mean():.2f}")
            axes.set(ylabel="Share of pairs (%)", title=_words(panel, 60))
            axes.locator_params(axis="y", nbins=4)
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set_xlabel("Cosine")
        figure.suptitle(_words(title, 60))
    told = "; ".join(f"{_plain(p)}{': ' if p else ''}" + ", ".join(
        f"{_plain(g)} mean {v.mean():.2f}, 5 to 95 % from {np.quantile(v, 0.05):.2f} to {np.quantile(v, 0.95):.2f}"
        for g, v in part.items()) for p, part in panels.items())
    return show(figure, f"Histogram, {_plain(title)}. {told}.")


def sentence_map(panels, groups, texts=None, title="Map of texts"):
    """Embeddings flattened to their two principal components, one panel an encoder, one colour and marker a group.

    panels: {title: (N, d) embeddings of the same N texts}, at most 3, each centred. groups: N names, at most 7
    different. texts: N texts; the most central one of each group is numbered and written below.
    Each panel says for how many texts the nearest other one, by cosine in all d dimensions, is of the same group.
    """
    panels = {p: _numbers(x, f"panels[{p!r}]", ndim=2) for p, x in _mapping(panels, "panels", 3).items()}
    groups = [str(g) for g in groups]
    names, told = _check_map(panels, groups, texts), []
    central = _most_central(next(iter(panels.values())), groups, names) if texts is not None else {}
    width = max(5.5, min(10.5, 4.9 * len(panels)))
    with style():
        figure = Figure(figsize=(width, 5.6 + 0.25 * len(central)))
        for axes, (panel, x) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items()):
            share, variance = _same_group_share(x, groups), _scatter(axes, x, groups, names, central)
            axes.set_title(f"{_words(panel, 28, 2)}\nnearest of the same group: {share:.0%}")
            told.append(f"{_plain(panel)}: the nearest text is of the same group for {share:.0%}, the two components "
                        f"hold {variance:.0%} of the variance")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", title_fontsize=15,
                      title=_words(title, int(6 * width)), ncols=int(width / (0.9 + 0.1 * max(map(len, names)))) or 1)
        figure.supxlabel("\n".join(f"{n}  {_words(texts[i], int(9 * width), 1)}" for n, i in central.items()),
                         x=0.02, ha="left", fontsize=12)
    return show(figure, f"{_plain(title)}: {len(groups)} texts in {len(names)} groups, "
                        f"{', '.join(map(_plain, names))}. {'; '.join(told)}.")


# --------------------------------------------------------------------------- training


def curves(series, ylabel, xlabel="Step", title="", smooth=1, references=None):
    """Lines by step; with several seeds their mean, in a band from the lowest to the highest.

    series: {name: [(step, value), …]}, or {name: [that of one seed, that of the next, …]}, with the same steps in each
    seed; at most 7. smooth: values averaged around each point. references: {name: value}, drawn as level lines.
    """
    read = {name: _seeds(points, f"series[{name!r}]") for name, points in _mapping(series, "series", 7).items()}
    references = {n: float(_numbers(v, f"references[{n!r}]", ndim=0)) for n, v in (references or {}).items()}
    with style():
        figure = Figure(figsize=(9, 4.8))
        axes = figure.subplots()
        for i, (name, (steps, values)) in enumerate(read.items()):
            _line(axes, steps, values, i, _words(name, 26, 2), smooth)
        for i, (name, value) in enumerate(references.items()):
            axes.axhline(value, color=GREY, linestyle=LINES[1:][i % 6], label=f"{_words(name, 26, 2)}: {_short(value)}")
        axes.locator_params(axis="x", integer=all((steps == steps.round()).all() for steps, _ in read.values()))
        axes.set(xlabel=xlabel, ylabel=_words(ylabel, 40), title=_words(title, 60))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    told = [_line_in_words(name, steps, values) for name, (steps, values) in read.items()]
    told += [f"level line {_plain(n)} at {_short(v)}" for n, v in references.items()]
    return show(figure, f"{_plain(title) or 'Lines'}: {_plain(ylabel)} by {_plain(xlabel)}. " + "; ".join(told) + ".")


def training_curves(record, title="Training"):
    """Loss, gradient norm and every evaluation of a training, each in a panel of its own.

    record: a TrainingRecord, or the same as a dict (RunRecord.training). Steps whose value is not finite are left out
    and counted in the panel's title. Raises ValueError for a record without steps.
    """
    record = asdict(record) if is_dataclass(record) else _mapping(record, "record")
    if missing := [k for k in ("steps", "evaluations") if k not in record]:
        raise ValueError(f"record has no {missing[0]!r}; pass a TrainingRecord, or the `training` of a RunRecord")
    panels = {"Loss": ("loss", record["steps"]), "Gradient norm": ("gradient_norm", record["steps"])}
    measured = [k for k in (record["evaluations"] or [{}])[0] if k not in ("step", "seconds")]
    panels |= {k: (k, record["evaluations"]) for k in measured}
    rows, columns = _grid(len(panels))
    told = []
    with style():
        figure = Figure(figsize=(1.5 + 3 * columns, 0.7 + 3 * rows))
        grid = np.ravel(figure.subplots(rows, columns))
        for axes, (name, (key, entries)) in zip(grid, panels.items()):
            told.append(_training_panel(axes, name, [(e["step"], e[key]) for e in entries if key in e]))
        for axes in grid[len(panels):]:
            axes.remove()
        figure.suptitle(_words(title, 60))
    return show(figure, f"{_plain(title)}, {len(record['steps'])} steps. " + "; ".join(told) + ".")


def alignment_uniformity(points, title="Alignment and uniformity"):
    """Where encoders stand: alignment of positive pairs against uniformity of all, lower is better on both axes.

    points: {name: (alignment, uniformity)}, or {name: [(alignment, uniformity), …]} in the order of training, drawn as
    a path from the large hollow marker to the filled one; at most 7 names.
    """
    paths = {name: _path(p, f"points[{name!r}]") for name, p in _mapping(points, "points", 7).items()}
    with style():
        figure = Figure(figsize=(9, 5))
        axes = figure.subplots()
        for i, (name, path) in enumerate(paths.items()):
            axes.plot(path[:, 1], path[:, 0], color=COLOURS[i], linestyle=LINES[i])
            if len(path) > 1:
                axes.plot(*path[0, ::-1], MARKERS[i], color=COLOURS[i], fillstyle="none", markersize=17, mew=2)
            axes.plot(*path[-1, ::-1], MARKERS[i], color=COLOURS[i], markersize=11, label=_words(name, 26, 2))
        axes.margins(0.12)
        axes.set(xlabel="Uniformity   (← better: spread out)", ylabel="Alignment   (← better: positives close)")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5),
                    title="Hollow: the start" if any(len(p) > 1 for p in paths.values()) else None)
        figure.suptitle(_words(title, 60))
    at = lambda p: f"alignment {p[0]:.2f}, uniformity {p[1]:.2f}"  # noqa: E731
    told = [f"{_plain(n)}: {at(p[0])}" + (f", then {at(p[-1])}" if len(p) > 1 else "") for n, p in paths.items()]
    return show(figure, f"{_plain(title)}, both better when lower. " + "; ".join(told) + ".")


# --------------------------------------------------------------------------- results


def comparison_bars(records, tasks=None, title="Results on held-out texts"):
    """Methods on tasks as bars with 95 % intervals; BM25 is a dashed line in each panel, not a bar.

    records: RunRecords, or the rows that `comparison.table` makes of them. tasks: which to show, in this order; a list
    of names or {name: heading}. A method not measured on a task has a dash.
    """
    rows, headings = _rows(records, tasks)
    bars = [r for r in rows if r["method"] != "BM25"] or rows
    line = next((r for r in rows if r not in bars), {})
    down, across = _grid(len(headings))
    with style():
        figure = Figure(figsize=(2.4 + 2.7 * across, 0.9 + (0.9 + 0.47 * len(bars)) * down))
        grid = np.ravel(figure.subplots(down, across, sharey=True))
        for axes, (task, heading) in zip(grid, headings.items()):
            _bar_panel(axes, bars, task, heading, line.get(task))
        for axes in grid[len(headings):]:
            axes.remove()
        figure.suptitle(_words(title, 60))
        if any(line.get(t) for t in headings):
            figure.legend(*grid[[bool(line.get(t)) for t in headings].index(True)].get_legend_handles_labels(),
                          loc="outside lower center")
    told = [f"{_plain(heading)}: " + ", ".join(f"{_plain(r['method'])} {_in_words(r.get(task))}" for r in rows)
            for task, heading in headings.items()]
    return show(figure, f"Bars, {_plain(title)}, with 95 % intervals. " + "; ".join(told) + ".")


def comparison_picture(records):
    """The figure of `comparison_bars` as PNG bytes, for a file."""
    return comparison_bars(records).data


def bootstrap_distribution(differences, observed, low, high, title="Is the difference real?", xlabel="Difference"):
    """Differences between two systems in bootstrap resamples, with the observed one, its interval, and zero.

    differences: (samples,), of resampled queries. observed, low, high: as `evaluation.paired_bootstrap` gives them.
    """
    differences = _numbers(differences, "differences", ndim=1)
    observed, low, high = (float(_numbers(value, name, ndim=0)) for name, value in
                           {"observed": observed, "low": low, "high": high}.items())
    if not low <= observed <= high:
        raise ValueError(f"observed is {observed:.4g}, outside of low = {low:.4g} to high = {high:.4g}")
    excluded = low > 0 or high < 0
    verdict = f"The 95 % interval, {_short(low)} to {_short(high)}, {'excludes' if excluded else 'includes'} 0"
    with style():
        figure = Figure(figsize=(9, 4.4))
        axes = figure.subplots()
        axes.hist(differences, bins=50, color=COLOURS[5], weights=np.full(len(differences), 100 / len(differences)))
        axes.axvspan(low, high, color=COLOURS[0], alpha=0.15, linewidth=0, label="95 % interval")
        axes.axvline(observed, color=COLOURS[0], label=f"Observed: {_short(observed)}")
        axes.axvline(0, color="black", linestyle=LINES[1], label="No difference")
        axes.set(xlabel=_words(xlabel, 60), ylabel="Share of resamples (%)", title=verdict)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        figure.suptitle(_words(title, 60))
    return show(figure, f"{_plain(title)} – histogram of {len(differences):,} resampled differences, observed "
                        f"{_short(observed)}. {verdict}; {np.mean(differences <= 0):.1%} of them are not above 0.")


def pipeline(steps, title=""):
    """Boxes joined by arrows: how one thing becomes the next.

    steps: 2 to 10 pairs (title, subtitle); more than five go on in a second row, from right to left.
    """
    steps = [(str(a), str(b)) for a, b in steps]
    if not 2 <= len(steps) <= 10:
        raise ValueError(f"steps holds {len(steps)} boxes; a figure that can be read has 2 to 10")
    boxes = [(_words(a, 13, 3), _words(b, 16, 4)) for a, b in steps]
    columns = len(steps) if len(steps) <= 5 else -(-len(steps) // 2)
    height, rows = 0.4 + max(_height(a) + _height(b) for a, b in boxes), -(-len(steps) // columns)
    with style():
        figure = Figure(figsize=(2.1 * columns, (height + 0.5) * rows + 0.45 * bool(title)))
        axes = figure.subplots()
        axes.set(xlim=(0, 2.1 * columns), ylim=((height + 0.5) * rows, 0))
        axes.axis("off")
        places = [(2.1 * (c if r % 2 == 0 else columns - 1 - c) + 1.05, (height + 0.5) * r + height / 2 + 0.25)
                  for r, c in (divmod(i, columns) for i in range(len(steps)))]
        for i, ((x, y), (head, below)) in enumerate(zip(places, boxes)):
            _box(axes, x, y, height, head, below, places[i - 1] if i else None)
        figure.suptitle(_words(title, 70))
    told = " → ".join(f"{_plain(a)} ({_plain(b)})" if b else _plain(a) for a, b in steps)
    return show(figure, f"{_plain(title) or 'Steps'}, each leading to the next: {told}.")


# --------------------------------------------------------------------------- parts of the figures


def _grid(panels):
    """Rows and columns of so many panels."""
    columns = 2 if panels == 4 else min(3, panels)
    return -(-panels // columns), columns


def _token_axes(axes, rows, columns, n, rotation=0):
    """Name every row and column, or every k-th where there are too many to read."""
    every = -(-n // 26)
    axes.set_yticks(range(0, n, every), list(rows)[::every])
    axes.set_xticks(range(0, n, every), list(columns)[::every], rotation=rotation)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _cosines_in_words(labels, matrix):
    """The texts, where they are few, the most and the least similar two, and the means."""
    n = len(labels)
    named = f": {'; '.join(map(_quote, labels))}" if n <= 8 else ""
    others = [(matrix[i, j], f"{_quote(labels[i])} and {_quote(labels[j])}")
              for i in range(n) for j in range(n) if i != j]
    if not others:
        return f"{named}; its cosine with itself is {matrix[0, 0]:.2f}."
    (low, dissimilar), (high, similar) = (f(others, key=lambda o: o[0]) for f in (min, max))
    return (f"{named}. Highest {high:.2f} between {similar}; lowest {low:.2f} between {dissimilar}; mean of different "
            f"texts {np.mean([o[0] for o in others]):.2f}, of the diagonal {np.diag(matrix).mean():.2f}.")


def _write_cells(axes, shown, matrix):
    for (row, column), value in np.ndenumerate(matrix):
        dark = np.dot(shown.cmap(shown.norm(value))[:3], (0.299, 0.587, 0.114)) < 0.55
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if dark else "black")


def _histogram_panels(groups):
    """{panel: {name: (N,) cosines}}, of one panel without a name where none was given."""
    panels = _mapping(groups, "groups")
    if not any(isinstance(part, dict) for part in panels.values()):
        panels = {"": panels}
    return {panel: {name: _numbers(cosines, f"groups[{name!r}]", ndim=1)
                    for name, cosines in _mapping(part, f"groups[{panel!r}]" if panel else "groups", 7).items()}
            for panel, part in panels.items()}


def _outline(axes, values, edges, i, label):
    weights = np.full(len(values), 100 / len(values))
    axes.hist(values, edges, weights=weights, color=COLOURS[i], alpha=0.2)
    axes.hist(values, edges, weights=weights, histtype="step", color=COLOURS[i], linewidth=2.2, linestyle=LINES[i],
              label=label)
    axes.axvline(values.mean(), color=COLOURS[i], linewidth=2, linestyle=LINES[i])


def _check_map(panels, groups, texts):
    """The different groups, in the order of their first texts; ValueError for what does not fit together."""
    for name, x in panels.items():
        if len(x) != len(groups) or min(x.shape) < 2:
            raise ValueError(f"panels[{name!r}] has shape {x.shape} for {len(groups)} groups; pass one row a text, "
                             "at least 2 rows and 2 columns")
    if texts is not None and len(texts) != len(groups):
        raise ValueError(f"texts holds {len(texts)} for {len(groups)} groups; pass one text for each row, or none")
    if len(set(groups)) > len(COLOURS):
        raise ValueError(f"groups holds {len(set(groups))} different names; at most {len(COLOURS)} can be told apart")
    return list(dict.fromkeys(groups))


def _unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _most_central(x, groups, names):
    """{number from 1: index of the text whose cosine with the mean of its group is highest}."""
    x, central = _unit(x - x.mean(0)), {}
    for number, name in enumerate(names, 1):
        mine = np.flatnonzero([g == name for g in groups])
        central[number] = mine[(x[mine] @ x[mine].mean(0)).argmax()]
    return central


def _same_group_share(x, groups):
    cosines = _unit(x) @ _unit(x).T
    np.fill_diagonal(cosines, -np.inf)
    return float(np.mean([groups[j] == g for g, j in zip(groups, cosines.argmax(1))]))


def _scatter(axes, x, groups, names, central):
    """Points of one panel; returns the share of the variance that the two components hold."""
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=0)
    flat = pca.fit_transform(x)
    for i, name in enumerate(names):
        mine = flat[[g == name for g in groups]]
        axes.scatter(*mine.T, s=45, color=COLOURS[i], marker=MARKERS[i], alpha=0.75, linewidths=0,
                     label=_words(name, 24, 2))
    for number, i in central.items():
        axes.annotate(str(number), flat[i], ha="center", va="center", fontsize=12, fontweight="bold", bbox={
            "boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": COLOURS[number - 1], "linewidth": 2})
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    return float(pca.explained_variance_ratio_.sum())


def _path(points, name):
    """(n, 2) of one pair of numbers or a list of pairs."""
    path = np.atleast_2d(_numbers(points, name))
    if path.ndim != 2 or path.shape[1] != 2:
        raise ValueError(f"{name} has shape {path.shape}; pass (alignment, uniformity), or a list of such pairs")
    return path


def _seeds(points, name):
    """Steps (n,) and values (seeds, n) of [(step, value), …] or a list of such lists."""
    try:
        points = np.asarray(points, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} cannot be read; pass [(step, value), …], or equally long lists of those") from None
    points = _numbers(points, name)
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
    return (f"{_plain(name)}{seeds} from {_short(mean[0])} at {steps[0]:g} to {_short(mean[-1])} at {steps[-1]:g}, "
            f"lowest {_short(mean.min())}, highest {_short(mean.max())}")


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
    axes.set(title=_words(name + lost, 26), xlabel="Step")
    return _line_in_words(name + lost, steps, values[None])


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
    axes.set_yticks(range(len(rows)), [_words(r["method"], 20, 2) for r in rows])
    axes.set(title=_words(heading, 22), xlim=(min(ends), max(ends) * 1.4 or 1), ylim=(len(rows) - 0.5, -0.5))
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="y", length=0)


def _in_words(value):
    return "not measured" if value is None else f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"


def _height(text):
    """Inches that a label of a box takes."""
    return 0.215 * len(text.splitlines())


def _box(axes, x, y, height, head, below, before):
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(FancyBboxPatch((x - 0.85, y - height / 2), 1.7, height, boxstyle="round,pad=0,rounding_size=0.08",
                                  facecolor="#EAF3FA", edgecolor=COLOURS[0], linewidth=2))
    top = y - (_height(head) + _height(below)) / 2
    axes.text(x, top, head, ha="center", va="top", fontweight="bold", fontsize=13)
    axes.text(x, top + _height(head), below, ha="center", va="top", fontsize=12)
    if before:
        dx, dy = np.sign(x - before[0]), np.sign(y - before[1])
        start = (before[0] + 0.85 * dx, before[1]) if dx else (before[0], before[1] + height / 2)
        end = (x - 0.85 * dx, y) if dx else (x, y - height / 2 * dy)
        arrow = {"arrowstyle": "-|>", "linewidth": 2, "color": "black", "shrinkA": 2, "shrinkB": 2}
        axes.annotate("", end, start, arrowprops=arrow)


# --------------------------------------------------------------------------- words and numbers


def _words(text, width, lines=None):
    """A text as a label: wrapped, cut after so many lines; matplotlib would leave one with a first underscore out."""
    wrapped = textwrap.wrap(" ".join(str(text).split()), width, max_lines=lines, placeholder=" …")
    label = "\n".join(wrapped)
    return "\u200a" + label if label.startswith("_") else label


def _plain(text):
    return " ".join(str(text).split())


def _quote(text):
    return f"“{textwrap.shorten(str(text), 60, placeholder=' …')}”"


def _short(value):
    """Three significant digits, never in powers of ten."""
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def _numbers(values, name, ndim=None):
    """Values as a float array, finite, not empty and of so many dimensions; else a ValueError that names them."""
    try:
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array of numbers ({error})") from None
    if values.size == 0 or (ndim is not None and values.ndim != ndim):
        raise ValueError(f"{name} has shape {values.shape}; it must have {ndim if ndim is not None else 'some'} "
                         "dimensions and not be empty")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds {np.count_nonzero(~np.isfinite(values))} values that are NaN or infinite; "
                         "a training that diverged gives such numbers")
    return values


def _mapping(values, name, most=None):
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{name} is {values!r:.60}; pass a dict with at least one entry")
    if most and len(values) > most:
        raise ValueError(f"{name} holds {len(values)} entries; at most {most} can be told apart in one figure")
    return values


def _same_length(labels, matrix, name):
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(f"{name} holds {len(labels)} for a matrix of shape {matrix.shape}; pass one a row and column")
    return len(labels)
