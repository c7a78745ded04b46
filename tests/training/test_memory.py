"""What each objective holds during a training step, against what its method says it must hold."""

import pytest
import torch

from course_lib.objectives import (
    ContrastiveTension,
    DenoisingAutoEncoder,
    InBatchContrastiveTension,
    MaskedLanguageModel,
    SimCSE,
)
from course_lib.training import TrainingConfig
from course_lib.training.memory import training_memory

CONFIG = TrainingConfig(precision="fp32")
TEXTS = ["Sort an array along an axis.", "The inverse of a matrix.", "Fill in missing values.", "A random number."] * 4


@pytest.fixture(scope="module")
def memory(shallow):
    """{kind of objective: its memory}, around the base encoder's first layer."""
    kinds = (SimCSE, MaskedLanguageModel, ContrastiveTension, InBatchContrastiveTension, DenoisingAutoEncoder)
    return {kind: training_memory(kind(shallow(max_length=24)), TEXTS, CONFIG) for kind in kinds}


def test_weights_gradients_and_optimiser(memory, shallow):
    encoder = sum(p.numel() for p in shallow().parameters()) * 4
    simcse, ct, in_batch = memory[SimCSE], memory[ContrastiveTension], memory[InBatchContrastiveTension]
    assert simcse["weights"] == encoder and ct["weights"] == 2 * encoder and in_batch["weights"] == 2 * encoder + 4
    for parts in memory.values():
        assert parts["gradients"] == parts["weights"]
    adamw, rmsprop = (parts["optimiser"] / parts["weights"] for parts in (simcse, ct))
    assert adamw == pytest.approx(2, rel=1e-3) and rmsprop == pytest.approx(1, rel=1e-3)
    assert memory[DenoisingAutoEncoder]["weights"] < 1.1 * encoder  # tied: little is new


def test_logits_are_only_those_that_are_asked_for(memory, shallow):
    encoder = shallow(max_length=24)
    vocabulary, ids = encoder.transformer.config.vocab_size, encoder.tokenize(TEXTS)
    assert memory[SimCSE]["logits"] == memory[ContrastiveTension]["logits"] == 0
    answered = int(ids["attention_mask"][:, 1:].sum())
    assert memory[DenoisingAutoEncoder]["logits"] == 4 * vocabulary * answered
    hidden = memory[MaskedLanguageModel]["logits"] / (4 * vocabulary)
    assert hidden == int(hidden) and 0 < hidden < answered / 3


def test_two_towers_keep_as_much_as_two_views(memory):
    """SimCSE encodes each text twice, and so do two towers. Those of Contrastive Tension keep no dropout masks."""
    simcse, ct, in_batch = (memory[k]["activations"] for k in (SimCSE, ContrastiveTension, InBatchContrastiveTension))
    assert in_batch == pytest.approx(simcse, rel=0.05) and 0.5 * simcse < ct < simcse


def test_it_leaves_the_objective_as_it_was(shallow):
    objective = SimCSE(shallow(max_length=24)).eval()
    before, state = {k: v.clone() for k, v in objective.state_dict().items()}, torch.get_rng_state()
    training_memory(objective, TEXTS, CONFIG)
    assert all(torch.equal(v, before[k]) for k, v in objective.state_dict().items())
    assert not objective.training and all(p.grad is None for p in objective.parameters())
    assert torch.equal(torch.get_rng_state(), state)
