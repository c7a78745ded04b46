"""The two towers of Contrastive Tension, of both kinds: their pairs, their weights, their loss."""

import math

import pytest
import torch

from course_lib import functional
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives import ContrastiveTension, InBatchContrastiveTension
from course_lib.training import TrainingConfig, make_optimizer, train

BOTH = [ContrastiveTension, InBatchContrastiveTension]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def fresh(shallow):
    """A function that gives an objective around the base encoder's first layer."""
    return lambda kind=ContrastiveTension, **options: kind(shallow(max_length=24), **options)


# --------------------------------------------------------------------------- two towers


@pytest.mark.parametrize("kind", BOTH)
def test_two_towers_from_one_checkpoint(fresh, sentences, kind):
    """Two copies of the weights, not one and not three; one tokenizer."""
    objective = fresh(kind)
    one = sum(p.numel() for p in objective.encoder.parameters())
    assert sum(p.numel() for p in objective.parameters()) == 2 * one + (kind is InBatchContrastiveTension)
    storages = {p.data_ptr() for p in objective.parameters()}
    assert len(storages) == len(list(objective.parameters()))
    assert objective.twin.tokenizer is objective.encoder.tokenizer
    assert (objective.twin.pooling, objective.twin.max_length) == (objective.encoder.pooling, 24)
    before = objective.encoder.encode(sentences)
    assert abs(before - objective.twin.encode(sentences)).max() == 0
    train(
        objective,
        sentences,
        TrainingConfig(steps=2, batch_size=16, learning_rate=1e-4, precision="fp32"),
        progress=False,
    )
    moved = [abs(tower.encode(sentences) - before).max() for tower in (objective.encoder, objective.twin)]
    assert min(moved) > 1e-3
    assert abs(objective.encoder.encode(sentences) - objective.twin.encode(sentences)).max() > 1e-3


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_kept_is_the_encoder_that_was_given(shallow, sentences, tmp_path, kind):
    encoder = shallow(max_length=24)
    objective = kind(encoder)
    train(objective, sentences, TrainingConfig(steps=2, batch_size=16, precision="bf16"), tmp_path, progress=False)
    assert objective.encoder is encoder
    saved = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    assert abs(saved.encode(sentences) - encoder.encode(sentences)).max() == 0


@pytest.mark.parametrize("kind", BOTH)
def test_a_resumed_run_equals_an_uninterrupted_one(fresh, docs, tmp_path, kind):
    texts = docs.train.sentences[:60]
    config = TrainingConfig(steps=4, batch_size=8, learning_rate=1e-4, precision="bf16")
    uncut, stopped, resumed = (fresh(kind) for _ in range(3))
    whole = train(uncut, texts, config, progress=False)
    calls, collate = [], stopped.collate

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return collate(*arguments)

    stopped.collate = stops
    assert train(stopped, texts, config, tmp_path, progress=False).outcome == "interrupted"
    record = train(resumed, texts, config, tmp_path, resume=True, progress=False)
    assert record.losses == whole.losses and all(math.isfinite(loss) for loss in record.losses)
    ours, theirs = dict(resumed.named_parameters()), dict(uncut.named_parameters())
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


# --------------------------------------------------------------------------- Contrastive Tension


def test_a_batch_pairs_each_text_once_in_each_tower(fresh, sentences):
    objective = fresh()
    batch, plain = objective.collate(sentences, seeded()), objective.encoder.tokenize(sentences)
    assert all(torch.equal(batch[k], plain[k]) for k in plain)
    assert batch["first"].sort().values.tolist() == batch["second"].sort().values.tolist() == list(range(32))
    assert batch["labels"].sum() == 4 and torch.equal(batch["first"] == batch["second"], batch["labels"] == 1)
    again, other = (objective.collate(sentences, seeded(s)) for s in (0, 1))
    assert all(torch.equal(batch[k], again[k]) for k in batch) and not torch.equal(batch["first"], other["first"])
    prepared = objective.collate(objective.prepare(sentences), seeded())
    assert all(torch.equal(batch[k], prepared[k]) for k in batch)


