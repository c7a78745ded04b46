"""A sentence token by token, before and after noise."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from matplotlib.textpath import TextPath

from course_lib.notebook.plots.checks import mapping
from course_lib.notebook.plots.labels import plain, quote, words
from course_lib.notebook.plots.layout import headline
from course_lib.notebook.plots.picture import GREY, PALE, Picture, show, style

NOISE = {
    "kept": (PALE, "black", "normal"),
    "deleted": ("#E4E4E4", GREY, "normal"),
    "replaced": ("#FBDDC2", "black", "bold"),
}  # face, letters, their weight


def token_noise(
    tokens: Sequence[str], draws: dict, predicted: dict | None = None, title: str = "Noise on one sentence"
) -> Picture:
    """A sentence and noisy copies of it, one below the other: which tokens were deleted and which replaced.

    tokens: T strings.
    draws: {name: T strings}, at most 8, with None where a token was deleted and another string, such as [MASK], where
        it was replaced.
    predicted: {name: (T,)}, true where the model must predict the token, which gets a frame.
    title: of the figure.
    Returns a Picture. Raises ValueError for draws of another length.
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


# --------------------------------------------------------------------------- parts of the figure


def _noisy(draw, n, name):
    """One noisy copy: n strings or None."""
    draw = [t if t is None else str(t) for t in draw]
    if len(draw) != n or not n:
        raise ValueError(f"{name} holds {len(draw)} for {n} tokens; pass one for each, None where it was deleted")
    return draw


def _framed(name, rows, flags, n):
    flags = np.asarray(flags, dtype=bool)
    if name not in rows or flags.shape != (n,):
        raise ValueError(f"predicted[{name!r}] has shape {flags.shape}; pass {n} flags, for a name that draws has")
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
