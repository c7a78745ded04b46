"""Drawings of ideas: how one thing becomes the next."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from course_lib.notebook.plots.picture import COLOURS, plain, show, style, words


def pipeline(steps, title=""):
    """Boxes joined by arrows: how one thing becomes the next.

    steps: 2 to 10 pairs (title, subtitle); more than five go on in a second row, from right to left.
    """
    steps = [(str(a), str(b)) for a, b in steps]
    if not 2 <= len(steps) <= 10:
        raise ValueError(f"steps holds {len(steps)} boxes; a figure that can be read has 2 to 10")
    boxes = [(words(a, 13, 3), words(b, 16, 4)) for a, b in steps]
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
        figure.suptitle(words(title, 70))
    told = " → ".join(f"{plain(a)} ({plain(b)})" if b else plain(a) for a, b in steps)
    return show(figure, f"{plain(title) or 'Steps'}, each leading to the next: {told}.")


# --------------------------------------------------------------------------- parts of the figures


def _height(text):
    """Inches that a label of a box takes."""
    return 0.215 * len(text.splitlines())


def _box(axes, x, y, height, head, below, before):
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
