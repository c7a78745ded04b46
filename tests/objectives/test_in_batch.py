"""Gradient caching: the encoder reads a batch in pieces, and nothing but the memory changes."""

import pytest
import torch

from course_lib.objectives import (
    Cropping,
    InBatchContrastiveTension,
    MaskedLanguageModel,
    MultipleNegativesRanking,
    SimCSE,
    in_batch,
)
from course_lib.training import TrainingConfig, train
from course_lib.training.memory import training_memory

KINDS = (SimCSE, InBatchContrastiveTension, MultipleNegativesRanking, Cropping)


@pytest.fixture
def loss_and_gradients(shallow, examples):
    """A function: an objective, made anew, on one batch, its encoder reading so many texts at once."""

    def of(kind, texts, dropout):
        objective = kind(shallow(max_length=24))
        objective.in_pieces_of(texts)
        for module in objective.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        if kind is SimCSE:
            objective._views_differ = True  # without dropout there is nothing to check
        batch = objective.collate(examples(kind.__name__)[:24], torch.Generator().manual_seed(0))
        torch.manual_seed(1)
        loss = objective.train()(batch)
        loss.backward()
        return loss.detach(), [p.grad for p in objective.parameters()]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_give_the_gradients_of_the_whole_batch(loss_and_gradients, kind):
    whole, pieces = loss_and_gradients(kind, None, dropout=0.0), loss_and_gradients(kind, 5, dropout=0.0)
    assert float(whole[0]) > 0
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_the_same_when_a_piece_is_computed_again(loss_and_gradients, kind, monkeypatch):
    cached = loss_and_gradients(kind, 5, dropout=0.1)
    calls = []

    def kept(encoder, piece, use_reentrant):
        calls.append(len(piece["input_ids"]))
        return encoder(piece)

    monkeypatch.setattr(in_batch, "checkpoint", kept)
    plain = loss_and_gradients(kind, 5, dropout=0.1)
    assert max(calls) == 5 and len(calls) > 3
    torch.testing.assert_close(cached, plain, rtol=1e-5, atol=1e-5)


def test_what_is_kept_for_the_backward_pass_hardly_grows_with_the_batch(shallow, sentences):
    config = TrainingConfig(precision="fp32")

    def kept(count, texts=None):
        objective = SimCSE(shallow(max_length=24))
        objective.in_pieces_of(texts)
        return training_memory(objective, sentences[:count], config)["activations"]

    assert kept(32) > 3 * kept(8)
    assert kept(32, texts=8) < kept(8) / 4  # vectors and token ids


def test_an_objective_that_compares_no_texts_is_refused(shallow, sentences):
    objective, config = MaskedLanguageModel(shallow()), TrainingConfig(steps=1, gradient_cache=8)
    with pytest.raises(ValueError, match="gradient_cache is 8; MaskedLanguageModel does not compare.*accumulation"):
        train(objective, sentences, config, progress=False)


@pytest.mark.parametrize("wrong", [0, 2.5])
def test_the_cache_holds_a_number_of_texts(wrong):
    with pytest.raises(ValueError, match="gradient_cache is"):
        TrainingConfig(gradient_cache=wrong)
