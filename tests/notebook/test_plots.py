"""Figures: each a readable picture whose alt text carries the numbers of its data; bad input is named."""

import html
import importlib
import inspect
import io
import json
import pkgutil
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from course_lib.evaluation.comparison import RunRecord, table
from course_lib.notebook import plots
from course_lib.notebook.plots import training
from course_lib.training import TrainingRecord

SENTENCES = ["Sort the array in place and return None, as list.sort does.", "Return the indices that sort a tensor.",
             "Costs $5 <script>alert(1)</script> or $x_i$", "_private_name: raised when a file cannot be found"]
COSINES = np.array([[1, 0.81, 0.32, 0.24], [0.81, 1, 0.30, 0.11], [0.32, 0.30, 1, 0.45], [0.24, 0.11, 0.45, 1]])
TOKENS = ["[CLS]", "cost", "##s", "$", "x", "_", "i", "$", "<script>", "[SEP]"]
NASTY = "_$a_b$ <script>"


def rng():
    return np.random.default_rng(0)


def attention():
    scores = rng().normal(size=(10, 10))
    scores[2, 7] += 6
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def groups_of_points():
    """Embeddings (60, 8) of three groups, well apart in `after` and mixed in `before`; and the groups' names."""
    groups = np.repeat(["numpy", "pandas", NASTY], 20)
    before = rng().normal(size=(60, 8))
    return {"Base encoder": before, "After training": before + 9 * np.repeat(np.eye(8)[:3], 20, 0)}, list(groups)


def training_record(n=80):
    steps = [{"step": i + 1, "loss": 3 * 0.97**i + 0.1 * np.sin(i), "gradient_norm": 1 + 1 / (i + 1)} for i in range(n)]
    evaluations = [{"step": s, "seconds": 1.0, "ndcg@10": 0.2 + s / 400, "spearman": 0.4} for s in (20, 40, 60, 80)]
    return TrainingRecord(config={}, precision="fp32", device="cpu", texts=100, objective={}, steps=steps,
                          evaluations=evaluations)


def run_records():
    """BM25, which no STS is measured of, and three methods, one of them with two seeds."""
    records = []
    runs = [("bm25", "BM25", 0, 0.5), ("base", "Base encoder", 0, 0.2), ("simcse", "SimCSE", 0, 0.4),
            ("simcse", "SimCSE", 1, 0.42), ("minilm", "all-MiniLM-L6-v2 (supervised)", 0, 0.6)]
    for method, title, seed, mean in runs:
        results = {}
        for task, heading in (("summary", "Summary → description"), ("questions", NASTY), ("see_also", "See also"),
                              ("across", "Across libraries")):
            values = np.clip(rng().normal(mean, 0.2, 50), 0, 1)
            results[task] = {"title": heading, "metric": "ndcg@10", "value": values.mean(),
                             "per_query": dict(enumerate(values))}
        if method == "bm25":
            del results["across"]
        records.append(RunRecord(method, title, "cpu", seed, {}, {}, {}, {}, results))
    return records


RESAMPLED = rng().normal(0.04, 0.01, 2000)
CURVE = [(s, 0.2 + s / 1000) for s in range(0, 300, 25)]

