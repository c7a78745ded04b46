"""Where texts lie: embeddings in two dimensions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import plain, words
from course_lib.notebook.plots.picture import COLOURS, MARKERS, Picture, show, style


def sentence_map(
    panels: dict[str, ArrayLike], groups: Sequence[str], texts: Sequence[str] | None = None, title: str = "Map of texts"
) -> Picture:
    """Embeddings projected on their two principal components, one panel per encoder, one colour and marker per group.

    Each panel says for how many texts the nearest other one, by cosine in all d dimensions, is of the same group.

    panels: {title: (N, d) embeddings of the same N texts}, at most 3; PCA centres each.
    groups: N names, at most 7 different.
    texts: N texts; the most central one of each group is numbered and written below.
    title: of the figure.
    Returns a Picture. Raises ValueError for lengths that do not fit together.
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


# --------------------------------------------------------------------------- parts of the figure


def _check_map(panels, groups, texts):
    """The different groups, in the order of their first texts; ValueError for what does not fit together."""
    for name, x in panels.items():
        if len(x) != len(groups) or min(x.shape) < 2:
            shapes = f"panels[{name!r}] has shape {x.shape} for {len(groups)} groups"
            raise ValueError(f"{shapes}; pass one row per text, at least 2 rows and 2 columns")
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
