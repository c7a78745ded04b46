"""Widgets without a front end: what they show follows their controls, and text stays text."""

import html
import json
import re
from html.parser import HTMLParser

import ipywidgets
import nbconvert
import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.notebook import build, widgets
from course_lib.objectives import SimCSE
from course_lib.search import BM25Search, ExactSearch, Reranked
from course_lib.training import TrainingConfig

WIDGET = "application/vnd.jupyter.widget-view+json"
NASTY = (
    r'Sort <script>window.harm = 1</script> <img src="x" onerror="alert(2)"> $x^2$ \(y_1\) \begin{align} $$z$$ &lt; '
    "coins."
)
TEXTS = {
    "numpy.sort": "Return a sorted copy of an array.",
    "numpy.mean": "Compute the arithmetic mean along the given axis.",
    "pandas.merge": "Merge DataFrame or named Series objects with a database-style join.",
    "nasty": NASTY,
    "numpy.argsort": "Returns the indices that would sort an array.",
}
SENTENCES = ["Sort the array in place.", "Return the indices that sort a tensor.", "Merge two tables.", NASTY]


class Reader(HTMLParser):
    """What a page shows: its text, its elements and their attributes, and the text inside each kind of element."""

    def __init__(self, page):
        super().__init__()
        self.text, self.elements, self.attributes, self.inside, self._open = "", set(), set(), {}, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.add(tag)
        self.attributes.update(name for name, _ in attributes)
        if tag not in ("br", "img", "input"):
            self._open.append(tag)
            self.inside.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
        for tag in set(self._open):
            self.inside[tag][-1] += data


def controls(widget, kind):
    """All controls of a kind inside a widget, from top to bottom."""
    children = getattr(widget, "children", ())
    return [widget] * isinstance(widget, kind) + [c for child in children for c in controls(child, kind)]


def shown(widget):
    """The HTML that a front end shows now."""
    return "".join(area.value for area in controls(widget, ipywidgets.HTML))


def alt(widget):
    return html.unescape(re.search(r'alt="([^"]*)"', shown(widget))[1])


@pytest.fixture(scope="module")
def encoder(shallow):
    return shallow(1)


@pytest.fixture
def searchers(encoder):
    return {"by words": BM25Search(TEXTS), "by meaning": ExactSearch(encoder, TEXTS)}


# --------------------------------------------------------------------------- text stays text


@pytest.mark.parametrize("text", [NASTY, r"\[a\] \\ $ $$", "", "plain", "<!-- a --> &amp; <b>\"'</b>"])
def test_escaped_text_shows_as_it_is(text):
    page = Reader(widgets.as_text(text))
    assert page.text == text
    assert page.elements <= {"span"}


def test_no_run_of_text_holds_what_begins_a_formula():
    """MathJax looks for formulas in text that no element divides."""
    runs = re.split(r"<[^>]+>", widgets.as_text(NASTY))
    assert not [run for run in runs if re.search(r"\$.*\$|\\.", html.unescape(run))]


@pytest.mark.parametrize(
    "make",
    [
        lambda encoder: widgets.search_box({"words": BM25Search(TEXTS)}, NASTY),
        lambda encoder: widgets.noise_sliders(encoder, NASTY),
        lambda encoder: widgets.similarity_playground(encoder, SENTENCES),
    ],
    ids=["search_box", "noise_sliders", "similarity_playground"],
)
def test_no_widget_lets_markup_through(encoder, make):
    panel = make(encoder)
    for page in (Reader(shown(panel)), Reader(panel.still())):
        assert page.elements <= {"p", "b", "i", "table", "tr", "th", "td", "br", "small", "mark", "del", "span", "img"}
        assert page.attributes <= {"style", "align", "alt", "src"}


def test_the_slider_lets_no_markup_through():
    """Its script is its own, and the texts of a corpus are no part of it."""
    nasty, other = (
        Reader(widgets.temperature_slider([0.9, 0.1], [text, "b"]).page) for text in ('<b onclick="x"> $y$', "a")
    )
    assert nasty.elements == other.elements | {"span"} and nasty.attributes == other.attributes
    assert '<b onclick="x"> $y$' in nasty.text and "script" not in nasty.elements


# --------------------------------------------------------------------------- where nothing answers