FIGURES = {  # one call a function, with the numbers and words that its alt text must carry
    "similarity_heatmap": (lambda: plots.similarity_heatmap(SENTENCES, COSINES),
                           ["0.81", "0.11", "0.37", "<script>", "$x_i$"]),
    "attention_map": (lambda: plots.attention_map(TOKENS, attention()),
                      ["10 tokens", f"{attention().max():.2f}", "“##s” on “$”"]),
    "cosine_histogram": (lambda: plots.cosine_histogram({
        "Base encoder": {"Random pairs": np.linspace(0.6, 0.8, 100), NASTY: np.linspace(0.7, 0.96, 100)},
        "After SimCSE": {"Random pairs": np.linspace(-0.1, 0.3, 100), NASTY: np.linspace(0.5, 0.9, 100)}}),
        ["0.70", "0.83", "0.10", NASTY]),
    "sentence_map of one panel": (lambda: plots.sentence_map(
        {"Base encoder": groups_of_points()[0]["Base encoder"]}, [f"{NASTY} {i % 7}" for i in range(60)],
        ["word " * 40] * 60), ["7 groups", NASTY + " 6"]),
    "sentence_map": (lambda: plots.sentence_map(*groups_of_points(), [f"{NASTY} sentence {i} " * 9 for i in range(60)]),
                     ["60 texts", "3 groups", "100%", NASTY]),
    "curves": (lambda: plots.curves({NASTY: [CURVE, [(s, v + 0.1) for s, v in CURVE]], "A name that is long": CURVE},
                                    "nDCG@10", references={"BM25": 0.51}),
               ["2 seeds", "0.250", "0.525", "0.510", NASTY]),
    "training_curves": (lambda: plots.training_curves(training_record(), f"Training of {NASTY}"),
                        ["80 steps", "3.00", "0.400", "ndcg@10", "spearman"]),
    "alignment_uniformity": (lambda: plots.alignment_uniformity(
        {"Base encoder": (0.41, -1.12), NASTY: [(0.41, -1.12), (0.35, -1.9), (0.33, -2.51)]}),
        ["0.41", "-1.12", "-2.51"]),
    "comparison_bars": (lambda: plots.comparison_bars(run_records()),
                        ["SimCSE", "all-MiniLM-L6-v2", "BM25", "not measured"]),
    "bootstrap_distribution": (lambda: plots.bootstrap_distribution(RESAMPLED, 0.04, 0.02, 0.06),
                               ["0.040", "excludes 0", "0.0%"]),
    "pipeline": (lambda: plots.pipeline([
        ("Sentence", "$5 for a <b>"), ("Transformer", "six layers of attention"),
        (NASTY, "an_identifier_that_is_too_long_for_a_box"), *[("Cross-encoder", "")] * 4], "Idea"),
                 ["Sentence ($5 for a <b>) → Transformer", "an_identifier"]),
}


@pytest.fixture(scope="module")
def drawn():
    """{function: (Picture, the matplotlib figure behind it, the texts drawn in it)}."""
    kept = {}
    with pytest.MonkeyPatch.context() as patch:
        save, draw_text = Figure.savefig, Text.draw
        patch.setattr(Figure, "savefig", lambda figure, *a, **k: figures.append(figure) or save(figure, *a, **k))
        patch.setattr(Text, "draw", lambda text, renderer: texts.update({text: None}) or draw_text(text, renderer))
        for name, (draw, _) in FIGURES.items():
            figures, texts = [], {}
            kept[name] = draw(), figures[0], [t for t in texts if t.get_visible() and t.get_text().strip()]
    return kept


def drawing_functions():
    """Every public function in the rooms of the figures, found rather than listed, so that none can be forgotten."""
    rooms = [importlib.import_module(f"{plots.__name__}.{m.name}") for m in pkgutil.iter_modules(plots.__path__)]
    found = {n: f for room in rooms for n, f in inspect.getmembers(room, inspect.isfunction)
             if f.__module__ == room.__name__ != plots.picture.__name__ and not n.startswith("_")}
    return found.keys() - {"comparison_picture"}  # bytes for a file, not a Picture


def test_every_drawing_function_is_tried_and_can_be_reached():
    assert drawing_functions() == {name.split()[0] for name in FIGURES}
    assert drawing_functions() <= set(plots.__all__) and all(hasattr(plots, name) for name in plots.__all__)


@pytest.mark.parametrize("name", FIGURES)
def test_picture_is_opaque_small_and_not_blank(drawn, name):
    shown = drawn[name][0]
    image = PIL.Image.open(io.BytesIO(shown.data))
    assert image.format == "PNG" and "transparency" not in image.info
    assert len(image.getcolors()) > 20 and (np.asarray(image.convert("RGB"))[0] == 255).all()
    assert 300 < image.width <= 1100 and len(shown.data) < 60_000


@pytest.mark.parametrize("name", FIGURES)
def test_alt_text_carries_the_numbers(drawn, name):
    alt = drawn[name][0].alt
    missing = [part for part in FIGURES[name][1] if part not in alt]
    assert not missing and 60 < len(alt) < 1200, alt


@pytest.mark.parametrize("name", FIGURES)
def test_labels_are_large_whole_and_apart(drawn, name):
    _, figure, texts = drawn[name]
    boxes = []
    for text in texts:
        box = text.get_window_extent()
        assert text.get_fontsize() >= 12, text
        assert min(box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1) >= -1, f"cut: {text}"
        boxes.append((text, box))
    for i, (text, box) in enumerate(boxes):
        for other, its_box in boxes[:i]:
            width = min(box.x1, its_box.x1) - max(box.x0, its_box.x0)
            height = min(box.y1, its_box.y1) - max(box.y0, its_box.y0)
            assert width <= 2 or height <= 2, f"{text} overlaps {other}"


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_drawn_as_text(drawn, name):
    texts = drawn[name][2]
    assert len(texts) > 3 and not any(t.get_parse_math() for t in texts)


