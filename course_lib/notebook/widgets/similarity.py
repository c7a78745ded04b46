"""Cosines of the learner's own sentences as a heat map."""

from typing import Any

import ipywidgets

from course_lib.notebook import plots
from course_lib.notebook.widgets.panel import Panel, as_html, field, note, redraw_on_change
from course_lib.search.exact import unit_embeddings

MOST_SENTENCES = 8  # up to which a heat map has its numbers in it


def similarity_playground(encoder: Any, texts: list[str]) -> Panel:
    """Sentences in text boxes and their cosines as a heat map, drawn again after every change.

    encoder: whatever has `.encode(texts, batch_size=…)`.
    texts: 1 to 8 sentences to begin with; empty boxes are left out.
    Returns a Panel. Raises ValueError for another number of texts.
    """
    if isinstance(texts, str) or not 1 <= len(texts) <= MOST_SENTENCES:
        raise ValueError(f"texts is {texts!r:.60}; pass a list of 1 to {MOST_SENTENCES} sentences")
    rows, area = ipywidgets.VBox(), ipywidgets.HTML()
    more = ipywidgets.Button(description="One more sentence", icon="plus", layout=ipywidgets.Layout(width="auto"))

    def draw():
        written = [row.children[0].value.strip() for row in rows.children if row.children[0].value.strip()]
        if not written:
            area.value = note("Write a sentence into a box.")
            return
        unit, row_of = unit_embeddings(encoder, written)
        x = unit[row_of]
        area.value = as_html(plots.similarity_heatmap(written, x @ x.T, "Cosines of these sentences"))

    def place(kept):
        rows.children = tuple(kept)
        for number, row in enumerate(rows.children, 1):
            row.children[0].description = str(number)
        more.disabled = len(rows.children) == MOST_SENTENCES

    def add(text=""):
        box = field(text, "Write a sentence and press Enter", " ")
        gone = ipywidgets.Button(icon="times", tooltip="Remove this sentence", layout=ipywidgets.Layout(width="2.6em"))
        row = ipywidgets.HBox([box, gone])
        redraw_on_change([box], draw, area)
        redraw_on_change([gone], lambda: (place(other for other in rows.children if other is not row), draw()), area)
        place((*rows.children, row))
        return box

    for text in texts:
        add(text)
    more.on_click(lambda _: add().focus())
    draw()
    return Panel("Sentences and their cosines", [rows, ipywidgets.HBox([more]), area], lambda: area.value)
