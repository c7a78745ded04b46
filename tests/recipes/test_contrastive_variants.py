"""The recorded variants of Contrastive Tension: each is what its name says."""

import pytest
import torch
import torch.nn.functional as F

from course_lib import TrainingConfig, functional
from course_lib.objectives import ContrastiveTension, InBatchContrastiveTension
from course_lib.recipes import contrastive_variants as recipe


@pytest.fixture
def made(shallow, sentences):
    """A function that gives a variant in evaluation mode, and one batch."""

    def make(*choice):
        model = recipe.Variant(shallow(), *choice)
        if model.twin is not model.encoder:
            with torch.no_grad():  # as after some training
                for weight in model.twin.parameters():
                    weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)), alpha=0.02)
        return model.eval(), model.collate(sentences[:16], torch.Generator().manual_seed(0))

    return make


def test_two_towers_with_sampled_pairs_and_dot_products_are_ct(made):
    model, batch = made("two", "sampled", "dot")
    library = ContrastiveTension(model.encoder, reduction="mean").eval()
    library.twin = model.twin
    torch.testing.assert_close(model(batch), library(batch), rtol=1e-4, atol=1e-5)


def test_two_towers_with_all_pairs_and_cosines_are_in_batch_ct(made):
    model, batch = made("two", "in-batch", "cosine")
    library = InBatchContrastiveTension(model.encoder).eval()
    library.twin = model.twin
    torch.testing.assert_close(model(batch), library(batch))


def test_one_tower_is_one(made):
    model, batch = made("one", "in-batch", "dot")
    assert model.twin is model.encoder
    vectors = model.encoder(batch)
    scores = vectors @ vectors.T
    torch.testing.assert_close(model(batch), F.cross_entropy(scores, torch.arange(16)), rtol=1e-4, atol=1e-5)


def test_the_bias_starts_where_it_removes_the_mean_score_and_is_added(made, sentences):
    model, batch = made("two", "sampled, bias", "cosine")
    plain, same = made("two", "sampled", "cosine")
    torch.testing.assert_close(model(batch), plain(same))
    model.start_bias(sentences[:16])
    inputs = model.encoder.tokenize(sentences[:16])
    assert (model.scores(inputs) + model.bias).mean().abs() < 1e-4
    pairs = model.scores(batch)[batch["first"], batch["second"]] + model.bias
    expected = F.binary_cross_entropy_with_logits(pairs, batch["labels"].float())
    torch.testing.assert_close(model(batch), expected)
    assert model.learning_rate_factors() == {model.bias: recipe.BIAS_RATE} and plain.learning_rate_factors() == {}


def test_geometry_of_two_towers():
    first = torch.tensor([[3.0, 0.0], [0.0, 3.0]])
    found = recipe.tower_geometry(first, -2 * first)
    assert found["length first"] == 3 and found["length second"] == 6
    assert found["itself"] == pytest.approx(-1) and found["means"] == pytest.approx(-1)
    assert found["within first"] == found["within second"] == found["across"] == pytest.approx(0)


def test_one_is_trained_and_measured(docs, monkeypatch):
    monkeypatch.setattr(recipe, "QUERIES", 4)
    config = TrainingConfig(steps=2, batch_size=8)
    found = recipe.record_one("two; sampled, bias; dot", 0, docs, config)
    assert len(found["losses"]) == len(found["scores"]) == 2 and len(found["ndcg"]) == 4
    assert found["bias"] < 0 and found["scale"] is None
    assert 0 <= found["other"] <= 1 and -1 <= found["geometry"]["means"] <= 1


def test_the_mean_of_all_scores_is_the_product_of_the_means():
    """What notebook 06 builds on."""
    a, b = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((a @ b.T).mean(), a.mean(0) @ b.mean(0))
    assert functional.contrastive_tension(a, a, torch.zeros(7)) > 7 * torch.log(torch.tensor(2.0))


@pytest.mark.skipif(not recipe.load(), reason="the variants have not been recorded yet: make them with this recipe")
def test_the_records_are_whole():
    records = recipe.load()
    assert set(records) - {recipe.START} <= set(recipe.VARIANTS)
    queries = set(records[recipe.START]["0"]["ndcg"])
    assert len(queries) == recipe.QUERIES
    for name, seeds in records.items():
        assert "0" in seeds and set(seeds) <= set(map(str, recipe.SEEDS))
        for found in seeds.values():
            assert set(found["ndcg"]) == queries
            assert name == recipe.START or len(found["losses"]) == recipe.CONFIG.steps