def test_equal_texts_are_not_negatives_of_each_other(fresh, sentences):
    objective, found = fresh(), 0
    texts = sentences[:6] + 2 * sentences[6:7]
    texts += [sentences[6]]
    for seed in range(40):
        batch = objective.collate(texts, seeded(seed))
        rows = batch["input_ids"]
        same = (rows[batch["first"]] == rows[batch["second"]]).all(1)
        assert torch.equal(same, batch["labels"] == 1) and len(same) >= 5
        found += len(same) < len(texts)
    assert found > 5
    cut = ContrastiveTension(objective.encoder, 1)
    cut.encoder.max_length = 5  # equal once they are cut
    assert cut.collate([f"the same beginning, {n}" for n in range(4)], seeded())["labels"].tolist() == [1, 1]
    cut.encoder.max_length = 24


@pytest.mark.parametrize("keep", ["first", "second"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_loss_is_that_of_dot_products_of_the_towers(fresh, sentences, keep, reduction):
    objective = fresh(keep=keep, reduction=reduction).eval()
    with torch.no_grad():
        for parameter in objective.twin.parameters():
            parameter.mul_(1.05)
        batch = objective.collate(sentences, seeded())
        towers = (objective.encoder, objective.twin) if keep == "first" else (objective.twin, objective.encoder)
        a, b = (torch.tensor(tower.encode(sentences)) for tower in towers)
        losses = []
        for i, j, same in zip(*(batch[k].tolist() for k in ("first", "second", "labels"))):
            score = a[i] @ b[j]
            losses.append(float(torch.nn.functional.softplus(-score if same else score)))
        expected = sum(losses) / (len(losses) if reduction == "mean" else 1)
        assert float(objective(batch)) == pytest.approx(expected, rel=1e-4)


def test_each_tower_encodes_each_text_once(fresh, sentences):
    objective, seen = fresh(), []
    for tower in (objective.encoder, objective.twin):
        tower.register_forward_hook(lambda tower, batch, vectors: seen.append(len(vectors)))
    objective(objective.collate(sentences, seeded()))
    assert seen == [32, 32]


@pytest.mark.parametrize("dropout", [False, True])
def test_dropout_is_off_as_in_the_authors_code_or_on_as_in_the_library(fresh, sentences, dropout):
    objective = fresh(dropout=dropout).train()
    batch = objective.collate(sentences, seeded())
    with torch.no_grad():
        one, other = float(objective(batch)), float(objective(batch))
    assert (one != other) == dropout
    objective.encoder.encode(sentences[:2])  # as an evaluation does, between two steps
    objective.train()
    with torch.no_grad():
        assert (float(objective(batch)) != one) == dropout
    objective.encoder.train()
    objective(batch).backward()
    assert all(p.grad is not None for p in objective.parameters())


def test_the_optimiser_is_rmsprop_without_weight_decay(fresh):
    objective = fresh()
    optimizer = make_optimizer(objective, TrainingConfig(learning_rate=1e-5, weight_decay=0.01))
    assert isinstance(optimizer, torch.optim.RMSprop)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (1e-5, 0, len(list(objective.parameters())))


@pytest.mark.parametrize("kind, rate", [(ContrastiveTension, 1e-4), (InBatchContrastiveTension, 1e-3)])
def test_training_tells_held_out_texts_apart(fresh, docs, kind, rate):
    objective = fresh(kind)
    batch = objective.collate(docs.validation.sentences[:64], seeded())

    def loss():
        with torch.no_grad():
            return float(objective.eval()(batch))

    before = loss()
    config = TrainingConfig(steps=10, batch_size=16, learning_rate=rate, warmup_ratio=0, precision="fp32")
    train(objective, docs.train.sentences[:200], config, progress=False)
    assert loss() < 0.7 * before


def test_settings(fresh):
    assert fresh(negatives_per_positive=3, keep="first", reduction="mean", dropout=True).settings() == {
        "name": "ContrastiveTension",
        "negatives_per_positive": 3,
        "keep": "first",
        "reduction": "mean",
        "dropout": True,
        "pooling": "mean",
        "max_length": 24,
        "normalize": False,
        "source": "base-encoder",
    }
    assert fresh(InBatchContrastiveTension, scale=10, max_scale=100).settings() == {
        "name": "InBatchContrastiveTension",
        "scale": 10.0,
        "max_scale": 100,
        "scale_rate": 1.0,
        "mask_duplicates": False,
        "pooling": "mean",
        "max_length": 24,
        "normalize": False,
        "source": "base-encoder",
    }


@pytest.mark.parametrize(
    "options, message",
    [
        ({"negatives_per_positive": 0}, "negatives_per_positive is 0; it must be above 0"),
        ({"keep": "best"}, "keep is 'best'; choose one of first, second"),
        ({"reduction": "none"}, "reduction is 'none'; choose one of sum, mean"),
    ],
)
def test_settings_out_of_range(fresh, options, message):
    with pytest.raises(ValueError, match=message):
        fresh(**options)


def test_a_batch_too_small_for_a_positive_and_its_negatives(fresh, sentences):
    objective = fresh()
    with pytest.raises(ValueError, match=r"holds 7 text\(s\); ContrastiveTension .* needs at least 8"):
        objective.collate(sentences[:7], seeded())
    assert (objective.smallest_batch, fresh(negatives_per_positive=1).smallest_batch) == (8, 3)
    with pytest.raises(ValueError, match="batch_size is 4; ContrastiveTension .* needs at least 8"):
        train(objective, sentences, TrainingConfig(steps=1, batch_size=4), progress=False)


# --------------------------------------------------------------------------- with in-batch negatives


def test_all_pairs_of_the_batch_count(fresh, sentences):
    objective = fresh(InBatchContrastiveTension, scale=15.0).eval()
    with torch.no_grad():
        for parameter in objective.twin.parameters():
            parameter.mul_(1.05)
        a, b = (torch.tensor(tower.encode(sentences)) for tower in (objective.twin, objective.encoder))
        expected = functional.in_batch_contrastive_tension(a, b, 15.0)
        assert float(objective(objective.collate(sentences, None))) == pytest.approx(float(expected), rel=1e-4)


def test_the_scale_is_learned_at_a_rate_of_its_own(fresh, sentences):
    moved = []
    for rate in (1.0, 50.0):
        objective = fresh(InBatchContrastiveTension, scale_rate=rate)
        config = TrainingConfig(steps=2, batch_size=16, learning_rate=1e-4, warmup_ratio=0, precision="fp32")
        train(objective, sentences, config, progress=False)
        moved.append(float(objective.logit_scale.detach()) - math.log(20))
    assert moved[0] > 1e-5 and moved[1] == pytest.approx(50 * moved[0], rel=0.2)


def test_the_scale_can_be_clamped_and_comes_back(fresh, sentences):
    objective = fresh(InBatchContrastiveTension, max_scale=30.0)
    batch = objective.collate(sentences, None)
    with torch.no_grad():
        objective.logit_scale.fill_(math.log(300))
    loss = objective(batch)
    assert float(objective.logit_scale.detach().exp()) == pytest.approx(30, rel=1e-5)
    loss.backward()
    assert float(objective.logit_scale.grad) != 0
    free = fresh(InBatchContrastiveTension)
    with torch.no_grad():
        free.logit_scale.fill_(math.log(300))
        free(batch)
    assert float(free.logit_scale.detach().exp()) == pytest.approx(300, rel=1e-5)


def test_duplicates_can_be_masked(fresh, sentences):
    """Without the mask, the best that a model can do about two equal texts is to guess."""
    texts = [s for s in sentences[:8] for _ in range(2)]
    losses = []
    for masked in (False, True):
        objective = fresh(InBatchContrastiveTension, mask_duplicates=masked, scale=200.0).eval()
        with torch.no_grad():
            losses.append(float(objective(objective.collate(texts, None))))
    assert losses[0] == pytest.approx(math.log(2), abs=0.02) and losses[1] < 0.02


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale": 0}, "scale is 0; it must be above 0"),
        ({"scale_rate": -1}, "scale_rate is -1"),
        ({"max_scale": 10}, "max_scale is 10; it must be at least scale, 20.0, or None"),
    ],
)
def test_in_batch_settings_out_of_range(fresh, options, message):
    with pytest.raises(ValueError, match=message):
        fresh(InBatchContrastiveTension, **options)


def test_one_text_is_not_enough(fresh):
    objective = fresh(InBatchContrastiveTension)
    with pytest.raises(ValueError, match=r"holds 1 text\(s\); InBatchContrastiveTension compares"):
        objective(objective.collate(["alone"], None))