@pytest.fixture(scope="module")
def panels(encoder):
    """One widget a function, with words that have to be seen where nothing answers."""
    dashboard = widgets.training_dashboard(SimCSE(encoder), SENTENCES * 4, TrainingConfig(steps=2, batch_size=4))
    dashboard.result()
    return {
        "search_box": (widgets.search_box({"by words": BM25Search(TEXTS)}, "sort coins"), "nasty"),
        "similarity_playground": (widgets.similarity_playground(encoder, SENTENCES), "Heat map"),
        "noise_sliders": (widgets.noise_sliders(encoder, "Sort the array."), "[MASK]"),
        "temperature_slider": (widgets.temperature_slider([0.9, 0.1], ["a", "b"]), "temperature 0.05"),
        "training_dashboard": (dashboard, "2 steps"),
        "sentence_map": (widgets.sentence_map(encoder, SENTENCES, ["a", "b", "a", "b"]), "4 texts in 2 groups"),
    }


def test_every_widget_is_tried_where_nothing_answers(panels):
    assert set(panels) == {name for name in widgets.__all__ if name not in ("Panel", "as_text")}


@pytest.fixture
def committed(panels):
    """A notebook with the widgets as outputs, as JupyterLab or nbclient would save it."""
    cells = []
    for name, (panel, _) in panels.items():
        bundle = panel._repr_mimebundle_()
        assert (WIDGET in bundle) == (name not in ("sentence_map", "temperature_slider")) and len(
            bundle["text/plain"]
        ) < 1000
        cells.append(nbformat.v4.new_code_cell(name, outputs=[nbformat.v4.new_output("display_data", bundle)]))
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.validate(notebook)
    return notebook


def test_a_page_made_of_a_notebook_misses_nothing_but_the_answers(committed, panels):
    for cell in committed.cells:
        cell.outputs[0].data.pop(WIDGET, None)  # what `build.clean` takes away
    page, _ = nbconvert.HTMLExporter().from_notebook_node(committed)
    for name, (_, seen) in panels.items():
        assert seen in page, name
    assert "<script>window.harm" not in page and widgets.as_text("<script>window.harm = 1</script>") in page


def test_a_committed_notebook_keeps_the_still_widgets(committed):
    build.clean(committed)
    kept = [cell.outputs[0].data for cell in committed.cells]
    assert all("text/html" in data and WIDGET not in data for data in kept)


# --------------------------------------------------------------------------- search box


def test_the_results_follow_the_question(searchers):
    box = widgets.search_box(searchers, "mean along an axis")
    (field,) = controls(box, ipywidgets.Text)
    before = Reader(shown(box))
    assert before.inside["th"] == ["by words", "by meaning"]
    assert before.inside["td"][0].startswith("1. numpy.mean")

    field.value = "join a database"
    for page in (Reader(shown(box)), Reader(box.still())):
        assert page.inside["td"][0].startswith("1. pandas.merge")
    assert "join a database" in Reader(box.still()).text


def test_hits_stand_in_the_order_and_with_the_scores_of_each_searcher(searchers):
    box = widgets.search_box(searchers, "sort an array", k=4)
    cells = Reader(shown(box)).inside["td"]
    for column, searcher in enumerate(searchers.values()):
        hits = searcher.search("sort an array", k=4)
        for place, hit in enumerate(hits, 1):
            cell = cells[2 * (place - 1) + column]
            assert cell.startswith(f"{place}. {hit.id} \xa0 {hit.score:.2f}{hit.text}")
            other = [h.id for name, s in searchers.items() if s is not searcher for h in s.search("sort an array", k=4)]
            assert ("also" in cell) == (hit.id in other)
        assert not any(cells[2 * place + column] for place in range(len(hits), 4))


@pytest.mark.parametrize(
    "question, text, marked",
    [
        ("sort arrays", "Returns an Array; sorts arrays, then sorted.", ["Array", "sorts", "arrays"]),
        ("frame state", "A DataFrame and random_state, not frameset", ["Frame", "state"]),
        ("the of", "the state of", []),
        ("café naïve", "a naïve café", ["naïve", "café"]),
        ("x", NASTY, ["x", "x"]),
    ],
)
def test_the_words_that_make_a_hit_are_marked(encoder, question, text, marked):
    page = Reader(shown(widgets.search_box({"exact": ExactSearch(encoder, [text])}, question)))
    (cell,) = page.inside["td"]
    assert page.inside.get("mark", []) == marked
    assert text in cell
    assert ("no word in common" in cell) == (not marked)


