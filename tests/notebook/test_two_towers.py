"""Notebooks 06 and 07 keep to the limits of a notebook."""

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("name", ["06_contrastive_tension", "07_ct_in_batch_negatives"])
def test_limits(name):
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells
    taught = [cell for cell in cells if "setup" not in cell.metadata.get("tags", [])]
    words = sum(len(cell.source.split()) for cell in taught if cell.cell_type == "markdown")
    lines = max(len(cell.source.splitlines()) for cell in taught if cell.cell_type == "code")
    figures = sum("<img " in str(o.get("data", {}).get("text/html", "")) for c in cells for o in c.get("outputs", []))
    assert (len(taught) <= 60, words <= 2500, lines <= 20, figures in (0, 5, 6, 7, 8)) == (True,) * 4
