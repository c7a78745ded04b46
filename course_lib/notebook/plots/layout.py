"""What several figures draw: a headline, a legend, level lines."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from course_lib.notebook.plots.checks import numbers
from course_lib.notebook.plots.labels import plain, short, words
from course_lib.notebook.plots.picture import GREY, LINES


def panel_grid(panels: int) -> tuple[int, int]:
    """(rows, columns) of a figure with this number of panels."""
    columns = 2 if panels == 4 else min(3, panels)
    return -(-panels // columns), columns


def ink(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return "black" if np.dot(linear, (0.2126, 0.7152, 0.0722)) > 0.179 else "white"  # relative luminance, WCAG 2


def headline(figure: Figure, title: str) -> None:
    """Write a figure's title, in as many lines as it takes; the panels keep their height."""
    lines = words(title, int(7 * figure.get_figwidth()))
    figure.set_figheight(figure.get_figheight() + 0.26 * lines.count("\n"))
    figure.suptitle(lines)


def legend_beside(axes: Axes, title: str | None = None, **more) -> None:
    """Draw the legend on the right of the axes, where it covers nothing.

    more: further arguments of `axes.legend`.
    """
    legend = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title=title or None, title_fontsize=12, **more)
    legend.set_alignment("left")


def level_lines(axes: Axes, references: dict[str, float] | None) -> list[str]:
    """Draw references, {name: value}, as level lines; returns them in words."""
    references = {n: float(numbers(v, f"references[{n!r}]", ndim=0)) for n, v in (references or {}).items()}
    for i, (name, value) in enumerate(references.items()):
        axes.axhline(value, color=GREY, linestyle=LINES[1:][i % 6], label=f"{words(name, 26, 2)}: {short(value)}")
    return [f"level line {plain(n)} at {short(v)}" for n, v in references.items()]
