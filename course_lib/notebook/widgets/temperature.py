"""The softmax of cosines at a temperature: a slider that runs in the page and needs no kernel."""

import json
from collections.abc import Sequence
from textwrap import shorten

import numpy as np
from numpy.typing import ArrayLike

from course_lib.notebook import plots
from course_lib.notebook.widgets.panel import as_text
from course_lib.storage import fingerprint

MOST_BARS = 12
LOWEST, HIGHEST = 0.01, 1.0

# the same as _shares and _row below, for the page
SCRIPT = """
for (const root of document.querySelectorAll(".ID")) {
  const slider = root.querySelector("input"), cosines = JSON.parse(root.dataset.cosines);
  slider.oninput = () => {
    const t = Number((10 ** slider.value).toPrecision(2)), top = Math.max(...cosines);
    const e = cosines.map(c => Math.exp((c - top) / t)), sum = e.reduce((a, b) => a + b);
    const loss = Math.log(sum) + (top - cosines[root.dataset.positive]) / t;
    slider.setAttribute("aria-valuetext", t);
    root.querySelector("[role=status]").textContent = `τ = ${t}: the loss of this anchor is ${loss.toFixed(2)}`;
    for (const row of root.querySelectorAll("[data-members]")) {
      const share = JSON.parse(row.dataset.members).reduce((a, i) => a + e[i], 0) / sum * 100;
      row.querySelector(".share").textContent = share.toFixed(1) + " %";
      row.querySelector(".bar").style.width = share + "%";
    }
  };
}
"""


def temperature_slider(
    cosines: ArrayLike, labels: Sequence[str], positive: int = 0, temperature: float = 0.05
) -> "TemperatureSlider":
    """The softmax of SimCSE over the candidates of one anchor, which changes as the temperature moves.

    Of more than 12 candidates, those nearest to the anchor have a bar of their own.

    cosines: (C,) of the anchor with its candidates, not divided by a temperature.
    labels: C texts.
    positive: the index of the anchor's other view.
    temperature: where the slider starts, 0.01 to 1; 0.05 as in Gao et al. (2021).
    Returns a TemperatureSlider. Raises ValueError for arguments that do not fit together.
    """
    cosines = np.asarray(cosines, dtype=float)
    _check_candidates(cosines, labels, positive, temperature)
    return TemperatureSlider(cosines, list(labels), positive, temperature)


class TemperatureSlider:
    """A slider with bars, as HTML with a script of its own; without the script it shows the temperature of the start.

    cosines, labels, positive, temperature: as `temperature_slider` takes them.
    """

    def __init__(self, cosines: np.ndarray, labels: list[str], positive: int, temperature: float):
        self.cosines, self.positive, self.temperature = cosines, positive, temperature
        others = [int(i) for i in np.argsort(-cosines, kind="stable") if i != positive]
        own, rest = [positive, *others[: MOST_BARS - 1]], others[MOST_BARS - 1 :]
        names = [f"{'Its other view: ' if i == positive else ''}{labels[i]}" for i in own]
        self.bars = [(name, f"{cosines[i]:.2f}", [i]) for name, i in zip(names, own)]
        if rest:
            self.bars.append((f"the other {len(rest)} together", "", rest))

    def __repr__(self):
        return f"Softmax over {len(self.cosines)} candidates, from temperature {self.temperature:.2g}"

    def _repr_html_(self):
        shares, loss = self.at(self.temperature)
        name = "course-" + fingerprint([self.cosines.tolist(), self.bars, self.positive, self.temperature])[:12]
        start = f"{np.log10(self.temperature):.2f}"
        rows = "".join(_row(*bar, shares[bar[2]].sum(), first=not n) for n, bar in enumerate(self.bars))
        numbers = json.dumps([round(c, 6) for c in self.cosines.tolist()])
        return (
            f'<div class="{name}" data-cosines="{numbers}" data-positive="{self.positive}">'
            '<label>Temperature τ &nbsp; <input type="range" style="width:22em;max-width:60%;vertical-align:middle" '
            f'min="{np.log10(LOWEST):g}" max="{np.log10(HIGHEST):g}" step="0.05" value="{start}" '
            f'aria-valuetext="{self.temperature:.2g}"></label>'
            f'<p role="status"><b>τ = {self.temperature:.2g}: the loss of this anchor is {loss:.2f}</b></p>'
            '<table style="width:100%"><tr><th style="text-align:left">candidate</th><th style="width:45%"></th>'
            f"<th>share</th><th>cosine</th></tr>{rows}</table></div>"
            f"<script>{SCRIPT.replace('ID', name)}</script>"
        )

    def at(self, temperature: float) -> tuple[np.ndarray, float]:
        """The share of every candidate, (C,), and the loss of the anchor, at a temperature."""
        scores = self.cosines / temperature
        shares = np.exp(scores - scores.max())
        # from the scores, because a share that rounds to 0 has no logarithm
        loss = np.log(shares.sum()) + scores.max() - scores[self.positive]
        return shares / shares.sum(), float(loss)


def _row(name, cosine, members, share, first):
    colour = plots.COLOURS[0 if first else 1]
    bar = f"height:1em;background:{colour};width:{100 * share:.2f}%"
    name = as_text(shorten(name, 60, placeholder=" …"))
    return (
        f'<tr data-members="{members}"><td style="text-align:left">{name}</td>'
        f'<td><div class="bar" style="{bar}"></div></td><td class="share">{share * 100:.1f} %</td>'
        f"<td>{cosine}</td></tr>"
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
