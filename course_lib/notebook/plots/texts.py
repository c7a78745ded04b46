"""Figures of texts and tokens: what is similar, what attends to what, how numbers of pairs spread, where texts lie."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath

from course_lib.notebook.plots.picture import (
    COLOURS,
    GREY,
    LINES,
    MARKERS,
    PALE,
    headline,
    ink,
    legend_beside,
    mapping,
    numbers,
    plain,
    quote,
    same_length,
    show,
    style,
    words,
)

NOISE = {
    "kept": (PALE, "black", "normal"),
    "deleted": ("#E4E4E4", GREY, "normal"),
    "replaced": ("#FBDDC2", "black", "bold"),
}  # face, letters, their weight


def similarity_heatmap(labels, matrix, title="Cosine similarity"):
    """Cosines between texts as a heat map, written in the cells where they are at most eight.

    labels: n texts. matrix: (n, n) cosines; rows and columns are the same texts, perhaps two views of them.
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


def attention_map(tokens, weights, title="Attention of one head"):
    """What one attention head looks at: row i shows how token i spreads its attention over all tokens.

    tokens: T strings. weights: (T, T), none negative, rows summing to 1.
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


def histogram(groups, xlabel, title="Distribution", of="values", bins=30):
    """How numbers are distributed: one outline a group, with its mean.

    groups: {name: (N,) numbers}; or {panel: {name: (N,) numbers}}, drawn one under the other on one scale. of: what
    they are numbers of, in the plural; a group's shares of these add up to 100 %.
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


def cosine_histogram(groups, title="Cosines of pairs", bins=30):
    """How cosines are distributed: the `histogram` of groups of pairs."""
    return histogram(groups, "Cosine", title, "pairs", bins)


def sentence_map(panels, groups, texts=None, title="Map of texts"):
    """Embeddings flattened to their two principal components, one panel an encoder, one colour and marker a group.

    panels: {title: (N, d) embeddings of the same N texts}, at most 3, each centred. groups: N names, at most 7
    different. texts: N texts; the most central one of each group is numbered and written below.
    Each panel says for how many texts the nearest other one, by cosine in all d dimensions, is of the same group.
    """
    panels = {p: numbers(x, f"panels[{p!r}]", ndim=2) for p, x in mapping(panels, "panels", 3).items()}
    groups = [str(g) for g in groups]
    names, told = _check_map(panels, groups, texts), []
    central = _most_central(next(iter(panels.values())), groups, names) if texts is not None else {}
    width = max(7, min(10.5, 4.9 * len(panels)))
    with style():
        figure = Figure(figsize=(width, 5.6 + 0.25 * len(central)))
        for axes, (panel, x) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items()):
            share, variance = _same_group_share(x, groups), _scatter(axes, x, groups, names, central)
            axes.set_title(f"{words(panel, 28, 2)}\nnearest of the same group: {share:.0%}")
            told.append(
                f"{plain(panel)}: the nearest text is of the same group for {share:.0%}, the two components "
                f"hold {variance:.0%} of the variance"
            )
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside upper center",
            title_fontsize=15,
            title=words(title, int(6 * width)),
            ncols=int(width / (0.9 + 0.1 * max(map(len, names)))) or 1,
        )
        figure.supxlabel(
            "\n".join(f"{n}  {words(texts[i], int(9 * width), 1)}" for n, i in central.items()),
            x=0.02,
            ha="left",
            fontsize=12,
        )
    return show(
        figure,
        f"{plain(title)}: {len(groups)} texts in {len(names)} groups, "
        f"{', '.join(map(plain, names))}. {'; '.join(told)}.",
    )


def token_noise(tokens, draws, predicted=None, title="Noise on one sentence"):
    """A sentence and noisy copies of it, one below the other: which tokens were deleted, which replaced.

    tokens: T strings. draws: {name: T strings}, with None where a token was deleted and another string, as [MASK],
    where it was replaced; at most 8. predicted: {name: (T,)}, true where the model must predict the token: framed.
    """
    tokens = [str(t) for t in tokens]
    rows = {name: _noisy(draw, len(tokens), f"draws[{name!r}]") for name, draw in mapping(draws, "draws", 8).items()}
    framed = {name: _framed(name, rows, flags, len(tokens)) for name, flags in (predicted or {}).items()}
    counts = {name: _noise_in_words(tokens, row, framed.get(name)) for name, row in rows.items()}
    with style():
        widths = [
            0.2 + max(_inches(row[i] or t, row[i] not in (None, t)) for row in (tokens, *rows.values()))
            for i, t in enumerate(tokens)
        ]
        lines = _blocks(widths, 8.2)
        height = len(lines) * (0.4 * len(rows) + 0.6)
        figure = Figure(figsize=(10, height + 0.9))
        axes = figure.subplots()
        axes.set(xlim=(0, 9.8), ylim=(height, 0))
        axes.axis("off")
        for k, line in enumerate(lines):
            _noise_lines(axes, k * height / len(lines), line, widths, tokens, rows, framed, counts if k == 0 else {})
        found = {_kind(old, new) for row in rows.values() for old, new in zip(tokens, row)}
        handles = [Patch(facecolor=NOISE[kind][0], edgecolor=GREY, label=kind) for kind in NOISE if kind in found]
        handles += [Patch(facecolor="white", edgecolor="black", linewidth=2, label="to be predicted")] * bool(framed)
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        headline(figure, title)
    told = "; ".join(
        f"{plain(n)}, {counts[n]}: {quote(' '.join(t for t in row if t is not None))}" for n, row in rows.items()
    )
    return show(figure, f"{plain(title)}: {quote(' '.join(tokens))}, {len(tokens)} tokens. {told}.")


