"""Figures of texts and tokens: which are similar, what attends to what, how numbers are distributed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from course_lib.notebook.plots.checks import mapping, numbers, same_length
from course_lib.notebook.plots.labels import plain, quote, words
from course_lib.notebook.plots.layout import headline, ink, legend_beside
from course_lib.notebook.plots.picture import COLOURS, LINES, Picture, show, style


def similarity_heatmap(labels: Sequence[str], matrix: ArrayLike, title: str = "Cosine similarity") -> Picture:
    """Cosines between texts as a heat map; of at most eight texts, they are written in the cells.

    labels: n texts.
    matrix: (n, n) cosines; rows and columns are the same texts, perhaps two views of them.
    title: of the figure.
    Returns a Picture. Raises ValueError for another shape.
    """
    matrix = numbers(matrix, "matrix", ndim=2)
    n = same_length(labels, matrix, "labels")
    with style():
        cell = min(0.75, 5 / n)  # inches
        figure = Figure(figsize=(3.9 + cell * n + (n > 10), 1.2 + cell * n))
        axes = figure.subplots()
        shown = axes.imshow(matrix, vmin=min(0, matrix.min()), vmax=max(1, matrix.max()), aspect="auto")
        width, lines = (24, 2) if n <= 10 else (34, 1)
        named = [words(f"{i} {t}", width, lines) for i, t in enumerate(labels, 1)]
        _token_axes(axes, named, range(1, n + 1), n)
        if n <= 8:
            _write_cells(axes, shown, matrix)
        figure.colorbar(shown, ax=axes, label="Cosine", shrink=0.9)
        headline(figure, title)
    return show(figure, f"Heat map of {plain(title)} for {n} texts" + _cosines_in_words(labels, matrix))


def attention_map(tokens: Sequence[str], weights: ArrayLike, title: str = "Attention of one head") -> Picture:
    """What one attention head looks at: row i shows how token i spreads its attention over all tokens.

    tokens: T strings.
    weights: (T, T), after the softmax: none negative, each row sums to 1.
    title: of the figure.
    Returns a Picture. Raises ValueError for another shape and negative weights.
    """
    weights = numbers(weights, "weights", ndim=2)
    n = same_length(tokens, weights, "tokens")
    if weights.min() < 0:
        raise ValueError(f"weights holds {weights.min():.3g}; weights are shares: take them after the softmax")
    with style():
        cell = min(0.45, 5.5 / n)  # inches
        figure = Figure(figsize=(2.9 + cell * n, 2 + cell * n))
        axes = figure.subplots()
        shown = axes.imshow(weights, vmin=0, aspect="auto")
        _token_axes(axes, [words(t, 16, 1) for t in tokens], [words(t, 16, 1) for t in tokens], n, rotation=90)
        axes.set(xlabel="… attends to this token", ylabel="This token …")
        figure.colorbar(shown, ax=axes, label="Share of attention", shrink=0.9)
        headline(figure, title)
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    most = weights.mean(0).argmax()
    return show(
        figure,
        f"{plain(title)} over {n} tokens. The largest share is {weights[row, column]:.2f}, of "
        f"{quote(tokens[row])} on {quote(tokens[column])}; {quote(tokens[most])} receives most, "
        f"{weights[:, most].mean():.2f} on average.",
    )


def histogram(groups: dict, xlabel: str, title: str = "Distribution", of: str = "values", bins: int = 30) -> Picture:
    """How numbers are distributed: one outline per group, with its mean.

    groups: {name: (N,) numbers}, or {panel: {name: (N,) numbers}}, drawn one below the other on one scale; at most 7
        names per panel.
    xlabel, title: of the figure.
    of: what is counted, in the plural; the shares of a group add up to 100 %.
    bins: over the range of all numbers.
    Returns a Picture.
    """
    panels = _histogram_panels(groups)
    values = np.concatenate([v for part in panels.values() for v in part.values()])
    room = 1e-3 * (np.ptp(values) or 1)
    edges = np.linspace(values.min() - room, values.max() + room, bins + 1)
    with style():
        figure = Figure(figsize=(9, 1.2 + 2.6 * len(panels)))
        for axes, (panel, part) in zip(np.ravel(figure.subplots(len(panels), sharex=True)), panels.items()):
            for i, (name, these) in enumerate(part.items()):
                _outline(axes, these, edges, i, f"{words(name, 26, 2)}: mean {these.mean():.2f}")
            axes.set(ylabel=words(f"Share of {of} (%)", 22), title=words(panel, 60))
            axes.locator_params(axis="y", nbins=4)
            legend_beside(axes)
        axes.set_xlabel(words(xlabel, 60))
        headline(figure, title)
    told = "; ".join(
        f"{plain(p)}{': ' if p else ''}"
        + ", ".join(
            f"{plain(g)} mean {v.mean():.2f}, 5 to 95 % from {np.quantile(v, 0.05):.2f} to {np.quantile(v, 0.95):.2f}"
            for g, v in part.items()
        )
        for p, part in panels.items()
    )
    return show(figure, f"Histogram of {plain(xlabel)}, {plain(title)}. {told}.")


def cosine_histogram(groups: dict, title: str = "Cosines of pairs", bins: int = 30) -> Picture:
    """How cosines are distributed: the `histogram` of groups of pairs.

    groups, title, bins: as `histogram` takes them.
    """
    return histogram(groups, "Cosine", title, "pairs", bins)


# --------------------------------------------------------------------------- parts of the figures


def _token_axes(axes, rows, columns, n, rotation=0):
    """Label every row and column, or every k-th where there are too many to read."""
    every = -(-n // 26)
    axes.set_yticks(range(0, n, every), list(rows)[::every])
    axes.set_xticks(range(0, n, every), list(columns)[::every], rotation=rotation)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _cosines_in_words(labels, matrix):
    """The texts where they are few, the most and the least similar pair, and the means."""
    n = len(labels)
    named = f": {'; '.join(map(quote, labels))}" if n <= 8 else ""
    others = [
        (matrix[i, j], f"{quote(labels[i])} and {quote(labels[j])}") for i in range(n) for j in range(n) if i != j
    ]
    if not others:
        return f"{named}; its cosine with itself is {matrix[0, 0]:.2f}."
    (low, dissimilar), (high, similar) = (f(others, key=lambda o: o[0]) for f in (min, max))
    return (
        f"{named}. Highest {high:.2f} between {similar}; lowest {low:.2f} between {dissimilar}; mean of different "
        f"texts {np.mean([o[0] for o in others]):.2f}, of the diagonal {np.diag(matrix).mean():.2f}."
    )


def _write_cells(axes, shown, matrix):
    for (row, column), value in np.ndenumerate(matrix):
        colour = ink(shown.cmap(shown.norm(value)))
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)


def _histogram_panels(groups):
    """{panel: {name: (N,) numbers}}; one panel without a name where groups has no panels."""
    panels = mapping(groups, "groups")
    if not any(isinstance(part, dict) for part in panels.values()):
        panels = {"": panels}
    return {
        panel: {
            name: numbers(cosines, f"groups[{name!r}]", ndim=1)
            for name, cosines in mapping(part, f"groups[{panel!r}]" if panel else "groups", 7).items()
        }
        for panel, part in panels.items()
    }


def _outline(axes, values, edges, i, label):
    weights = np.full(len(values), 100 / len(values))
    axes.hist(values, edges, weights=weights, color=COLOURS[i], alpha=0.2)
    axes.hist(
        values,
        edges,
        weights=weights,
        histtype="step",
        color=COLOURS[i],
        linewidth=2.2,
        linestyle=LINES[i],
        label=label,
    )
    axes.axvline(values.mean(), color=COLOURS[i], linewidth=2, linestyle=LINES[i])
