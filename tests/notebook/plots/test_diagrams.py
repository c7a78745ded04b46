"""Drawings of ideas: boxes apart from what is written between them, losses as they are; bad input is named."""

import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch

from course_lib.notebook import plots


@pytest.mark.parametrize("boxes", [2, 4, 5, 7, 10])
def test_what_passes_an_arrow_stands_beside_the_boxes(examples, boxes, monkeypatch):
    steps = [("Cross-encoder", "raw logits, not probabilities")] * boxes
    monkeypatch.setitem(examples.FIGURES, "pipeline of so many", ([steps], {}, []))
    _, figure, texts = examples.draw("pipeline of so many", counts=["590,000 candidates"] * (boxes - 1))
    (axes,) = figure.axes
    boxed = [p.get_window_extent() for p in axes.patches if isinstance(p, FancyBboxPatch)]
    between = [t for t in texts if "590,000" in t.get_text()]
    assert len(boxed) == boxes and len(between) == boxes - 1
    assert not [t for t in between for box in boxed if t.get_window_extent().overlaps(box)]


def test_losses_differ_as_the_papers_say(drawn):
    """SimCSE: one encoder, softmax over rows; the other two: two towers, softmax over both."""
    for axes, (title, both) in zip(drawn["loss_relations"][1].axes, [("SimCSE", False), ("CLIP", True), ("CT", True)]):
        texts = [t.get_text() for t in axes.texts]
        assert [t for t in texts if t.startswith(title)] and texts.count("+") == 4 and texts.count("–") == 12
        frames = [p for p in axes.patches if not p.get_fill()]
        assert sorted((p.get_width(), p.get_height()) for p in frames) == ([(1, 4)] if both else []) + [(4, 1)]
        rows, columns = (p.get_facecolor() for p in axes.patches if 0.5 < min(p.get_width(), p.get_height()) < 1)
        assert (rows == columns) is not both


def test_losses_of_two_items_and_of_another_temperature():
    assert "1 / 0.1 = 10" in (alt := plots.loss_relations(temperature=0.1, size=2).alt) and "2 by 2" in alt


def test_pictures_of_counts_are_grouped_by_thousands():
    alt = plots.pipeline([("a", ""), ("b", ""), ("c", "")], counts=[np.int64(11800), 0.5]).alt
    assert "a → 11,800 → b → 0.5 → c" in alt


BAD = {
    "one box": (lambda: plots.pipeline([("a", "b")]), "steps holds 1 boxes"),
    "counts that do not match": (lambda: plots.pipeline([("a", ""), ("b", "")], counts=[1, 2]), "counts holds 2 for 2"),
    "a row without boxes": (lambda: plots.stages({"a": []}), "holds 0 boxes"),
    "a matrix of one": (lambda: plots.loss_relations(size=1), "size is 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    draw, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        draw()