def test_a_long_text_is_cut_to_where_it_shares_words(encoder):
    text = "Nothing here. " * 60 + "At last the eigenvalues. " + "And more. " * 60
    searcher = {"exact": ExactSearch(encoder, [text])}
    (cell,) = Reader(shown(widgets.search_box(searcher, "eigenvalue"))).inside["td"]
    assert "eigenvalues" in cell and len(cell) < 300
    searcher = {"words": BM25Search([text])}  # without an encoder, its beginning
    (cell,) = Reader(shown(widgets.search_box(searcher, "nothing"))).inside["td"]
    assert cell.count("Nothing here") > 5 and "…" in cell and len(cell) < 300


def test_of_a_long_text_that_shares_no_word_the_nearest_sentence_is_shown(encoder):
    text = "Nothing here. " * 60 + "Sorting puts numbers in order. " + "And more. " * 60
    (cell,) = Reader(shown(widgets.search_box({"exact": ExactSearch(encoder, [text])}, "arrange by size"))).inside["td"]
    assert "Sorting puts numbers in order." in cell and "no word in common; its nearest sentence" in cell
    assert len(cell) < 200


def test_more_than_three_searchers_are_chosen_by_boxes_and_made_when_asked(searchers):
    made = []
    lazy = {f"search {n}": lambda n=n: made.append(n) or BM25Search(TEXTS) for n in range(5)}
    box = widgets.search_box(lazy, "sort an array")
    boxes = controls(box, ipywidgets.Checkbox)
    assert [b.description for b in boxes] == list(lazy) and made == [0, 1, 2]
    assert Reader(shown(box)).inside["th"] == ["search 0", "search 1", "search 2"]
    boxes[4].value, boxes[0].value = True, False
    assert Reader(shown(box)).inside["th"] == ["search 1", "search 2", "search 4"] and made == [0, 1, 2, 4]
    for one in boxes:
        one.value = False
    assert "Tick a search" in shown(box)
    assert not controls(widgets.search_box(searchers), ipywidgets.Checkbox)


def test_a_cross_encoder_reorders_what_a_search_finds():
    class ByLength:
        def predict(self, pairs):
            return [-len(text) for _, text in pairs]

    box = widgets.search_box({"words": BM25Search(TEXTS)}, "array", k=2, cross_encoder=ByLength())
    plain = Reader(shown(box)).inside["td"]
    (rerank,) = controls(box, ipywidgets.Checkbox)
    rerank.value = True
    reranked = Reader(shown(box)).inside["td"]
    hits = Reranked(BM25Search(TEXTS), ByLength()).search("array", k=2)
    assert [cell.split(" ")[1] for cell in reranked] == [str(hit.id) for hit in hits]
    rerank.value = False
    assert Reader(shown(box)).inside["td"] == plain


def test_a_question_without_an_answer_is_told(searchers):
    box = widgets.search_box(searchers)
    assert "Type a question" in shown(box)
    (field,) = controls(box, ipywidgets.Text)
    field.value = "zygote"
    assert "by words finds nothing" in Reader(shown(box)).text
    field.value = "  "
    assert "Type a question" in shown(box)


def test_pressing_the_button_after_enter_does_not_search_twice():
    asked = []

    class Counting(BM25Search):
        def search(self, query, k=10):
            asked.append(query)
            return super().search(query, k)

    box = widgets.search_box({"counting": Counting(TEXTS)}, "one")
    (field,), (button,) = controls(box, ipywidgets.Text), controls(box, ipywidgets.Button)
    field.value = "two"
    button.click()
    assert asked == ["one", "two"]


def test_a_searcher_that_fails_says_so_in_the_box():
    class Failing(BM25Search):
        def search(self, query, k=10):
            if query == "two":
                raise ValueError("the index of <b> is empty")
            return super().search(query, k)

    box = widgets.search_box({"failing": Failing(TEXTS)}, "one")
    (field,) = controls(box, ipywidgets.Text)
    field.value = "two"
    assert "ValueError: the index of <b> is empty" in Reader(shown(box)).text
    field.value = "three"
    assert "ValueError" not in shown(box)


def test_what_cannot_search_is_named(encoder):
    with pytest.raises(TypeError, match=r"searchers\['base'\] is a SentenceEncoder.*ExactSearch"):
        widgets.search_box({"base": encoder})
    with pytest.raises(ValueError, match="at least one"):
        widgets.search_box({})
    with pytest.raises(ValueError, match="pass {name: searcher}"):
        widgets.search_box(BM25Search(TEXTS))


# --------------------------------------------------------------------------- playground and temperature


