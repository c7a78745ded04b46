"""Drawings of ideas: how one thing becomes the next, and how losses are related."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle
from numpy.typing import ArrayLike

from course_lib.notebook.plots.checks import mapping, numbers
from course_lib.notebook.plots.labels import plain, words
from course_lib.notebook.plots.layout import headline, ink
from course_lib.notebook.plots.picture import COLOURS, GREY, PALE, Picture, show, style

ROW = {"fill": False, "edgecolor": "black", "linewidth": 3}
COLUMN = {"fill": False, "edgecolor": COLOURS[1], "linewidth": 3, "linestyle": (0, (3, 1.2))}


def pipeline(steps: Sequence[tuple[str, str]], title: str = "", counts: Sequence | None = None) -> Picture:
    """Boxes joined by arrows: how one thing becomes the next.

    steps: 2 to 10 pairs (title, subtitle); those that do not fit go on in the next row, in the other direction.
    title: of the figure.
    counts: what passes each arrow, one fewer than steps: numbers, texts such as "11,800 queries", or None.
    Returns a Picture. Raises ValueError for another number of steps or counts.
    """
    steps = [(str(a), str(b)) for a, b in steps]
    if not 2 <= len(steps) <= 10:
        raise ValueError(f"steps holds {len(steps)} boxes; a figure that can be read has 2 to 10")
    counts = [None] * (len(steps) - 1) if counts is None else list(counts)
    if len(counts) != len(steps) - 1:
        raise ValueError(f"counts holds {len(counts)} for {len(steps)} boxes; pass one for each arrow between them")
    counts = ["" if c is None else c if isinstance(c, str) else f"{c:,}" for c in counts]
    boxes = [(words(a, 13, 3), words(b, 16, 4)) for a, b in steps]
    with style():
        figure, axes, places, height = _places(boxes, any(counts), title)
        for (x, y), (head, below) in zip(places, boxes):
            _box(axes, x, y, height, head, below)
        for before, after, count in zip(places, places[1:], counts):
            _arrow(axes, before, after, height, words(count, 11, 3))
        headline(figure, title)
    told = [f"{plain(a)} ({plain(b)})" if b else plain(a) for a, b in steps]
    told = told[0] + "".join(f" → {plain(c)} → {t}" if c else f" → {t}" for c, t in zip(counts, told[1:]))
    return show(figure, f"{plain(title) or 'Steps'}, each leading to the next: {told}.")


def stages(rows: dict[str, Sequence[str]], title: str = "Stages, from left to right") -> Picture:
    """Trainings that follow each other, one row of boxes per order; equal boxes have equal colours.

    rows: {name: boxes from left to right}, at most 5 boxes each.
    title: of the figure.
    Returns a Picture. Raises ValueError for a row without boxes or with more.
    """
    rows = {name: [str(box) for box in boxes] for name, boxes in mapping(rows, "rows").items()}
    for name, boxes in rows.items():
        if not 1 <= len(boxes) <= 5:
            raise ValueError(f"rows[{name!r}] holds {len(boxes)} boxes; a figure that can be read has 1 to 5")
    kinds = list(dict.fromkeys(box for boxes in rows.values() for box in boxes))
    most = max(map(len, rows.values()))
    with style():
        figure = Figure(figsize=(2.4 + 2.35 * most, 0.6 + 0.95 * len(rows)))
        axes = figure.subplots()
        axes.set(xlim=(-2.3, 2.35 * most), ylim=(len(rows) - 0.5, -0.5))
        axes.axis("off")
        for y, (name, boxes) in enumerate(rows.items()):
            axes.text(-0.3, y, words(name, 18, 2), ha="right", va="center", fontweight="bold", fontsize=13)
            for x, box in enumerate(boxes):
                colour = COLOURS[kinds.index(box) % len(COLOURS)]
                place = {"boxstyle": "round,pad=0,rounding_size=0.1", "edgecolor": "black", "facecolor": colour}
                axes.add_patch(FancyBboxPatch((2.35 * x, y - 0.36), 1.85, 0.72, **place))
                label = {"ha": "center", "va": "center", "fontsize": 12, "color": ink(colour)}
                axes.text(2.35 * x + 0.925, y, words(box, 18, 2), **label)
                if x:
                    arrow = {"arrowstyle": "-|>", "linewidth": 2, "color": "black"}
                    axes.annotate("", (2.35 * x, y), (2.35 * x - 0.5, y), arrowprops=arrow)
        headline(figure, title)
    told = "; ".join(f"{plain(name)}: {', then '.join(map(plain, boxes))}" for name, boxes in rows.items())
    return show(figure, f"Rows of boxes, {plain(title)}. {told}.")


def loss_relations(
    temperature: float = 0.05, scale: float = 20.0, size: int = 4, title: str = "One matrix, three losses"
) -> Picture:
    """SimCSE, CLIP and CT with in-batch negatives as similarity matrices.

    Shows what the rows and columns are, which encoder made them, where the positives stand, and along which lines the
    softmax runs. SimCSE: Gao et al. (2021), eq. 4. CLIP: Radford et al. (2021), figure 3, its scale bounded in section
    2.5.

    temperature: of SimCSE.
    scale: from which CT with in-batch negatives starts.
    size: items in the batch, 2 to 6.
    title: of the figure.
    Returns a Picture. Raises ValueError for another size.
    """
    if not 2 <= size <= 6:
        raise ValueError(f"size is {size}; a matrix that can be read has 2 to 6 rows")
    losses = {
        "SimCSE": (
            "first dropout view",
            "second dropout view",
            ("Encoder", "the same encoder"),
            False,
            f"fixed, 1 / {temperature:g} = {1 / temperature:g}",
        ),
        "CLIP": ("images", "their captions", ("Image tower", "Text tower"), True, "learned, at most 100"),
        "CT, in-batch negatives": (
            "sentences",
            "the same sentences",
            ("Tower 1", "Tower 2"),
            True,
            f"learned, from {scale:g}, no bound",
        ),
    }
    with style():
        figure = Figure(figsize=(10.4, 5.4))
        for axes, (name, loss) in zip(figure.subplots(1, len(losses)), losses.items()):
            _loss_panel(axes, name, loss, size)
        figure.legend(handles=_loss_legend(), loc="outside lower center", ncols=2)
        headline(figure, title)
    told = [
        f"{name}: rows are {rows} from “{towers[0]}”, columns {columns} from “{towers[1]}”; softmax over "
        f"{'rows and columns, averaged' if both else 'rows only'}; scale {scaled}"
        for name, (rows, columns, towers, both, scaled) in losses.items()
    ]
    return show(
        figure,
        f"{plain(title)}: three {size} by {size} similarity matrices with the {size} positives on the "
        f"diagonal and {size * size - size} negatives beside it. " + ". ".join(told) + ".",
    )


def pair_grids(grids: dict[str, ArrayLike], title: str = "Which pairs the loss reads") -> Picture:
    """Pairs of texts that losses read, as grids beside each other: one row per text in tower 1, one column in tower 2.

    grids: {name: (B, B)}, 0 for a pair that is not read, 1 for a negative, 2 for a positive; at most 3.
    title: of the figure.
    Returns a Picture.
    """
    grids = {name: numbers(grid, f"grids[{name!r}]", ndim=2) for name, grid in mapping(grids, "grids", 3).items()}
    with style():
        figure = Figure(figsize=(1 + 4 * len(grids), 4.8))
        for axes, (name, grid) in zip(np.ravel(figure.subplots(1, len(grids))), grids.items()):
            axes.imshow(grid, cmap="Blues", vmin=0, vmax=2)
            heading = f"{words(name, 28)}\n{np.count_nonzero(grid)} of {grid.size} pairs"
            axes.set(title=heading, xlabel="Text in tower 2", ylabel="Text in tower 1", xticks=[], yticks=[])
        headline(figure, title)
    told = [
        f"{plain(name)} reads {np.count_nonzero(grid)} of {grid.size} pairs, {np.count_nonzero(grid == 2)} of them "
        "positives"
        for name, grid in grids.items()
    ]
    return show(figure, f"Grids, {plain(title)}: dark positives and pale negatives. " + "; ".join(told) + ".")


# --------------------------------------------------------------------------- parts of a pipeline


def _places(boxes, with_counts, title):
    """Figure and axes in inches, the centre of every box in a snake of rows, and the height of a box."""
    step, apart, most = (2.85, 0.75, 4) if with_counts else (2.1, 0.5, 5)  # from box to box, row to row; boxes in a row
    rows = -(-len(boxes) // most)
    columns = -(-len(boxes) // rows)
    height = 0.4 + max(_height(a) + _height(b) for a, b in boxes)
    width, total = step * (columns - 1) + 2.1, (height + apart) * rows - apart + 0.3
    figure = Figure(figsize=(width, total + 0.2 + 0.3 * bool(title)))
    axes = figure.subplots()
    axes.set(xlim=(0, width), ylim=(total, 0))
    axes.axis("off")
    places = [
        (step * (c if r % 2 == 0 else columns - 1 - c) + 1.05, (height + apart) * r + height / 2 + 0.15)
        for r, c in (divmod(i, columns) for i in range(len(boxes)))
    ]
    return figure, axes, places, height


def _height(text):
    """Inches that a label of a box takes."""
    return 0.215 * len(text.splitlines())


def _box(axes, x, y, height, head, below):
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.85, y - height / 2),
            1.7,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=PALE,
            edgecolor=COLOURS[0],
            linewidth=2,
        )
    )
    top = y - (_height(head) + _height(below)) / 2
    axes.text(x, top, head, ha="center", va="top", fontweight="bold", fontsize=13)
    axes.text(x, top + _height(head), below, ha="center", va="top", fontsize=12)


def _arrow(axes, before, after, height, count):
    """An arrow from the edge of one box to that of the next, with `count` beside it."""
    (x0, y0), (x1, y1) = before, after
    dx, dy = np.sign(x1 - x0), np.sign(y1 - y0)
    start, end = (
        ((x0 + 0.85 * dx, y0), (x1 - 0.85 * dx, y1)) if dx else ((x0, y0 + height / 2 * dy), (x1, y1 - height / 2 * dy))
    )
    arrow = {"arrowstyle": "-|>", "linewidth": 2, "color": "black", "shrinkA": 2, "shrinkB": 2}
    axes.annotate("", end, start, arrowprops=arrow)
    middle = np.add(start, end) / 2
    if dx:
        axes.text(*middle - (0, 0.1), count, ha="center", va="bottom", fontsize=12)
    else:
        axes.text(*middle - (0.15, 0), count.replace("\n", " "), ha="right", va="center", fontsize=12)


# --------------------------------------------------------------------------- parts of the related losses


def _loss_panel(axes, name, loss, size):
    """One matrix with the encoders of its rows and columns, and the row and column over which a softmax runs.

    One unit is a cell.
    """
    rows, columns, towers, both, scale = loss
    for r, c in np.ndindex(size, size):
        colour = COLOURS[0] if r == c else PALE
        axes.add_patch(Rectangle((c, r), 1, 1, facecolor=colour, edgecolor="white", linewidth=2))
        axes.text(c + 0.5, r + 0.5, "+" if r == c else "–", ha="center", va="center", fontsize=14, color=ink(colour))
    axes.add_patch(Rectangle((0, 1), size, 1, **ROW))
    if both:
        axes.add_patch(Rectangle((size - 1, 0), 1, size, **COLUMN))
    second = COLOURS[2] if towers[1] == "the same encoder" else COLOURS[4]
    axes.add_patch(Rectangle((-0.9, 0), 0.75, size, facecolor=COLOURS[2]))
    axes.add_patch(Rectangle((0, -0.9), size, 0.75, facecolor=second))
    for away, text, colour in ((-0.52, 0, "black"), (-1.25, 1, GREY)):
        axes.text(away, size / 2, (towers[0], rows)[text], rotation=90, ha="center", va="center", color=colour)
        axes.text(size / 2, away, (towers[1], columns)[text], ha="center", va="center", color=colour)
    axes.text(-1.5, size + 0.2, f"Softmax: {'rows and columns' if both else 'rows'}\nScale: {scale}", va="top")
    axes.text(size / 2, -1.95, name, ha="center", va="center", fontweight="bold")
    axes.set(xlim=(-1.6, size + 0.3), ylim=(size + 1.2, -2.2), aspect="equal")
    axes.axis("off")


def _loss_legend():
    return [
        Patch(facecolor=COLOURS[0], label="Positive: a pair that belongs together"),
        Patch(label="Softmax over a row", **ROW),
        Patch(facecolor=PALE, label="Negative: all other pairs of the batch"),
        Patch(label="Softmax over a column", **COLUMN),
    ]
