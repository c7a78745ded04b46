"""Every figure: readable, opaque, small, with an alt text that carries the numbers of its data."""

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
from matplotlib.colors import to_rgb

from course_lib.notebook import plots
from course_lib.notebook.plots.picture import SHARPNESS

LONG = "A title that nobody wanted to be this long, of the _figure_ that $nobody$ has asked for, drawn on a Sunday"


def drawing_functions():
    """Every public function in the rooms of the figures, found rather than listed, so that none can be forgotten."""
    rooms = [importlib.import_module(f"{plots.__name__}.{m.name}") for m in pkgutil.iter_modules(plots.__path__)]
    found = {
        n: f
        for room in rooms
        for n, f in inspect.getmembers(room, inspect.isfunction)
        if f.__module__ == room.__name__
        and not n.startswith("_")
        and inspect.signature(f).return_annotation is plots.Picture
    }
    return found.keys() - {"show"}


def test_every_drawing_function_is_tried_and_can_be_reached(examples):
    assert drawing_functions() == {name.split()[0] for name in examples.FIGURES}
    assert drawing_functions() <= set(plots.__all__) and all(hasattr(plots, name) for name in plots.__all__)


def test_picture_is_opaque_small_and_not_blank(drawn, figure):
    shown = drawn[figure][0]
    image = PIL.Image.open(io.BytesIO(shown.data))
    assert isinstance(shown, plots.Picture) and image.format == "PNG" and "transparency" not in image.info
    assert len(image.getcolors()) > 20 and (np.asarray(image.convert("RGB"))[0] == 255).all()
    assert 300 < image.width / SHARPNESS <= 1100 and len(shown.data) < 90_000
    assert f'width="{image.width / SHARPNESS:.0f}"' in shown._repr_html_()


def test_alt_text_carries_the_numbers(drawn, examples, figure):
    alt = drawn[figure][0].alt
    missing = [part for part in examples.FIGURES[figure][2] if part not in alt]
    assert not missing and 60 < len(alt) < 1200, alt


def test_labels_are_large_whole_and_apart(drawn, figure):
    check_labels(*drawn[figure][1:])


def test_a_long_title_is_whole(drawn, examples, figure):
    function = getattr(plots, figure.split()[0])
    assert "title" in inspect.signature(function).parameters
    _, drawing, texts = examples.draw(figure, title=LONG)
    check_labels(drawing, texts)
    assert " ".join(LONG.split()) in " ".join(" ".join(t.get_text().split()) for t in texts)


def check_labels(figure, texts):
    """Every text at least 12 points, inside the figure, and not over another one."""
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
            assert width <= 2 * SHARPNESS or height <= 2 * SHARPNESS, f"{text} overlaps {other}"


def test_text_is_drawn_as_text(drawn, figure):
    texts = drawn[figure][2]
    assert len(texts) > 3 and not any(t.get_parse_math() for t in texts)


@pytest.mark.parametrize(
    "name",
    [
        "histogram",
        "cosine_histogram",
        "sentence_map",
        "curves",
        "learning_rates",
        "frontier",
        "alignment_uniformity",
        "memory_bars",
    ],
)
def test_a_name_with_an_underscore_is_in_the_legend(drawn, name):
    assert any("$a_b$" in t.get_text() for legend in legends(drawn[name][1]) for t in legend.get_texts())


@pytest.mark.parametrize("name", ["curves", "learning_rates", "frontier"])
def test_lines_are_told_apart_without_colour(drawn, name):
    for axes in drawn[name][1].axes:
        styles = [line.get_linestyle() for line in axes.lines if not line.get_label().startswith("_")]
        dashes = [line._dash_pattern for line in axes.lines if line.get_color() != plots.GREY]
        assert len(styles) > 1 and len({str(d) for d in dashes}) == len(dashes)


def legends(figure):
    return [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]


@pytest.mark.parametrize("colour", [*plots.COLOURS, plots.picture.PALE, "white", "#888888"])
def test_ink_can_be_read_on_every_colour(colour):
    """Contrast of at least 4.5 to 1, as WCAG 2.2 asks of text (success criterion 1.4.3)."""

    def luminance(c):
        return sum(
            w * (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)
            for w, v in zip((0.2126, 0.7152, 0.0722), to_rgb(c))
        )

    low, high = sorted(luminance(c) for c in (colour, plots.layout.ink(colour)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize(
    "name, shown",
    {
        "ndcg@10": "nDCG@10",
        "Across libraries, map": "Across libraries, MAP",
        "STS-B, spearman": "STS-B, Spearman",
        "map of texts": "map of texts",
        "bitmap": "bitmap",
        "mrr@5": "MRR@5",
    }.items(),
)
def test_metrics_are_written_as_the_field_writes_them(name, shown):
    assert plots.labels.measure(name) == shown


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


NOTEBOOKS = sorted((Path(__file__).parents[3] / "notebooks").glob("*.ipynb"))


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