def test_the_heat_map_follows_the_sentences(encoder):
    panel = widgets.similarity_playground(encoder, SENTENCES[:2])
    boxes, (more,) = controls(panel, ipywidgets.Text), controls(panel, ipywidgets.Button)
    a, b = torch.tensor(encoder.encode(SENTENCES[:2]))
    assert f"Highest {F.cosine_similarity(a, b, 0):.2f} between" in alt(panel)

    boxes[1].value = boxes[0].value
    assert "Highest 1.00 between" in alt(panel)
    more.click()
    assert "for 2 texts" in alt(panel)  # the new box is empty
    controls(panel, ipywidgets.Text)[2].value = NASTY
    assert "for 3 texts" in alt(panel) and "<script>" in alt(panel)
    for box in boxes:
        box.value = " "
    assert "for 1 texts" in alt(panel)
    controls(panel, ipywidgets.Text)[2].value = ""
    assert "Write a sentence" in shown(panel)
    while not more.disabled:
        more.click()
    assert len(controls(panel, ipywidgets.Text)) == 10


@pytest.mark.parametrize("texts", [[], ["a"] * 11, "a sentence"])
def test_another_number_of_sentences_is_named(encoder, texts):
    with pytest.raises(ValueError, match="1 to 10 sentences"):
        widgets.similarity_playground(encoder, texts)


@pytest.mark.parametrize("temperature", [0.05, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("positive", [0, 2])
def test_the_bars_are_the_softmax_of_simcse(positive, temperature):
    cosines = torch.tensor([0.9, 0.82, 0.75, 0.1], dtype=torch.float64)
    slider = widgets.temperature_slider(cosines, list("abcd"), positive, temperature)
    loss = F.cross_entropy(cosines[None] / temperature, torch.tensor([positive]))
    rows = Reader(slider.page).inside["td"]
    for said in (slider.told, Reader(slider.page).text):
        assert f"temperature {temperature:g}: the loss of this anchor is {loss:.3f}" in said
    for name, cosine, share in zip("abcd", cosines, (cosines / temperature).softmax(0)):
        assert f"{name} (cosine {cosine:.2f}) {share:.1%}" in slider.told
        at = next(i for i, cell in enumerate(rows) if cell in (name, f"Its other view: {name}"))
        assert rows[at + 1] == f"{cosine:.2f}" and rows[at + 3] == f"{share:.1%}"
    assert rows[0] == f"Its other view: {'abcd'[positive]}"


def test_far_candidates_share_one_bar_and_lose_nothing():
    slider = widgets.temperature_slider(np.linspace(0.9, 0.1, 40), [str(i) for i in range(40)], temperature=0.5)
    rows = Reader(slider.page).inside["td"]
    assert rows[-4] == "the other 28 together" and len(rows) == 4 * 13
    assert sum(float(share.removesuffix("%")) for share in rows[3::4]) == pytest.approx(100, abs=0.7)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cosines": [18.0, 3.0]}, "between −1 and 1"),
        ({"cosines": [0.5]}, "at least 2"),
        ({"cosines": [0.5, np.nan]}, "at least 2"),
        ({"labels": ["a"]}, "labels holds 1"),
        ({"positive": 2}, "positive is 2"),
        ({"temperature": 0}, "temperature is 0"),
    ],
)
def test_candidates_that_do_not_fit_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        widgets.temperature_slider(**{"cosines": [0.9, 0.1], "labels": ["a", "b"]} | change)


# --------------------------------------------------------------------------- noise

SENTENCE = "The array, the arrays and the argsort of unhashable 😀 arrays."


def parts(panel):
    """The chips under each heading, as HTML: [[chip, …], …]."""
    lines = re.findall(r'<p style="margin:0">(.*?)</p>', shown(panel))
    return [re.findall(r'<span style="border[^>]*>(.*?)</span>(?= <span style="border|$)', line) for line in lines]


@pytest.mark.parametrize("probability", [0, 0.3, 0.6, 1])
def test_what_is_left_is_what_the_noise_of_tsdae_leaves(encoder, probability):
    panel = widgets.noise_sliders(encoder, SENTENCE, probability, None, seed=3)
    sentence, damaged = parts(panel)
    tokenizer = encoder.tokenizer
    tokens = tokenizer(SENTENCE)
    ids = torch.tensor([tokens["input_ids"]])
    words = torch.tensor([[word or 0 for word in tokens.word_ids()]])
    special = [tokenizer.cls_token_id, tokenizer.sep_token_id]
    left, _ = functional.delete_tokens(ids, special, probability, torch.Generator().manual_seed(3), words=words)
    assert [Reader(chip).text for chip in sentence] == tokenizer.convert_ids_to_tokens(ids[0].tolist())
    assert [Reader(chip).text for chip in damaged] == tokenizer.convert_ids_to_tokens(ids[0].tolist())
    kept = [chip for chip in damaged if "<del" not in chip]
    assert [Reader(chip).text for chip in kept] == tokenizer.convert_ids_to_tokens(left[0].tolist())
    assert f"{len(damaged) - len(kept)} of {len(damaged) - 2} tokens deleted" in Reader(shown(panel)).text


