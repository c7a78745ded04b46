"""The learner's functions are what trains notebook 04's own class."""

import ast
import functools
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import TrainingConfig, functional, objectives, train
from course_lib.models.decoder import split_heads
from course_lib.models.language_head import MaskedLanguageHead
from course_lib.notebook.exercises import tsdae

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
TEXTS = ["Sort an array.", "Join two tables.", "Draw a line in a figure.", "Read a file.", "Count words.", "Invert it."]


def counted(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        wrapper.calls += 1
        return function(*arguments)

    wrapper.calls = 0
    return wrapper


def defined_in(notebook, **names):
    """The functions and classes of a notebook, in a namespace that holds `names`; nothing else in it is run."""
    for cell in nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells:
        read = cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", [])  # that one is no Python
        parts = ast.parse(cell.source).body if read else []
        kept = [part for part in parts if isinstance(part, ast.ClassDef | ast.FunctionDef)]
        exec(compile(ast.Module(kept, []), notebook, "exec"), names)  # noqa: S102
    return names


TSDAE = {
    "delete": tsdae.delete_tokens,
    "next_token_targets": tsdae.next_token_targets,
    "causal_attention": tsdae.causal_attention,
    "linear_map": tsdae.linear_map,
}
CHANGED = {
    "delete": lambda ids, special, probability, generator: ids,
    "next_token_targets": lambda ids, mask: (ids[:, :-1], ids[:, :-1].masked_fill(mask[:, :-1] == 0, -100)),
    "causal_attention": functional.attention,
    "linear_map": lambda value_weight, value_bias, out_weight, out_bias: (value_weight * 0, out_bias),
}


@pytest.fixture(scope="module")
def my_tsdae(shallow):
    """A function that trains notebook 04's own class for three steps and gives the losses."""

    def losses(**functions):
        encoder = shallow(pooling="cls")
        used = {"nn": nn, "F": F, "objectives": objectives, "functional": functional, "split_heads": split_heads}
        used |= {"MaskedLanguageHead": MaskedLanguageHead, "tokenizer": encoder.tokenizer}
        used |= {"torch": torch, "config": TrainingConfig()} | functions
        torch.manual_seed(0)
        objective = defined_in("04_tsdae", **used)["MyTSDAE"](encoder)
        config = TrainingConfig(steps=3, batch_size=4, learning_rate=1e-2, precision="fp32", seed=0)
        return train(objective, TEXTS, config, progress=False).losses

    return losses


def test_every_function_of_notebook_04_trains(my_tsdae):
    references = {name: exercise.reference for name, exercise in TSDAE.items()}
    mine = {name: counted(function) for name, function in references.items()}
    library = my_tsdae(**references)
    assert my_tsdae(**mine) == library
    # three steps with 4, 2 and 4 sentences and one layer
    assert {name: function.calls for name, function in mine.items()} == {
        "delete": 10,
        "next_token_targets": 3,
        "causal_attention": 3,
        "linear_map": 3,
    }
    for name, other in CHANGED.items():
        assert my_tsdae(**references | {name: other}) != pytest.approx(library, rel=1e-3), name
