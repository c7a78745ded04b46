"""Cosines of the learner's own sentences, and the softmax of cosines at a temperature."""

from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from course_lib.notebook import plots
from course_lib.notebook.widgets.panel import Panel, as_html, field, note, redraw_on_change
from course_lib.search.exact import unit_embeddings

MOST_SENTENCES = 10  # more cannot be read in one heat map with their words
MOST_BARS = 12


def similarity_playground(encoder: Any, texts: list[str]) -> Panel:
    """Sentences in text boxes and their cosines as a heat map, drawn again after every change.

    encoder: whatever has `.encode(texts, batch_size=…)`.
    texts: 1 to 10 sentences to begin with; empty boxes are left out.
    Returns a Panel. Raises ValueError for another number of texts.
    """
    if isinstance(texts, str) or not 1 <= len(texts) <= MOST_SENTENCES:
        raise ValueError(f"texts is {texts!r:.60}; pass a list of 1 to {MOST_SENTENCES} sentences")
    boxes, area = ipywidgets.VBox(), ipywidgets.HTML()
    more = ipywidgets.Button(description="One more sentence", icon="plus", layout=ipywidgets.Layout(width="auto"))

    def draw():
        written = [box.value.strip() for box in boxes.children if box.value.strip()]
        if not written:
            area.value = note("Write a sentence into a box.")
            return
        rows, row_of = unit_embeddings(encoder, written)
        x = rows[row_of]
        area.value = as_html(plots.similarity_heatmap(written, x @ x.T, "Cosines of these sentences"))

    def add(_=None, text=""):
        box = field(text, "Write a sentence and press Enter", str(len(boxes.children) + 1))
        redraw_on_change([box], draw, area)
        boxes.children = (*boxes.children, box)
        more.disabled = len(boxes.children) == MOST_SENTENCES

    for text in texts:
        add(text=text)
    more.on_click(add)
    draw()
    return Panel("Sentences and their cosines", [boxes, ipywidgets.HBox([more]), area], lambda: area.value)


def temperature_slider(
    cosines: ArrayLike, labels: Sequence[str], positive: int = 0, temperature: float = 0.05
) -> Panel:
    """The softmax of SimCSE over the candidates of one anchor, drawn again as the temperature moves.

    Of more than 12 candidates, those nearest to the anchor have a bar of their own.

    cosines: (C,) of the anchor with its candidates, not divided by a temperature.
    labels: C texts.
    positive: the index of the anchor's other view.
    temperature: where the slider starts, 0.01 to 1; 0.05 as in Gao et al. (2021).
    Returns a Panel. Raises ValueError for arguments that do not fit together.
    """
    cosines = np.asarray(cosines, dtype=float)
    _check_candidates(cosines, labels, positive, temperature)
    slider = ipywidgets.FloatLogSlider(
        temperature,
        base=10,
        min=-2,
        max=0,
        step=0.05,
        readout_format=".2g",
        description="Temperature τ",
        style={"description_width": "initial"},
        layout=ipywidgets.Layout(width="40em", max_width="100%"),
    )
    area = ipywidgets.HTML()

    def draw():
        area.value = as_html(_softmax_bars(cosines, list(labels), positive, float(f"{slider.value:.2g}")))

    draw()
    redraw_on_change([slider], draw, area)
    return Panel("Softmax at a temperature", [slider, area], lambda: area.value)


def _check_candidates(cosines, labels, positive, temperature):
    if cosines.ndim != 1 or len(cosines) < 2 or not (np.abs(cosines) <= 1 + 1e-5).all():
        raise ValueError(
            f"cosines has shape {cosines.shape} and must hold at least 2 numbers between −1 and 1; pass "
            "one row of the matrix of cosines, not divided by a temperature"
        )
    if len(labels) != len(cosines):
        raise ValueError(f"labels holds {len(labels)} texts for {len(cosines)} cosines; pass one per candidate")
    if not 0 <= positive < len(cosines):
        raise ValueError(f"positive is {positive}; it is the position of one of the {len(cosines)} candidates")
    if not 0.01 <= temperature <= 1:
        raise ValueError(f"temperature is {temperature}; the slider goes from 0.01 to 1")


def _softmax_bars(cosines, labels, positive, temperature):
    """The shares of the candidates as horizontal bars, the positive first, and the loss of this anchor."""
    scores = cosines / temperature
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    others = [int(i) for i in np.argsort(-cosines, kind="stable") if i != positive]
    own, rest = [positive, *others[: MOST_BARS - 1]], others[MOST_BARS - 1 :]
    bars = [(f"{'Its other view: ' if i == positive else ''}{labels[i]}", f"{cosines[i]:.2f}", shares[i]) for i in own]
    if rest:
        bars.append((f"the other {len(rest)} together", "", shares[rest].sum()))
    # from the scores, because a share that rounds to 0 has no logarithm
    loss = np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[positive]
    told = "; ".join(f"{name} {f'(cosine {cosine}) ' if cosine else ''}{share:.1%}" for name, cosine, share in bars[:4])
    return plots.show(
        _draw_bars(bars, f"τ = {temperature:.3g}: the loss of this anchor is {loss:.2f}"),
        f"Bars, softmax over {len(cosines)} candidates at temperature {temperature:.3g}: the loss of this anchor is "
        f"{loss:.3f}. {told}{' …' if len(bars) > 4 else ''}.",
    )


def _draw_bars(bars, title):
    with plots.style():
        figure = Figure(figsize=(9, 1.2 + 0.42 * len(bars)))
        axes = figure.subplots()
        for y, (_, cosine, share) in enumerate(bars):
            axes.barh(y, 100 * share, 0.7, color=plots.COLOURS[0 if y == 0 else 1])
            _write_beside(axes, y, f"{share:.1%}", cosine)
        _write_beside(axes, -0.8, "share", "cosine", color=plots.GREY, fontsize=12)
        axes.set_yticks(range(len(bars)), [shorten(name, 44, placeholder=" …") for name, *_ in bars])
        axes.set(xlim=(0, 100), ylim=(len(bars) - 0.5, -0.5), xlabel="Share of the softmax (%)")
        axes.tick_params(axis="y", length=0)
        figure.suptitle(title)
    return figure


def _write_beside(axes, y, *columns, **style):
    """Write texts in columns on the right of the axes, at the height y of its data."""
    for i, words in enumerate(columns):
        axes.annotate(
            words,
            (1, y),
            (62 * i + 55, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            va="center",
            **style,
        )
