"""What all figures share: the style, the picture with its alt text, labels, and checks of their input."""

import base64
import html
import io
import re
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from matplotlib import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

# Okabe and Ito (2008), which colour-blind readers can tell apart; without their yellow, which is too pale on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.5, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 2)))
GREY = "#595959"
PALE = "#EAF3FA"  # what boxes are filled with
METRICS = {"ndcg": "nDCG", "map": "MAP", "mrr": "MRR", "recall": "Recall", "spearman": "Spearman", "pearson": "Pearson"}
METRIC = re.compile(rf"(?<!\S)({'|'.join(METRICS)})(?=@\d+$|$)")  # at the end of a name
SHORTEST_ALT = 20  # characters; shorter texts name a figure and do not say what it shows

STYLE = {
    # opaque, for JupyterLab's dark theme
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 13,
    "text.parse_math": False,
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "figure.titlesize": 15,
    "axes.titlelocation": "left",
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.axisbelow": True,
    "image.cmap": "Blues",
}

_STYLED = threading.RLock()


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    It goes into a notebook as HTML, because JupyterLab 4 and nbconvert 7 drop the alt text of an image output.

    data: PNG bytes.
    alt: what it shows, in words.
    """

    data: bytes
    alt: str

    def _repr_html_(self):
        source = base64.b64encode(self.data).decode()
        return f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{source}">'

    def __repr__(self):
        return self.alt


@contextmanager
def style() -> Iterator[None]:
    """A context in which figures have the course's style: `with plots.style(): figure, axes = plt.subplots()`.

    One thread at a time: matplotlib's settings are global, and the training dashboard draws in a thread.
    """
    with _STYLED, matplotlib.rc_context(STYLE):
        yield


def show(figure: Figure, alt: str) -> Picture:
    """Draw a figure, close it, and return it as a Picture with its alt text.

    figure: of matplotlib.
    alt: what a reader who does not see the figure should know, with its key numbers.
    Returns a Picture, which is shown when it is a cell's last value.
    Raises ValueError for an alt text under 20 characters.
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


# --------------------------------------------------------------------------- words and numbers


def words(text: object, width: int, lines: int | None = None) -> str:
    """A text as a label of a figure.

    width: characters after which a line is wrapped.
    lines: the most lines, after which the text is cut; None for as many as it takes.
    Returns the label; matplotlib would leave out one that begins with an underscore, so a thin space goes before it.
    """
    wrapped = textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" …", break_on_hyphens=False)
    label = "\n".join(wrapped)
    return "\u200a" + label if label.startswith("_") else label


def plain(text: object) -> str:
    """A text on one line, with single spaces."""
    return " ".join(str(text).split())


def quote(text: object) -> str:
    """A text in quotation marks, cut after 60 characters."""
    return f"“{textwrap.shorten(str(text), 60, placeholder=' …')}”"


def short(value: float) -> str:
    """A number with about three significant digits, never with a power of ten."""
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def measure(text: object) -> str:
    """The name of a result as a label, with its metric as the papers write it: `ndcg@10` becomes nDCG@10."""
    return METRIC.sub(lambda found: METRICS[found[0]], plain(text))


# --------------------------------------------------------------------------- input


def numbers(values: ArrayLike, name: str, ndim: int | None = None) -> np.ndarray:
    """Convert to a float array and check it.

    name: of the argument, for messages.
    ndim: dimensions that it must have; None for any number.
    Returns the array. Raises ValueError for an empty one, NaN, infinities and another number of dimensions.
    """
    try:
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array of numbers ({error})") from None
    if values.size == 0 or (ndim is not None and values.ndim != ndim):
        raise ValueError(
            f"{name} has shape {values.shape}; it must have {ndim if ndim is not None else 'some'} "
            "dimensions and not be empty"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{name} holds {np.count_nonzero(~np.isfinite(values))} values that are NaN or infinite; "
            "a training that diverged gives such numbers"
        )
    return values


def mapping(values: object, name: str, most: int | None = None) -> dict:
    """Check that an argument is a dict with 1 to `most` entries, and return it.

    name: of the argument, for messages.
    Raises ValueError where it is not.
    """
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{name} is {values!r:.60}; pass a dict with at least one entry")
    if most and len(values) > most:
        raise ValueError(f"{name} holds {len(values)} entries; at most {most} can be told apart in one figure")
    return values


def same_length(labels: list, matrix: np.ndarray, name: str) -> int:
    """Check that an (n, n) matrix has n labels, and return n.

    name: of the labels' argument, for messages.
    Raises ValueError where it has not.
    """
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(
            f"{name} holds {len(labels)} for a matrix of shape {matrix.shape}; pass one per row and column"
        )
    return len(labels)
