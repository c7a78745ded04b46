"""What `make notebooks` leaves in a notebook."""

import nbformat
import pytest

from course_lib.notebook.build import clean

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def cleaned():
    """The outputs of a notebook's cell after `clean`, given those before."""

    def clean_outputs(*outputs):
        cell = nbformat.v4.new_code_cell(
            "1",
            outputs=list(outputs),
            metadata={"execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"}, "tags": ["a"]},
        )
        notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
        clean(notebook)
        nbformat.validate(notebook)
        assert "widgets" not in notebook.metadata and notebook.cells[0].metadata == {"tags": ["a"]}
        return notebook.cells[0].outputs

    return clean_outputs


def shown(**data):
    return nbformat.v4.new_output("display_data", {k.replace("_", "/"): v for k, v in data.items()})


def test_a_widget_leaves_its_still_form(cleaned):
    widget = shown(text_html="<p>still</p>", text_plain="Panel()")
    widget["data"][VIEW] = {"model_id": "1"}
    (left,) = cleaned(widget)
    assert left["data"] == {"text/html": "<p>still</p>", "text/plain": "Panel()"}


def test_progress_bars_go_and_what_was_printed_stays(cleaned):
    bar = shown(text_plain="HBox()")
    bar["data"][VIEW] = {"model_id": "2"}
    as_text = nbformat.v4.new_output(
        "stream", name="stderr", text="Training:  50%|█████     | 5/10 [00:01<00:01,  4.0step/s]"
    )
    printed = nbformat.v4.new_output("stream", name="stdout", text="loss 0.5\n")
    assert cleaned(bar, as_text, printed) == [printed]
