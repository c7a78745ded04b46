"""The softmax of cosines at a temperature, computed in the browser: it works without a kernel, and the next day."""

import html
import json
from collections.abc import Sequence
from textwrap import shorten

import numpy as np
from numpy.typing import ArrayLike

from course_lib.notebook import plots
from course_lib.notebook.widgets.panel import as_text, note

MOST_BARS = 12
ALIVE = (
    "The slider works in the browser alone. If it does not move the bars, run this cell: Jupyter trusts no script of "
)
ALIVE += "a notebook that was made elsewhere."

# what the slider does, on each of its moves: the same as `_shares` and `_loss`, on the numbers that the page holds
_REDRAW = """
const box = this.closest('[data-cosines]'), cosines = JSON.parse(box.dataset.cosines);
const temperature = Number((10 ** this.value).toPrecision(2)), highest = Math.max(...cosines);
const weights = cosines.map(c => Math.exp((c - highest) / temperature)), sum = weights.reduce((a, b) => a + b);
const rows = [...box.querySelectorAll('tr[data-share]')], last = rows.length - 1;
rows.forEach((row, i) => {
  const upTo = i == last ? cosines.length : i + 1;
  const percent = 100 * weights.slice(i, upTo).reduce((a, b) => a + b, 0) / sum;
  row.querySelector('div').style.width = percent + '%';
  row.lastElementChild.textContent = percent.toFixed(1) + '%';
});
const loss = Math.log(sum) + (highest - cosines[0]) / temperature;
box.querySelector('output').textContent =
  'temperature ' + temperature + ': the loss of this anchor is ' + loss.toFixed(3);
this.setAttribute('aria-valuetext', temperature);
"""
_REDRAW = " ".join(_REDRAW.split())


class TemperatureSlider:
    """What `temperature_slider` returns: HTML with the numbers in it.

    page: the HTML.
    told: the same in words, for a terminal.
    """

    def __init__(self, page: str, told: str):
        self.page, self.told = page, told

    def _repr_mimebundle_(self, **options):
        return {"text/plain": self.told, "text/html": self.page}


def temperature_slider(
    cosines: ArrayLike, labels: Sequence[str], positive: int = 0, temperature: float = 0.05
) -> TemperatureSlider:
    """The softmax of SimCSE over the candidates of one anchor, at a temperature that a slider chooses.

    Of more than 12 candidates, those nearest to the anchor have a bar of their own.

    cosines: (C,) of the anchor with its candidates, not divided by a temperature.
    labels: C texts.
    positive: the index of the anchor's other view.
    temperature: where the slider starts, 0.01 to 1; 0.05 as in Gao et al. (2021).
    Returns a TemperatureSlider. Raises ValueError for arguments that do not fit together.
    """
    cosines = np.asarray(cosines, dtype=float)
    _check_candidates(cosines, labels, positive, temperature)
    order = [positive, *(int(i) for i in np.argsort(-cosines, kind="stable") if i != positive)]
    cosines, labels = cosines[order], [labels[i] for i in order]
    named = [
        shorten(f"{'Its other view: ' if i == 0 else ''}{label}", 60, placeholder=" …")
        for i, label in enumerate(labels)
    ]
    bars = [(name, f"{cosine:.2f}") for name, cosine in zip(named, cosines)]
    if len(bars) > MOST_BARS:
        bars = [*bars[:MOST_BARS], (f"the other {len(labels) - MOST_BARS} together", "")]
    shares = softmax_shares(cosines, temperature)
    shares = [*shares[: len(bars) - 1], shares[len(bars) - 1 :].sum()]
    said = f"temperature {temperature:g}: the loss of this anchor is {_loss(cosines, temperature):.3f}"
    told = "; ".join(f"{name} {f'(cosine {cosine}) ' * bool(cosine)}{s:.1%}" for (name, cosine), s in zip(bars, shares))
    return TemperatureSlider(_page(cosines, bars, shares, temperature, said), f"Softmax at {said}. {told}.")


def softmax_shares(cosines: np.ndarray, temperature: float) -> np.ndarray:
    """The softmax of cosines (C,) divided by a temperature."""
    weights = np.exp((cosines - cosines.max()) / temperature)
    return weights / weights.sum()


def _loss(cosines, temperature):
    """Of the first candidate; from the scores, because a share that rounds to 0 has no logarithm."""
    scores = (cosines - cosines.max()) / temperature
    return np.log(np.exp(scores).sum()) - scores[0]


def _page(cosines, bars, shares, temperature, said):
    # without data-lm-suppress-shortcuts JupyterLab takes the arrow keys, with which it folds headings
    slider = (
        f'<input type="range" min="-2" max="0" step="0.05" value="{np.log10(temperature):.2f}" '
        f'data-lm-suppress-shortcuts="true" '
        f'style="width:24em;max-width:90%" aria-label="Temperature" aria-valuetext="{temperature:g}" '
        f'oninput="{html.escape(_REDRAW)}">'
    )
    rows = "".join(_row(*bar, share, i) for i, (bar, share) in enumerate(zip(bars, shares)))
    numbers = html.escape(json.dumps([round(float(c), 6) for c in cosines]))
    return (
        f'<div data-cosines="{numbers}">{slider}<p><b><output>{said}</output></b></p>'
        f'<table style="width:100%"><tr><th align="left">Candidate</th><th align="right">Cosine</th>'
        f'<th style="width:40%">Share of the softmax</th><th></th></tr>{rows}</table>{note(ALIVE)}</div>'
    )


def _row(name, cosine, share, i):
    bar = f"background:{plots.COLOURS[min(i, 1)]};height:1em;width:{100 * share:.2f}%"
    return (
        f'<tr data-share="{i}"><td align="left">{as_text(name)}</td><td align="right">{cosine}</td>'
        f'<td><div style="{bar}"></div></td><td align="right">{share:.1%}</td></tr>'
    )


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
