"""Figures of texts and tokens: what is similar, what attends to what, how numbers of pairs spread, where texts lie."""

import numpy as np
from matplotlib.figure import Figure

from course_lib.notebook.plots.picture import (
    COLOURS, LINES, MARKERS, mapping, numbers, plain, quote, same_length, show, style, words,
)


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
        figure.suptitle(words(title, 60))
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
        figure.suptitle(words(title, 60))
    row, column = np.unravel_index(weights.argmax(), weights.shape)
    most = weights.mean(0).argmax()
    return show(figure, f"{plain(title)} over {n} tokens. The largest share is {weights[row, column]:.2f}, of "
                        f"{quote(tokens[row])} on {quote(tokens[column])}; {quote(tokens[most])} receives most, "
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
                _outline(axes, cosines, edges, i, f"{words(name, 26, 2)}: mean {cosines.mean():.2f}")
            axes.set(ylabel="Share of pairs (%)", title=words(panel, 60))
            axes.locator_params(axis="y", nbins=4)
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set_xlabel("Cosine")
        figure.suptitle(words(title, 60))
    told = "; ".join(f"{plain(p)}{': ' if p else ''}" + ", ".join(
        f"{plain(g)} mean {v.mean():.2f}, 5 to 95 % from {np.quantile(v, 0.05):.2f} to {np.quantile(v, 0.95):.2f}"
        for g, v in part.items()) for p, part in panels.items())
    return show(figure, f"Histogram, {plain(title)}. {told}.")


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
    width = max(5.5, min(10.5, 4.9 * len(panels)))
    with style():
        figure = Figure(figsize=(width, 5.6 + 0.25 * len(central)))
        for axes, (panel, x) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items()):
            share, variance = _same_group_share(x, groups), _scatter(axes, x, groups, names, central)
            axes.set_title(f"{words(panel, 28, 2)}\nnearest of the same group: {share:.0%}")
            told.append(f"{plain(panel)}: the nearest text is of the same group for {share:.0%}, the two components "
                        f"hold {variance:.0%} of the variance")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", title_fontsize=15,
                      title=words(title, int(6 * width)), ncols=int(width / (0.9 + 0.1 * max(map(len, names)))) or 1)
        figure.supxlabel("\n".join(f"{n}  {words(texts[i], int(9 * width), 1)}" for n, i in central.items()),
                         x=0.02, ha="left", fontsize=12)
    return show(figure, f"{plain(title)}: {len(groups)} texts in {len(names)} groups, "
                        f"{', '.join(map(plain, names))}. {'; '.join(told)}.")


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
    others = [(matrix[i, j], f"{quote(labels[i])} and {quote(labels[j])}")
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
    panels = mapping(groups, "groups")
    if not any(isinstance(part, dict) for part in panels.values()):
        panels = {"": panels}
    return {panel: {name: numbers(cosines, f"groups[{name!r}]", ndim=1)
                    for name, cosines in mapping(part, f"groups[{panel!r}]" if panel else "groups", 7).items()}
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
                     label=words(name, 24, 2))
    for number, i in central.items():
        axes.annotate(str(number), flat[i], ha="center", va="center", fontsize=12, fontweight="bold", bbox={
            "boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": COLOURS[number - 1], "linewidth": 2})
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    return float(pca.explained_variance_ratio_.sum())