@pytest.mark.parametrize("name", ["cosine_histogram", "sentence_map", "curves", "alignment_uniformity"])
def test_a_name_with_an_underscore_is_in_the_legend(drawn, name):
    assert any("$a_b$" in t.get_text() for legend in legends(drawn[name][1]) for t in legend.get_texts())


def legends(figure):
    return [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]


# --------------------------------------------------------------------------- alt text


@pytest.mark.parametrize("alt", [None, "", "   ", "A figure.", "a" + 30 * " " + "b"])
def test_a_figure_needs_an_alt_text(alt):
    with pytest.raises(ValueError, match="alt is .*; say in a sentence"):
        plots.show(plt.figure(), alt)
    plt.close("all")


def test_show_closes_the_figure_so_that_jupyter_shows_it_once():
    with plots.style():
        figure, axes = plt.subplots()
        axes.plot([1, 2])
    picture = plots.show(figure, "A line that rises from 1 to 2 in one step.")
    assert not plt.fignum_exists(figure.number) and repr(picture) == picture.alt


def test_style_leaves_matplotlib_as_it_was():
    before = dict(plt.rcParams)
    plots.pipeline([("a", ""), ("b", "")])
    assert dict(plt.rcParams) == before


def test_notebook_output_holds_alt_text_and_no_markup_of_the_corpus():
    from IPython.core.formatters import DisplayFormatter

    formatter = DisplayFormatter()
    formatter.active_types = ["text/plain", "text/html", "image/png"]
    picture = plots.Picture(b"bytes", 'cosine of "<script>alert(1)</script>" is 0.81')
    data, _ = formatter.format(picture)
    assert set(data) == {"text/html", "text/plain"}
    assert "<script>" not in data["text/html"]
    assert html.unescape(re.search('alt="([^"]*)"', data["text/html"])[1]) == picture.alt


def test_nbconvert_keeps_the_alt_text(drawn):
    import nbformat
    from nbconvert import HTMLExporter

    picture, _, _ = drawn["pipeline"]
    output = nbformat.v4.new_output("execute_result", {"text/html": picture._repr_html_(), "text/plain": repr(picture)})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])])
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert html.escape(picture.alt) in page and "No description has been provided" not in page


NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_image_of_a_notebook_has_an_alt_text_and_every_figure_exists(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    asked = {name for cell in cells for name in re.findall(r"\bplots\.(\w+)", "".join(cell["source"]))}
    assert all(hasattr(plots, name) for name in asked), asked
    for output in [o.get("data", {}) for cell in cells for o in cell.get("outputs", [])]:
        assert "image/png" not in output, "shown without plots.show, which asks for an alt text"
        for tag in re.findall("<img [^>]*>", "".join(output.get("text/html", ""))):
            alt = re.search('alt="([^"]*)"', tag)
            assert alt and len(html.unescape(alt[1])) >= plots.picture.SHORTEST_ALT, tag[:80]


# --------------------------------------------------------------------------- what the figures say


def test_sentence_map_counts_nearest_neighbours():
    panels, groups = groups_of_points()
    share = {}
    for name, x in panels.items():
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosines = unit @ unit.T - 2 * np.eye(len(x))
        share[name] = np.mean([groups[i] == groups[j] for i, j in enumerate(cosines.argmax(1))])
    alt = plots.sentence_map(panels, groups).alt
    assert share["Base encoder"] < 0.6 and share["After training"] == 1
    assert all(f"{name}: the nearest text is of the same group for {s:.0%}" in alt for name, s in share.items())


def test_bars_take_their_numbers_from_the_comparison(drawn):
    picture, figure, _ = drawn["comparison_bars"]
    rows = {r["method"]: r for r in table(run_records())}
    for method, row in rows.items():
        value, low, high = row["see_also"]
        assert f"{method} {value:.3f} ({low:.3f} to {high:.3f})" in picture.alt
    axes = next(a for a in figure.axes if a.get_title(loc="left").startswith("See also"))
    assert [b.get_width() for b in axes.patches] == [rows[m]["see_also"][0] for m in rows if m != "BM25"]
    (line,) = [line for line in axes.lines if line.get_label() == "BM25"]
    assert line.get_xdata()[0] == rows["BM25"]["see_also"][0] and line.get_linestyle() == "--"


def test_bars_of_rows_are_those_of_records_and_picture_is_the_same():
    records = run_records()
    from_records = plots.comparison_bars(records, ["see_also"])
    from_rows = plots.comparison_bars(table(records), {"see_also": "See also, ndcg@10"})
    assert from_rows == from_records and "Summary" not in from_records.alt
    assert plots.comparison_picture(records) == plots.comparison_bars(records).data


def test_bars_of_bm25_alone_and_of_a_correlation_that_is_not_a_number():
    bm25, base = table(run_records()[:2])
    assert "BM25 0.5" in plots.comparison_bars([bm25]).alt
    alt = plots.comparison_bars([base | {"see_also": (np.nan, np.nan, np.nan)}], ["see_also"]).alt
    assert "Base encoder not measured" in alt


def test_bands_hold_lowest_and_highest_seed(drawn):
    axes = drawn["curves"][1].axes[0]
    band = axes.collections[0].get_paths()[0].vertices
    assert np.isclose(band[:, 1].min(), 0.2) and np.isclose(band[:, 1].max(), 0.575)
    assert np.allclose(axes.lines[0].get_ydata(), [v + 0.05 for _, v in CURVE])


def test_smoothing_averages_around_a_point_and_keeps_a_level_line_level():
    assert np.allclose(training._smoothed(np.full(10, 2.5), 4), 2.5)
    assert np.allclose(training._smoothed(np.array([0.0, 0, 6, 0, 0]), 3), [0, 2, 2, 2, 0])


def test_training_of_a_dict_without_evaluations():
    record = {"steps": training_record(30).steps, "evaluations": []}
    assert "30 steps" in plots.training_curves(record).alt


def test_a_training_that_diverged_says_so():
    record = training_record()
    record.steps[50]["gradient_norm"] = float("inf")
    assert "Gradient norm (not finite at 1 of 80 steps)" in plots.training_curves(record).alt
    for step in record.steps:
        step["loss"] = float("nan")
    with pytest.raises(ValueError, match="no finite loss in 80 steps"):
        plots.training_curves(record)


def test_an_interval_over_zero_is_called_one():
    assert "includes 0" in plots.bootstrap_distribution(RESAMPLED - 0.04, 0.0, -0.02, 0.02).alt


# --------------------------------------------------------------------------- bad input

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
    "too many groups": (lambda: plots.cosine_histogram({i: [0.1] for i in range(8)}), "8 entries; at most 7"),
    "embeddings with NaN": (lambda: plots.sentence_map({"a": NAN}, ["x", "y"]), r"panels\['a'\] holds 1"),
    "groups that do not match": (lambda: plots.sentence_map({"a": np.eye(3)}, ["x", "y"]), "for 2 groups"),
    "texts that do not match": (lambda: plots.sentence_map({"a": np.eye(3)}, ["x"] * 3, ["t"]), "texts holds 1 for 3"),
    "too many groups on a map": (lambda: plots.sentence_map({"a": np.eye(8)}, range(8)), "8 different names"),
    "no lines": (lambda: plots.curves({}, "Loss"), "series is {}"),
    "a curve that is not of pairs": (lambda: plots.curves({"a": [1, 2, 3]}, "Loss"), r"series\['a'\] has shape"),
    "seeds of different lengths": (lambda: plots.curves({"a": [CURVE, CURVE[1:]]}, "Loss"), r"series\['a'\] cannot be"),
    "seeds at different steps": (lambda: plots.curves({"a": [CURVE, [(s + 1, v) for s, v in CURVE]]}, "Loss"), "steps"),
    "a curve with NaN": (lambda: plots.curves({"a": [(0, np.nan)]}, "Loss"), r"series\['a'\] holds 1"),
    "a level that is NaN": (lambda: plots.curves({"a": CURVE}, "Loss", references={"b": np.nan}), r"references\['b'\]"),
    "a training without steps": (lambda: plots.training_curves({"steps": [], "evaluations": []}), "finite loss in 0"),
    "a training of another kind": (lambda: plots.training_curves({"loss": [1]}), "record has no 'steps'"),
    "points of three numbers": (lambda: plots.alignment_uniformity({"a": (1, 2, 3)}), r"points\['a'\] has shape"),
    "no records": (lambda: plots.comparison_bars([]), "records is empty"),
    "a task nobody measured": (lambda: plots.comparison_bars(run_records(), ["sts"]), "sts; measured: summary"),
    "an interval beside its value": (lambda: plots.bootstrap_distribution([0.1, 0.2], 0.5, 0, 0.2), "observed is 0.5"),
    "one box": (lambda: plots.pipeline([("a", "b")]), "steps holds 1 boxes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    draw, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        draw()
