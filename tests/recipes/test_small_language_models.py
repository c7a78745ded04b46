"""The small language models of notebook 03: what is recorded is what the notebook trains."""

import inspect
from pathlib import Path

import nbformat
import pytest
import torch

from course_lib import TrainingConfig
from course_lib.objectives import MaskedLanguageModel
from course_lib.recipes import small_language_models as recipe

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_masked_language_model.ipynb"


@pytest.fixture(scope="module")
def cells():
    return [c.source for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code"]


def test_overwritten_labels_hold_what_the_model_sees(shallow, sentences):
    encoder = shallow()
    right = MaskedLanguageModel(encoder).collate(sentences[:8], torch.Generator().manual_seed(0))
    wrong = recipe.OverwrittenLabels(encoder).collate(sentences[:8], torch.Generator().manual_seed(0))
    chosen = right["labels"] != -100
    assert torch.equal(wrong["input_ids"], right["input_ids"]) and torch.equal(wrong["labels"] != -100, chosen)
    assert torch.equal(wrong["labels"][chosen], right["input_ids"][chosen])
    assert (wrong["labels"][chosen] == encoder.tokenizer.mask_token_id).float().mean() > 0.6


def test_the_notebook_trains_the_same_model_in_the_same_way(shallow, cells):
    model = MaskedLanguageModel(shallow())
    names = {"torch": torch, "shipped": model, "tokenizer": model.encoder.tokenizer, "V": len(model.encoder.tokenizer)}
    exec(next(cell for cell in cells if "def small_model" in cell), names)
    mine, theirs = names["small_model"]().encoder, recipe.small_encoder(model.encoder.tokenizer)
    assert mine.transformer.config.to_diff_dict() == theirs.transformer.config.to_diff_dict()
    exec(next(cell for cell in cells if "def train_mlm" in cell), names)
    loop = inspect.signature(names["train_mlm"]).parameters
    assert loop["batch_size"].default == recipe.CONFIG.batch_size
    assert loop["learning_rate"].default == recipe.CONFIG.learning_rate
    assert any(f"else {recipe.CONFIG.steps}" in cell and f"passages, {recipe.LONGEST})" in cell for cell in cells)


def test_one_is_trained_and_measured(docs):
    config = TrainingConfig(steps=2, batch_size=8, learning_rate=1e-3)
    found = recipe.record_one("overwritten", 0, docs, config)
    assert len(found["losses"]) == 2 and found["losses"] == recipe.record_one("overwritten", 0, docs, config)["losses"]
    assert 9 < found["held_out"] < 11  # ln 16,000 is 9.7


@pytest.mark.skipif(not recipe.load(), reason="the small models have not been recorded yet: make them with this recipe")
def test_the_records_show_what_the_notebook_says():
    """The overwritten labels have the lower training loss, and are worse on held-out text than equal probabilities."""
    records = recipe.load()
    assert all(sorted(records[kind]) == [str(seed) for seed in recipe.SEEDS] for kind in recipe.KINDS)
    for seed in map(str, recipe.SEEDS):
        right, wrong = records["right"][seed], records["overwritten"][seed]
        assert len(right["losses"]) == len(wrong["losses"]) == recipe.CONFIG.steps
        assert wrong["losses"][-1] < 3 < right["losses"][-1] < 6.7
        assert right["held_out"] < 6.5 and wrong["held_out"] > 9.7
