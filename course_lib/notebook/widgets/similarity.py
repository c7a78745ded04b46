"""Cosines of the learner's own sentences."""

from typing import Any

import ipywidgets

from course_lib.notebook import plots
from course_lib.notebook.widgets.panel import Panel, as_html, field, note, redraw_on_change
from course_lib.search.exact import unit_embeddings

MOST_SENTENCES = 10  # more cannot be read in one heat map with their words


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
