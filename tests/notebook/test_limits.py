"""Every notebook keeps to the limits of a notebook: cells, words, lines of a code cell, and figures."""

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = {path.stem: path for path in sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))}
CELLS, WORDS, LINES, FIGURES = 60, 2500, 20, range(5, 9)
# 12 is shorter than the others
TIGHTER = {"00_start_here": (39, 2500, range(9)), "12_your_own_text": (44, 2000, FIGURES)}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_keeps_to_its_limits(name):
    most_cells, most_words, figures = TIGHTER.get(name, (CELLS, WORDS, FIGURES))
    cells = nbformat.read(NOTEBOOKS[name], as_version=4).cells
    taught = [cell for cell in cells if "setup" not in cell.metadata.get("tags", [])]
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    lines = max(len(cell.source.splitlines()) for cell in cells if cell.cell_type == "code")
    drawn = sum("<img " in o.get("data", {}).get("text/html", "") for c in cells for o in c.get("outputs", []))
    assert (len(taught) <= most_cells, words <= most_words, lines <= LINES) == (True,) * 3
    assert drawn == 0 or drawn in figures  # 0: not executed yet
    assert not [cell for cell in cells if "TODO" in cell.source]
