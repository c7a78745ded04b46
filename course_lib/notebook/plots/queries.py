"""Figures of generated queries: what is copied, what may be drawn, how readers judge it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import plain, quote, words
from course_lib.notebook.plots.layout import headline, legend_beside
from course_lib.notebook.plots.picture import COLOURS, MARKERS, Picture, show, style


def pointer_map(
    passage: Sequence[str], query: Sequence[str], copied: ArrayLike, title: str = "Copied or written"
) -> Picture:
    """Which tokens of a query are copied, and from where in the passage.

    passage, query: tokens, T and T' of them.
    copied: (T', T), (1 − g) × attention: the weight of each token of the passage in the choice of each token written.
    title: of the figure.
    Returns a Picture. Raises ValueError for another shape.
    """
    copied = numbers(copied, "copied", ndim=2)
    if copied.shape != (len(query), len(passage)):
        raise ValueError(f"copied has shape {copied.shape}; it must be ({len(query)}, {len(passage)})")
    whole = copied.sum(1)
    with style():
        figure = Figure(figsize=(10, 2.4 + 0.3 * len(query)))
        left, right = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
        image = left.imshow(copied, vmin=0, vmax=1, aspect="auto")
        every = -(-len(passage) // 24)  # labels that have room
        left.set_xticks(range(0, len(passage), every), [words(t, 16, 1) for t in passage[::every]], rotation=90)
        left.set_yticks(range(len(query)), [words(t, 16, 1) for t in query])
        left.set(xlabel="Token of the passage", ylabel="Token to be written", title="Copied from where")
        figure.colorbar(image, ax=left, label="(1 − g) × attention")
        right.barh(range(len(query)), 100 * whole, color=COLOURS[0])
        right.set(xlim=(0, 100), xlabel="1 − g (%)", title="Pointer's weight")
        headline(figure, title)
    told = "; ".join(
        f"{quote(t)} {c:.2f}, most from {quote(passage[i])}" for t, c, i in zip(query, whole, copied.argmax(1))
    )
    return show(figure, f"For each token to be written, the pointer's weight and where it points: {told}.")


def nuclei(
    settings: dict[str, ArrayLike],
    written: Sequence[str],
    vocabulary: Sequence[str],
    first: int = 12,
    title: str = "What can be drawn",
) -> Picture:
    """What may be drawn at each step of a query, by settings of the sampling.

    settings: {title: (T', V) probabilities of being drawn}.
    written: the T' tokens of the query.
    vocabulary: the V tokens.
    first: how many of the likeliest first tokens are shown.
    title: of the figure.
    Returns a Picture.
    """
    drawn = {name: numbers(p, f"settings[{name!r}]", ndim=2) for name, p in mapping(settings, "settings", 3).items()}
    for name, p in drawn.items():
        if p.shape != (len(written), len(vocabulary)):
            raise ValueError(f"settings[{name!r}] has shape {p.shape}; it must be ({len(written)}, {len(vocabulary)})")
    widest = max(drawn.values(), key=lambda p: (p[0] > 0).sum())  # it names tokens that a narrow setting leaves out
    likely = np.argsort(-widest[0], kind="stable")[:first]
    sizes = {name: (p > 0).sum(1) for name, p in drawn.items()}
    with style():
        figure = Figure(figsize=(10.5, 5.8))
        left, right = figure.subplots(1, 2)
        for i, (name, p) in enumerate(drawn.items()):
            thick = 0.8 / len(drawn)
            left.barh(
                np.arange(first) + thick * (i - (len(drawn) - 1) / 2), 100 * p[0, likely], thick, color=COLOURS[i]
            )
            right.plot(
                range(1, len(written) + 1), sizes[name], marker=MARKERS[i], color=COLOURS[i], label=words(name, 26, 2)
            )
        left.set_yticks(range(first), [words(vocabulary[i], 16, 1) for i in likely])
        left.set(ylim=(first - 0.4, -0.6), xlabel="Probability of being drawn (%)", title="First token")
        right.set_xticks(range(1, len(written) + 1), [words(t, 16, 1) for t in written], rotation=60)
        right.set(
            xlabel="Token of the greedy query", ylabel="Tokens that can be drawn", title="Every token", yscale="log"
        )
        right.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        headline(figure, title)
    told = "; ".join(f"{plain(name)}: {', '.join(map(str, n))}" for name, n in sizes.items())
    return show(
        figure,
        f"Left: how likely the {first} likeliest first tokens are to be drawn. Right: how many can be drawn at each "
        f"of {len(written)} steps; {told}.",
    )


def judgement_bars(rates: dict[str, dict[str, tuple[float, float, float]]], title: str) -> Picture:
    """Shares of judgements, one group of bars per judgement, one bar per writer, with intervals.

    rates: {writer: {judgement: (share, low, high)}}, the same judgements for each writer.
    title: of the figure.
    Returns a Picture.
    """
    kinds = list(next(iter(mapping(rates, "rates", 4).values())))
    thick = 0.8 / len(rates)
    with style():
        figure = Figure(figsize=(9, 1.6 + 0.8 * len(kinds)))
        axes = figure.subplots()
        for i, (writer, of) in enumerate(rates.items()):
            for y, kind in enumerate(kinds):
                share, low, high = numbers(of[kind], f"rates[{writer!r}][{kind!r}]", ndim=1)
                at = y + thick * (i - (len(rates) - 1) / 2)
                axes.barh(
                    at, 100 * share, 0.95 * thick, color=COLOURS[(5, 1, 0, 2)[i]], label=writer if y == 0 else None
                )
                axes.plot((100 * low, 100 * high), (at, at), color="black")
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set(ylim=(len(kinds) - 0.5, -0.5), xlim=(0, 100), xlabel="Share of the judged queries (%)")
        legend_beside(axes, title="Writer")
        headline(figure, title)
    told = ", ".join(
        f"{plain(writer)}, {plain(kind)} {share:.0%} ({low:.0%} to {high:.0%})"
        for writer, of in rates.items()
        for kind, (share, low, high) in of.items()
    )
    return show(figure, f"Bars, {plain(title)}, with 95 % intervals: {told}.")
