"""What the learner writes in notebook 01 is the encoder into which the shipped weights are loaded."""

import functools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from course_lib.models import SentenceEncoder
from course_lib.notebook.exercises import sentence_encoder

NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "01_sentence_encoder.ipynb"
FUNCTIONS = ("layer_norm", "attention", "split_heads", "block")
TEXTS = ["Sort an array.", "Returns the indices that would sort an array along the given axis.", "Join two tables."]


def exercise(name):
    return getattr(sentence_encoder, name)


@pytest.fixture(scope="module")
def encoder(base_encoder_folder):
    return SentenceEncoder.from_pretrained(base_encoder_folder, device="cpu")


@pytest.fixture(scope="module")
def notebook(encoder, base_encoder_folder):
    """The names that the notebook's own cells define, from `parts` to the loaded model, for four given functions."""
    sources = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    first, last = (
        next(i for i, s in enumerate(sources) if what in s) for what in ("parts = SimpleNamespace", "load_state_dict(")
    )
    weights = {name: w.float() for name, w in load_file(base_encoder_folder / "model.safetensors").items()}

    def run(functions):
        names = {"torch": torch, "nn": nn, "SimpleNamespace": SimpleNamespace, "weights": weights} | functions
        names["config"] = encoder.transformer.config
        for source in sources[first : last + 1]:
            exec(compile(source, NOTEBOOK.name, "exec"), names)
        return names

    return run


@pytest.fixture
def vectors(notebook, encoder):
    """A function that gives the token vectors of the notebook's encoder and of Transformers, without padding."""

    @torch.inference_mode()
    def both(**functions):
        given = {name: exercise(name).reference for name in FUNCTIONS} | functions
        batch = encoder.tokenize(TEXTS)
        mask = batch["attention_mask"]
        ours = notebook(given)["model"](batch["input_ids"], mask)
        return ours[mask.bool()], encoder.token_embeddings(batch)[mask.bool()]

    return both


def test_the_learners_functions_are_the_encoder(vectors):
    calls, mine = Counter(), {}

    def counted(name, function):
        @functools.wraps(function)
        def wrapper(*arguments):
            calls[name] += 1
            return function(*arguments)

        return wrapper

    for name in FUNCTIONS:
        written = {"torch": torch}
        exec(exercise(name).solution_source, written)
        mine[name] = exercise(name).use(counted(name, written[f"my_{name}"]))
    calls.clear()
    ours, theirs = vectors(**mine)
    assert calls == {"layer_norm": 13, "attention": 6, "split_heads": 18, "block": 6}
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name, mistake",
    [
        ("layer_norm", "no weight, no bias"),
        ("attention", "no root of d"),
        ("split_heads", "straight view"),
        ("block", "pre-norm"),
    ],
)
def test_a_mistake_changes_the_vectors(vectors, name, mistake):
    wrong = next(m.code for m in exercise(name).mistakes if m.name == mistake)
    ours, theirs = vectors(**{name: wrong})
    assert ours.shape == theirs.shape and (ours - theirs).abs().max() > 0.1
