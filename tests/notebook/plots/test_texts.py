"""Figures of texts and tokens: what they say is so; bad input is named."""

import numpy as np
import pytest
import torch
from matplotlib.patches import Polygon, Rectangle
from transformers import AutoTokenizer

from course_lib import functional
from course_lib.notebook import plots


def test_sentence_map_counts_nearest_neighbours(examples):
    panels, groups = examples.groups_of_points()
    share = {}
    for name, x in panels.items():
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosines = unit @ unit.T - 2 * np.eye(len(x))
        share[name] = np.mean([groups[i] == groups[j] for i, j in enumerate(cosines.argmax(1))])
    alt = plots.sentence_map(panels, groups).alt
    assert share["Base encoder"] < 0.6 and share["After training"] == 1
    assert all(f"{name}: the nearest text is of the same group for {s:.0%}" in alt for name, s in share.items())


def test_shares_of_a_histogram_add_up_and_are_numpys(drawn):
    (axes,) = drawn["histogram"][1].axes
    outline = next(p for p in axes.patches if isinstance(p, Polygon)).get_xy()
    values, edges, heights = np.linspace(-3, 9, 200), np.unique(outline[:, 0]), outline[1:-1:2, 1]
    assert np.isclose(heights.sum(), 100)
    assert np.allclose(heights, np.histogram(values, edges)[0] / 2)


def test_cosine_histogram_is_a_histogram(examples):
    pairs = examples.pairs()
    assert plots.cosine_histogram(pairs, "One") == plots.histogram(pairs, "Cosine", "One", "pairs")


def test_histogram_of_a_single_number():
    assert "mean 3.00" in plots.histogram({"one": [3.0]}, "Margin").alt


def test_noise_of_the_masked_language_model(base_encoder_folder):
    tokenizer = AutoTokenizer.from_pretrained(base_encoder_folder)
    ids = tokenizer("Return the indices that would sort an array along an axis.", return_tensors="pt").input_ids
    special = torch.tensor([tokenizer.get_special_tokens_mask(ids[0], already_has_special_tokens=True)]).bool()
    inputs, labels = functional.mask_tokens(
        ids, special, 0.4, tokenizer.mask_token_id, len(tokenizer), torch.Generator().manual_seed(1)
    )
    tokens, noisy = (tokenizer.convert_ids_to_tokens(x[0].tolist()) for x in (ids, inputs))
    picture = plots.token_noise(tokens, {"Draw 1": noisy}, {"Draw 1": labels[0] != -100})
    assert f"Draw 1, {(labels != -100).sum()} of {len(tokens)} to predict" in picture.alt and "[MASK]" in picture.alt
    told = plots.token_noise(tokens, {"Draw 1": noisy}).alt
    assert f"Draw 1, {(inputs != ids).sum()} of {len(tokens)} replaced" in told


def test_noise_keeps_every_token_in_its_column(drawn, examples):
    (axes,) = drawn["token_noise"][1].axes
    boxes = [p for p in axes.patches if isinstance(p, Rectangle)]
    columns = {}
    for box in boxes:
        columns.setdefault((round(box.get_x(), 3), round(box.get_width(), 3)), []).append(box)
    assert len(boxes) == 3 * len(examples.WORDS) and all(len(c) % 3 == 0 for c in columns.values())
    framed = [b for b in boxes if b.get_linewidth()]
    assert len(framed) == sum(*examples.PREDICTED.values())
    struck = [t.get_text().strip("\u200a") for t in axes.texts if t.get_color() == plots.GREY]
    assert struck == [w for w, kept in zip(examples.WORDS, examples.DRAWS["Deleted"]) if kept is None]


def test_tokens_are_spread_over_as_few_lines_as_they_need():
    """Of at most 8 inches, of which the first line gives 1.9 to the counts."""
    lines = plots.noise._blocks([1.0] * 18, 8)
    assert [len(line) for line in lines] == [5, 7, 6] and sum(lines, []) == list(range(18))


NAN = np.array([[1, np.nan], [0.5, 1]])
BAD = {
    "matrix with NaN": (lambda: plots.similarity_heatmap(["a", "b"], NAN), "matrix holds 1 values that are NaN"),
    "labels that do not match": (lambda: plots.similarity_heatmap(["a"], np.eye(2)), r"labels holds 1 .* \(2, 2\)"),
    "matrix that is not square": (lambda: plots.similarity_heatmap(["a", "b"], np.ones((2, 3))), r"shape \(2, 3\)"),
    "matrix of words": (lambda: plots.similarity_heatmap(["a"], [["x"]]), "matrix is not an array of numbers"),
    "tokens that do not match": (lambda: plots.attention_map(["a", "b", "c"], np.eye(2)), "tokens holds 3"),
    "attention before the softmax": (lambda: plots.attention_map(["a", "b"], -np.eye(2)), "after the softmax"),
    "no tokens": (lambda: plots.attention_map([], np.zeros((0, 0))), "weights has shape"),
    "no groups": (lambda: plots.cosine_histogram({}), "groups is {}"),
    "an empty group": (lambda: plots.cosine_histogram({"random": []}), r"groups\['random'\] has shape \(0,\)"),
    "cosines with NaN": (lambda: plots.cosine_histogram({"random": [0.1, np.inf]}), r"groups\['random'\] holds 1"),
    "too many groups": (lambda: plots.histogram({i: [0.1] for i in range(8)}, "Margin"), "8 entries; at most 7"),
    "embeddings with NaN": (lambda: plots.sentence_map({"a": NAN}, ["x", "y"]), r"panels\['a'\] holds 1"),
    "groups that do not match": (lambda: plots.sentence_map({"a": np.eye(3)}, ["x", "y"]), "for 2 groups"),
    "texts that do not match": (lambda: plots.sentence_map({"a": np.eye(3)}, ["x"] * 3, ["t"]), "texts holds 1 for 3"),
    "too many groups on a map": (lambda: plots.sentence_map({"a": np.eye(8)}, range(8)), "8 different names"),
    "a draw of too few tokens": (lambda: plots.token_noise(["a", "b"], {"d": ["a"]}), r"draws\['d'\] holds 1 for 2"),
    "noise on nothing": (lambda: plots.token_noise([], {"d": []}), r"draws\['d'\] holds 0 for 0"),
    "no draws": (lambda: plots.token_noise(["a"], {}), "draws is {}"),
    "frames of no draw": (lambda: plots.token_noise(["a"], {"d": ["a"]}, {"e": [True]}), r"predicted\['e'\]"),
    "frames that do not match": (lambda: plots.token_noise(["a"], {"d": ["a"]}, {"d": [True] * 2}), r"shape \(2,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    draw, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        draw()
