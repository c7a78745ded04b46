"""The style of all figures, and the picture with its alt text."""

import base64
import html
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import PIL.Image
from matplotlib import cycler
from matplotlib.figure import Figure

# Okabe and Ito (2008), which colour-blind readers can tell apart; without their yellow, which is too pale on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1.5, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 2)))
GREY = "#595959"
PALE = "#EAF3FA"  # what boxes are filled with
SHARPNESS = 1.5  # pixels of a figure per pixel of a page at 100 %, so that it stays sharp when the page is enlarged
SHORTEST_ALT = 20  # characters; shorter texts name a figure and do not say what it shows

STYLE = {
    # opaque, for JupyterLab's dark theme
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "figure.dpi": 100 * SHARPNESS,
    "savefig.dpi": 100 * SHARPNESS,
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
        width = int.from_bytes(self.data[16:20])  # where a PNG says it
        size = f'width="{width / SHARPNESS:.0f}"'
        return f'<img alt="{html.escape(self.alt)}" {size} src="data:image/png;base64,{source}">'

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
