"""Contrastive Tension, both kinds, against sentence-transformers 6: the same value, the same gradients."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    ContrastiveTensionLoss,
    ContrastiveTensionLossInBatchNegatives,
)

from course_lib import functional
from course_lib.objectives import ContrastiveTension, InBatchContrastiveTension

LAYERS = 1


@pytest.fixture
def pair(shallow, tmp_path):
    """A function that gives an objective and the library's loss around the same weights; the towers differ, as they do
    after some training."""

    def make(objective_class, loss_class, **options):
        encoder = shallow(LAYERS, max_length=40)
        encoder.save(tmp_path)
        objective = objective_class(encoder, **options)
        reference = loss_class(SentenceTransformer(str(tmp_path), device="cpu"))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for ours, theirs in towers(objective, reference)[0]:
                theirs.add_(torch.randn(theirs.shape, generator=generator), alpha=0.02)
                ours.copy_(theirs)
        return objective, reference

    return make


def towers(objective, reference):
    """[(ours, theirs), …] of the weights of each tower: the one that is thrown away, the one that is kept."""
    twin, kept = objective.twin.transformer, objective.encoder.transformer
    result = []
    for ours, theirs in ((twin, reference.model1[0].auto_model), (kept, reference.model2[0].auto_model)):
        own = dict(ours.named_parameters())  # without the pooler, which the library carries along unused
        result.append([(own[k], v) for k, v in theirs.named_parameters() if k in own])
    return result


@pytest.fixture(params=["real", "random"])
def texts(request, docs):
    """16 sentences, or as many rows of random word pieces and lengths."""
    if request.param == "real":
        return docs.validation.sentences[100:116]
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 30, (16,), generator=generator).tolist()
    return [[2, *torch.randint(10, 14_000, (n,), generator=generator).tolist(), 3] for n in lengths]


def without_dropout(model):
    """Training mode, but nothing is dropped."""
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def assert_same(ours, theirs, objective, reference):
    """Equal to 1e-5 of the value: a sum of 16 cross-entropies of dot products reaches the hundreds."""
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    ours.backward()
    theirs.backward()
    for tower in towers(objective, reference):
        assert len(tower) == 5 + 16 * LAYERS
        largest = max(float(other.grad.abs().max()) for _, other in tower)
        assert largest > 1e-3
        for one, other in tower:
            torch.testing.assert_close(one.grad, other.grad, atol=1e-5 * max(1.0, largest), rtol=1e-5)


def columns(batch):
    """The two columns of texts that the library wants for the pairs of our batch."""
    return [{k: batch[k][batch[column]] for k in ("input_ids", "attention_mask")} for column in ("first", "second")]


@pytest.mark.parametrize("labels", ["given", "left to the library"])
def test_contrastive_tension(pair, texts, labels):
    objective, reference = pair(ContrastiveTension, ContrastiveTensionLoss)
    without_dropout(objective), without_dropout(reference)
    batch = objective.collate(texts, torch.Generator().manual_seed(2))
    assert batch["labels"].tolist() == [1, 1] + 14 * [0]
    theirs = reference(columns(batch), batch["labels"] if labels == "given" else None)
    assert_same(objective(batch), theirs, objective, reference)


def test_the_mean_is_the_library_s_sum_divided(pair, texts):
    objective, reference = pair(ContrastiveTension, ContrastiveTensionLoss, reduction="mean")
    without_dropout(objective), without_dropout(reference)
    batch = objective.collate(texts, torch.Generator().manual_seed(2))
    assert_same(objective(batch), reference(columns(batch), batch["labels"]) / 16, objective, reference)


@pytest.mark.parametrize("options", [{}, {"mask_duplicates": True}, {"max_scale": 100}])
def test_in_batch_contrastive_tension(pair, texts, options):
    """Also with what the library does not have, as long as there are no duplicates and the scale is in bounds."""
    objective, reference = pair(InBatchContrastiveTension, ContrastiveTensionLossInBatchNegatives, **options)
    without_dropout(objective), without_dropout(reference)
    batch = objective.collate(texts, None)
    theirs = reference([{k: v for k, v in batch.items()}], None)
    assert_same(objective(batch), theirs, objective, reference)
    torch.testing.assert_close(objective.logit_scale.grad, reference.logit_scale.grad, atol=1e-5, rtol=1e-5)
    assert abs(float(objective.logit_scale.grad)) > 1e-4


@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0])
def test_the_formulas_on_embeddings_alone(scale):
    """Around a model that gives the embeddings back, so that the library computes nothing but its loss."""

    class Given(torch.nn.Module):
        column = "b"

        def forward(self, features):
            return {"sentence_embedding": features[self.column]}

    generator = torch.Generator().manual_seed(int(scale))
    vectors = torch.randn(2, 9, 12, generator=generator)
    labels = (torch.arange(9) < 3).long()
    in_batch = ContrastiveTensionLossInBatchNegatives(Given(), scale=scale)
    in_batch.model1.column = "a"
    for ours, theirs in (
        (
            lambda a, b: functional.contrastive_tension(a, b, labels),
            lambda a, b: ContrastiveTensionLoss(Given())([{"b": a}, {"b": b}], labels),
        ),
        (
            lambda a, b: functional.in_batch_contrastive_tension(a, b, scale),
            lambda a, b: in_batch([{"a": a, "b": b}], None),
        ),
    ):
        results = []
        for loss in (ours, theirs):
            inputs = [v.clone().requires_grad_() for v in vectors]
            value = loss(*inputs)
            value.backward()
            results.append([value, *(v.grad for v in inputs)])
        for one, other in zip(*results):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
