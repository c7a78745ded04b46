"""What a cell says that is stopped, or runs before those above it."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from course_lib.notebook import errors

EXPLAIN = f"exec(open({errors.__file__!r}).read())"  # as IPython runs a start-up file


def outputs(source):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in (EXPLAIN, source)])
    with pytest.raises(CellExecutionError):
        NotebookClient(notebook, timeout=60).execute()
    assert not notebook.cells[0].outputs
    return notebook.cells[1].outputs


def test_a_missing_name_is_explained():
    error, printed = outputs("print(docs)")
    assert error["ename"] == "NameError" and "Does a cell above define `docs`?" in printed["text"]
    assert "Run All Above" in printed["text"]


def test_a_stopped_cell_ends_with_one_line():
    (error,) = outputs("raise KeyboardInterrupt")
    assert error["traceback"] == ["Stopped. Run the cell again to go on."]