@pytest.mark.parametrize("probability", [0, 0.15, 0.8, 1])
def test_what_is_masked_is_what_the_noise_of_mlm_masks(encoder, probability):
    panel = widgets.noise_sliders(encoder, SENTENCE, None, probability, seed=5)
    _, damaged = parts(panel)
    tokenizer = encoder.tokenizer
    ids = encoder.tokenize([SENTENCE])["input_ids"]
    inputs, labels = functional.mask_tokens(
        ids,
        tokenizer.all_special_ids,
        probability,
        tokenizer.mask_token_id,
        len(tokenizer),
        torch.Generator().manual_seed(5),
    )
    expected = [
        f"{new} ({old})" if label != -100 else new
        for new, old, label in zip(
            *(tokenizer.convert_ids_to_tokens(row[0].tolist()) for row in (inputs, ids)), labels[0]
        )
    ]
    assert [Reader(chip).text for chip in damaged] == expected


def test_the_noise_follows_slider_sentence_and_button(encoder):
    panel = widgets.noise_sliders(encoder, SENTENCE)
    (deletion, masking), (line,) = controls(panel, ipywidgets.FloatSlider), controls(panel, ipywidgets.Text)
    gone = lambda: {i for i, chip in enumerate(parts(panel)[1]) if "<del" in chip}  # noqa: E731
    few = gone()
    deletion.value = 0.9
    assert few < gone()  # under one seed, more of the same
    deletion.value = 0.6
    assert gone() == few
    (again,) = controls(panel, ipywidgets.Button)
    again.click()
    assert gone() != few
    line.value = "Another sentence."
    assert "another" in [Reader(chip).text for chip in parts(panel)[0]]
    masking.value = 0
    assert "0 of 3 tokens chosen" in Reader(shown(panel)).text
    line.value = ""
    assert "0 of 0 tokens" in Reader(shown(panel)).text


def test_a_noise_that_cannot_be_is_named(encoder):
    with pytest.raises(ValueError, match="deletion is 60"):
        widgets.noise_sliders(encoder, SENTENCE, deletion=60)
    assert len(controls(widgets.noise_sliders(encoder, SENTENCE, masking=None), ipywidgets.FloatSlider)) == 1


# --------------------------------------------------------------------------- map


def test_the_map_carries_every_text_as_it_is(encoder):
    texts = SENTENCES + [f"{NASTY} {i}" for i in range(8)]
    groups = [("<b>one", "$two$")[i % 2] for i in range(12)]
    chart = widgets.sentence_map({"Before": encoder, "<i>After": encoder.encode(texts, normalize=True)}, texts, groups)
    figure = chart._repr_mimebundle_()["application/vnd.plotly.v1+json"]
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure and "bdata" not in json.dumps(figure)
    traces = figure["data"]
    assert [html.unescape(t["name"]) for t in traces] == ["<b>one", "$two$"] * 2
    for i, trace in enumerate(traces):
        hover = [html.unescape(text.replace("<br>", " ")) for text in trace["hovertext"]]
        assert hover == [" ".join(text.split()) for text in texts[i % 2 :: 2]]
        assert not [text for text in trace["hovertext"] if "$" in text or "<" in text.replace("<br>", "")]
    assert np.allclose(traces[0]["x"], traces[2]["x"], atol=1e-3)


def test_the_map_is_flattened_as_principal_components(encoder):
    texts = SENTENCES + ["A sixth text.", "A seventh text."]
    x = encoder.encode(texts, normalize=True)
    chart = widgets.sentence_map(encoder, texts, ["one"] * 6)
    (trace,) = chart._repr_mimebundle_()["application/vnd.plotly.v1+json"]["data"]
    left, sizes, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    assert np.allclose(np.abs(left[:, :2] * sizes[:2]), np.abs([trace["x"], trace["y"]]).T, atol=1e-3)


def test_groups_that_do_not_fit_are_named(encoder):
    with pytest.raises(ValueError, match="4 rows|for 2 groups"):
        widgets.sentence_map(encoder, SENTENCES, ["a", "b"])