# --------------------------------------------------------------------------- parts of the figures


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
    """{panel: {name: (N,) cosines}}, of one panel without a name where none was given."""
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


def _check_map(panels, groups, texts):
    """The different groups, in the order of their first texts; ValueError for what does not fit together."""
    for name, x in panels.items():
        if len(x) != len(groups) or min(x.shape) < 2:
            raise ValueError(
                f"panels[{name!r}] has shape {x.shape} for {len(groups)} groups; pass one row a text, "
                "at least 2 rows and 2 columns"
            )
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
        axes.scatter(
            *mine.T, s=45, color=COLOURS[i], marker=MARKERS[i], alpha=0.75, linewidths=0, label=words(name, 24, 2)
        )
    for number, i in central.items():
        axes.annotate(
            str(number),
            flat[i],
            ha="center",
            va="center",
            fontsize=12,
            fontweight="bold",
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": COLOURS[number - 1], "linewidth": 2},
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    return float(pca.explained_variance_ratio_.sum())


def _noisy(draw, n, name):
    """One noisy copy: n strings or None."""
    draw = [t if t is None else str(t) for t in draw]
    if len(draw) != n or not n:
        raise ValueError(f"{name} holds {len(draw)} for {n} tokens; pass one for each, None where it was deleted")
    return draw


def _framed(name, rows, flags, n):
    flags = np.asarray(flags, dtype=bool)
    if name not in rows or flags.shape != (n,):
        raise ValueError(
            f"predicted[{name!r}] has shape {flags.shape}; pass, for a name in draws, one for each of the {n} tokens"
        )
    return flags


def _noise_in_words(tokens, row, framed):
    """How many tokens of a noisy copy were deleted, replaced or are to be predicted."""
    n, deleted = len(tokens), row.count(None)
    replaced = sum(new not in (None, old) for old, new in zip(tokens, row))
    if framed is not None:
        return f"{framed.sum()} of {n} to predict"
    if deleted and replaced:
        return f"{deleted} deleted, {replaced} replaced"
    return f"{replaced} of {n} replaced" if replaced else f"{deleted} of {n} deleted"


def _cut(token):
    return words(token, 24, 1)


def _inches(text, bold):
    """How wide a token is drawn."""
    path = TextPath((0, 0), _cut(text), prop=FontProperties(weight="bold" if bold else "normal", size=12))
    return np.ptp(path.vertices[:, 0]) / 72 if len(path.vertices) else 0.1


def _blocks(widths, room):
    """Indices of the tokens in as few lines as their inches need, about equally long."""
    fitting = [_lines(widths, r) for r in np.linspace(room, max(widths), 30)]
    return [lines for lines in fitting if len(lines) == len(fitting[0])][-1]


def _lines(widths, room):
    lines, used = [[]], 1.9  # behind the first line stand the counts
    for i, width in enumerate(widths):
        if lines[-1] and used + width > room:
            lines, used = [*lines, []], 0
        lines[-1].append(i)
        used += width
    return lines


def _kind(old, new):
    return "deleted" if new is None else "kept" if new == old else "replaced"


def _noise_lines(axes, top, line, widths, tokens, rows, framed, counts):
    """The tokens of one line: first as they were, then of each noisy copy."""
    edges = 1.5 + np.cumsum([0, *(widths[i] for i in line)])
    for r, (name, row) in enumerate([(None, tokens), *rows.items()]):
        y, label = top + 0.4 * r, "Sentence" if name is None else words(name, 14, 1)
        axes.text(1.4, y + 0.2, label, ha="right", va="center", fontsize=12)
        axes.text(edges[-1] + 0.15, y + 0.2, counts.get(name, ""), ha="left", va="center", fontsize=12)
        for x, i in zip(edges, line):
            face, colour, weight = ("white", "black", "normal") if name is None else NOISE[_kind(tokens[i], row[i])]
            frame = 2 if name in framed and framed[name][i] else 0
            axes.add_patch(
                Rectangle(
                    (x + 0.02, y + 0.02), widths[i] - 0.04, 0.36, facecolor=face, edgecolor="black", linewidth=frame
                )
            )
            axes.text(
                x + widths[i] / 2,
                y + 0.2,
                _cut(tokens[i] if row[i] is None else row[i]),
                ha="center",
                va="center",
                fontsize=12,
                color=colour,
                fontweight=weight,
            )
            if row[i] is None:
                axes.plot((x + 0.06, x + widths[i] - 0.06), (y + 0.2, y + 0.2), color=colour, linewidth=1.5)
