"""What notebook 00 says in words is what its outputs and the records say."""

import re
from pathlib import Path

import nbformat
import pytest

from course_lib.recipes import tables

PATH = Path(__file__).parents[2] / "notebooks" / "00_start_here.ipynb"


@pytest.fixture(scope="module")
def cells():
    return nbformat.read(PATH, as_version=4).cells


@pytest.fixture(scope="module")
def prose(cells):
    return " ".join(" ".join(cell.source for cell in cells if cell.cell_type == "markdown").split())


def outputs(cells, source):
    """The text of the outputs of the first code cell with this in its source."""
    cell = next(cell for cell in cells if cell.cell_type == "code" and source in cell.source)
    data = (output.get("data", {}) for output in cell.outputs)
    return " ".join(str(o.get("text", "")) for o in cell.outputs) + " ".join(f"{list(d.values())}" for d in data)


def test_the_tasks_found_are_those_of_the_table(cells, prose):
    supervised, bm25, base, *_ = re.findall(r"\*\*(\d+) of (\d+)\*\*", outputs(cells, "found among the first five"))
    said = rf"for {supervised[0]} of {supervised[1]} (everyday )?tasks, BM25 for {bm25[0]}, and the base encoder"
    assert len(re.findall(said, prose)) == 2 and re.search(rf"the base encoder for {base[0]}\.", prose)
    assert int(supervised[0]) > 1.5 * int(bm25[0]) > 3 * int(base[0])  # what the notebook is built on


def test_the_cosines_are_those_of_the_outputs(cells, prose):
    found = re.findall(r"Heat map of \S+.*?Highest ([\d.]+) .*?lowest ([\d.]+)", outputs(cells, "heatmap("))
    supervised, base = found[::2]  # each stands in the alt text and in the plain text
    assert f"a cosine of {supervised[0]}" in prose and f"gives {base[0]} to the same pair" in prose
    assert f"and {base[1]} to the others" in prose
    lost, _, opposite, _ = re.findall(r"(\d\.\d\d)  ", outputs(cells, "lost ="))
    assert f"the useless hit has {lost}" in prose and f"a cosine of {opposite}" in prose
    assert f"a right one has {re.search(r'   ([.0-9]+)', outputs(cells, 'my_search'))[1]}" in prose


def test_the_readme_shows_the_first_hits_of_the_notebook(cells):
    hits = re.findall(r"1\. <b>(.*?)</b>", outputs(cells, "widgets.search_box("))
    row = next(line for line in tables.README.read_text(encoding="utf-8").splitlines() if line.startswith("| `pandas."))
    assert re.findall(r"`(\S+?)`", row) == [hit.replace("<wbr>", "") for hit in hits]


@pytest.mark.parametrize(
    "method, task, said",
    [
        ("base", "summary_to_description", "goes from {}"),
        ("cropping", "summary_to_description", "to {} in finding a description"),
        ("minilm", "summary_to_description", "The supervised encoder has {}"),
        ("bm25", "summary_to_description", "and BM25 {}"),
        ("cropping", "questions", "is larger: {} against"),
        ("minilm", "questions", "against {}"),
    ],
)
def test_the_results_are_those_of_the_records(prose, method, task, said):
    assert said.format(f"{tables.first_value(method, task):.2f}") in prose
