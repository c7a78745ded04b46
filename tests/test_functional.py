"""The formulas against their definitions, written out element by element."""

import math

import pytest
import torch
import torch.nn.functional as F

from course_lib import functional


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def random_mask(generator, rows=5, length=7):
    """Rows of 1 to `length` tokens, padded on the right."""
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    return (torch.arange(length) < lengths).long()


# --------------------------------------------------------------------------- attention and pooling


def test_attention_is_torch_s(generator):
    q, k, v = torch.randn(3, 2, 4, 7, 8, generator=generator)  # (B, heads, T, d) each
    mask = random_mask(generator, rows=2)[:, None, :]
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.bool()[:, :, None, :])
    assert torch.allclose(functional.attention(q, k, v, mask), theirs, atol=1e-6)
    assert torch.allclose(functional.attention(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_is_that_of_the_row_without_its_padding(generator, side):
    hidden = torch.randn(5, 7, 3, generator=generator) - 10  # all negative: a padding of zeros would win the maximum
    mask = random_mask(generator)
    mask = mask.flip(1) if side == "left" else mask
    for row in range(5):
        tokens = hidden[row][mask[row].bool()]
        for pool, expected in (
            (functional.mean_pool, tokens.mean(0)),
            (functional.cls_pool, tokens[0]),
            (functional.max_pool, tokens.amax(0)),
        ):
            assert torch.allclose(pool(hidden, mask)[row], expected, atol=1e-6)


def test_the_mean_of_no_token_is_zero():
    assert functional.mean_pool(torch.ones(1, 4, 3), torch.zeros(1, 4)).tolist() == [[0, 0, 0]]


def test_cosine(generator):
    a, b = torch.randn(4, 6, generator=generator), torch.randn(3, 6, generator=generator)
    expected = [[float(x @ y / x.norm() / y.norm()) for y in b] for x in a]
    assert torch.allclose(functional.cosine(a, b), torch.tensor(expected), atol=1e-6)


# --------------------------------------------------------------------------- masked language modelling

CLS, SEP, PAD, MASK, VOCABULARY = 2, 3, 0, 4, 1000


@pytest.fixture
def ids(generator):
    rows = torch.randint(5, VOCABULARY, (200, 50), generator=generator)
    rows[:, 0], rows[:, -3], rows[:, -2:] = CLS, SEP, PAD
    return rows


def test_mask_tokens_damages_as_bert_does(ids, generator):
    before = ids.clone()
    inputs, labels = functional.mask_tokens(ids, {CLS, SEP, PAD}, 0.15, MASK, VOCABULARY, generator)
    assert torch.equal(ids, before)
    chosen = labels != -100
    assert torch.equal(labels[chosen], ids[chosen]) and torch.equal(inputs[~chosen], ids[~chosen])
    assert not chosen[(ids == CLS) | (ids == SEP) | (ids == PAD)].any()
    ordinary = int((ids > 4).sum())
    assert within_chance(int(chosen.sum()), ordinary, 0.15)
    hidden, kept = inputs[chosen] == MASK, inputs[chosen] == ids[chosen]
    assert within_chance(int(hidden.sum()), int(chosen.sum()), 0.8)
    assert within_chance(int(kept.sum()), int(chosen.sum()), 0.1 + 0.1 / VOCABULARY)
    random_ids = inputs[chosen][~hidden & ~kept]
    assert 0 <= random_ids.min() < 50 and VOCABULARY - 50 < random_ids.max() < VOCABULARY  # from the whole vocabulary


def within_chance(count, trials, probability):
    """Whether a count lies within 4.5 standard deviations of its expectation."""
    return abs(count - trials * probability) <= 4.5 * math.sqrt(trials * probability * (1 - probability))


def test_mask_tokens_is_repeatable_and_takes_a_mask_of_what_is_special(ids):
    special = (ids <= 4).long()
    one, again, other = (
        functional.mask_tokens(ids, s, 0.15, MASK, VOCABULARY, torch.Generator().manual_seed(seed))
        for s, seed in (({CLS, SEP, PAD}, 1), (special, 1), (special, 2))
    )
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert not torch.equal(one[1], other[1])
    assert functional.special_mask(ids, torch.tensor([CLS])).sum() == 200  # a tensor of ids is no mask
    assert not functional.special_mask(ids, []).any()


def test_probabilities_zero_and_one(ids):
    inputs, labels = functional.mask_tokens(ids, [], 0.0, MASK, VOCABULARY)
    assert torch.equal(inputs, ids) and (labels == -100).all()
    assert torch.equal(functional.mask_tokens(ids, [PAD], 1.0, MASK, VOCABULARY)[1] != -100, ids != PAD)


def test_a_batch_in_which_nothing_is_hidden_has_no_loss_and_no_nan():
    logits = torch.randn(0, 9, requires_grad=True)
    loss = functional.masked_lm_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0 and logits.grad.shape == (0, 9)


def test_masked_lm_loss(generator):
    logits, targets = torch.randn(6, 9, generator=generator), torch.randint(9, (6,), generator=generator)
    expected = -sum(math.log(row.exp()[t] / row.exp().sum()) for row, t in zip(logits, targets.tolist())) / 6
    assert float(functional.masked_lm_loss(logits, targets)) == pytest.approx(expected, abs=1e-5)


# --------------------------------------------------------------------------- denoising auto-encoder


@pytest.mark.parametrize("probability", [0.0, 0.4, 0.6, 1.0])
def test_delete_tokens(ids, generator, probability):
    before = ids.clone()
    left, mask = functional.delete_tokens(ids, {CLS, SEP}, probability, generator, PAD)
    assert torch.equal(ids, before)
    lengths = mask.sum(1)
    assert mask.shape == left.shape == (200, int(lengths.max()))
    assert torch.equal(mask, (torch.arange(left.shape[1]) < lengths[:, None]).long())  # padded on the right
    assert torch.equal(left == PAD, mask == 0)
    for row, rest, length in zip(ids.tolist(), left.tolist(), lengths.tolist()):
        tokens = iter(row)
        assert all(token in tokens for token in rest[:length])  # in the same order
        assert rest[0] == CLS and rest[length - 1] == SEP and length >= 3
    ordinary = int((ids > 4).sum())
    deleted = ordinary - int((left > 4).sum())
    if probability == 1:  # one stays
        assert (lengths == 3).all()
    else:
        assert within_chance(deleted, ordinary, probability)


def test_of_a_text_that_would_be_deleted_whole_each_token_has_the_same_chance_to_stay(generator):
    ids = torch.tensor([[CLS, 10, 11, 12, 13, SEP, PAD]]).expand(4000, -1)
    left, _ = functional.delete_tokens(ids, {CLS, SEP}, 1.0, generator, PAD)
    assert left.shape == (4000, 3)
    for token in range(10, 14):
        assert within_chance(int((left[:, 1] == token).sum()), 4000, 0.25)


def test_each_token_is_deleted_independently(ids, generator):
    """The number of tokens left of 46 is binomial: mean 18.4, variance 11.04."""
    left = (functional.delete_tokens(ids, {CLS, SEP}, 0.6, generator, PAD)[0] > 4).sum(1).float()
    assert abs(float(left.mean()) - 18.4) < 1.1 and 7 < float(left.var()) < 16


def test_delete_tokens_is_repeatable_and_does_not_mind_where_the_padding_is(ids):
    one, again, other = (
        functional.delete_tokens(ids, {CLS, SEP}, 0.6, torch.Generator().manual_seed(s), PAD) for s in (1, 1, 2)
    )
    assert torch.equal(one[0], again[0]) and not torch.equal(one[0][:, :8], other[0][:, :8])
    moved, mask = functional.delete_tokens(ids.roll(2, 1), {CLS, SEP}, 0.0, None, PAD)
    assert torch.equal(moved, ids[:, :-2]) and mask.all()
    nothing = torch.tensor([[CLS, SEP, PAD]])
    assert functional.delete_tokens(nothing, {CLS, SEP}, 0.6, None, PAD)[0].tolist() == [[CLS, SEP]]


def test_the_tokens_of_a_word_are_deleted_or_kept_together(generator):
    ids = torch.tensor([[CLS, 10, 11, 12, 20, 30, 31, SEP]]).expand(2000, -1)
    words = torch.tensor([[0, 1, 1, 1, 2, 3, 3, 4]]).expand(2000, -1)
    left, _ = functional.delete_tokens(ids, {CLS, SEP}, 0.6, generator, PAD, words)
    rows = [tuple(t for t in row if t > 4) for row in left.tolist()]
    assert set(rows) == {
        (10, 11, 12),
        (20,),
        (30, 31),
        (10, 11, 12, 20),
        (10, 11, 12, 30, 31),
        (20, 30, 31),
        (10, 11, 12, 20, 30, 31),
    }
    assert within_chance(sum(20 in row for row in rows), 2000, 0.4 + 0.6**3 / 3)  # kept, or the one that stays


def test_next_token_targets():
    inputs, labels = functional.next_token_targets(
        torch.tensor([[2, 7, 8, 3], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    )
    assert inputs.tolist() == [[2, 7, 8], [2, 9, 3]] and labels.tolist() == [[7, 8, 3], [9, 3, -100]]


# --------------------------------------------------------------------------- contrastive losses


@pytest.mark.parametrize("candidates", [4, 7])
def test_info_nce(generator, candidates):
    a, b = torch.randn(4, 6, generator=generator), torch.randn(candidates, 6, generator=generator)
    total = 0.0
    for i in range(4):
        scores = [math.exp(float(F.cosine_similarity(a[i], b[j], dim=0)) / 0.05) for j in range(candidates)]
        total -= math.log(scores[i] / sum(scores)) / 4
    assert float(functional.info_nce(a, b, 0.05)) == pytest.approx(total, rel=1e-5)


def test_info_nce_does_not_lose_digits_to_autocast(generator):
    a, b = torch.randn(2, 16, 32, generator=generator)
    exact = functional.info_nce(a, b, 0.05)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(functional.info_nce(a, b, 0.05), exact)


@pytest.mark.parametrize(
    "count, per_positive, positives", [(16, 7, 2), (8, 7, 1), (64, 7, 8), (12, 7, 2), (9, 1, 4), (3, 1, 1), (4, 1, 2)]
)
def test_sample_pairs(generator, count, per_positive, positives):
    partners = set()
    for _ in range(400):
        first, second, labels = functional.sample_pairs(count, per_positive, generator)
        assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(count))
        assert torch.equal(first == second, labels == 1) and int(labels.sum()) == positives
        partners |= {(int(i), int(j)) for i, j in zip(first, second)}
    assert len(partners) > 0.98 * count**2  # over time, each text meets every other, and itself


def test_two_texts_are_too_few_for_sample_pairs():
    with pytest.raises(ValueError, match="count is 2; a positive pair and two negative pairs need at least 3 texts"):
        functional.sample_pairs(2, 7)


def test_contrastive_tension(generator):
    a, b = 0.5 * torch.randn(2, 6, 8, generator=generator)
    labels = torch.tensor([1, 0, 0, 1, 0, 0])
    losses = []
    for x, y, same in zip(a, b, labels.tolist()):
        probability = 1 / (1 + math.exp(-sum(float(p * q) for p, q in zip(x, y))))
        losses.append(-math.log(probability if same else 1 - probability))
    assert float(functional.contrastive_tension(a, b, labels)) == pytest.approx(sum(losses), rel=1e-5)
    assert float(functional.contrastive_tension(a, b, labels, "mean")) == pytest.approx(sum(losses) / 6, rel=1e-5)
    assert functional.contrastive_tension(a, b, labels, "none").tolist() == pytest.approx(losses, rel=1e-4)


def test_stepwise_decay_is_the_authors_schedule():
    """1e-5, then 8e-6, 6e-6, 4e-6 and 2e-6 from steps 500, 1000, 1500 and 2000 on; shorter runs in proportion."""
    rates = [1e-5 * functional.stepwise_decay(step, 5000) for step in range(5000)]
    expected = [1e-5] * 500 + [8e-6] * 500 + [6e-6] * 500 + [4e-6] * 500 + [2e-6] * 3000
    assert rates == pytest.approx(expected)
    assert [functional.stepwise_decay(step, 20) for step in range(20)] == pytest.approx(
        [1, 1, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4] + [0.2] * 12
    )


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_in_batch_contrastive_tension(generator, scale):
    a, b = torch.randn(2, 5, 6, generator=generator)
    cosines = [[float(F.cosine_similarity(x, y, dim=0)) for y in b] for x in a]
    total = 0.0
    for i in range(5):
        row = sum(math.exp(scale * cosines[i][j]) for j in range(5))
        column = sum(math.exp(scale * cosines[j][i]) for j in range(5))
        total -= math.log(math.exp(scale * cosines[i][i]) / row) + math.log(math.exp(scale * cosines[i][i]) / column)
    loss = functional.in_batch_contrastive_tension(a, b, scale)
    assert float(loss) == pytest.approx(total / 10, rel=1e-5)
    assert float(loss) == pytest.approx(float(functional.in_batch_contrastive_tension(b, a, scale)), rel=1e-5)
    assert float(functional.in_batch_contrastive_tension(a, b, torch.tensor(scale))) == pytest.approx(float(loss))


def test_duplicates_are_no_negatives(generator):
    """A row with its double left out of its candidates: the loss is that of the batch's other pairs."""
    a, b = torch.randn(2, 4, 6, generator=generator)
    a[3], b[3] = a[1], b[1]
    duplicates = torch.zeros(4, 4)
    duplicates[1, 3] = duplicates[3, 1] = 1
    single = functional.in_batch_contrastive_tension(a[:3], b[:3], 20.0)
    rows = [functional.info_nce(x, y, 0.05) for x, y in ((a[:3], b[:3]), (b[:3], a[:3]))]
    assert float(single) == pytest.approx(float(sum(rows)) / 2, rel=1e-5)
    masked = functional.in_batch_contrastive_tension(a, b, 20.0, duplicates)
    assert float(masked) < float(functional.in_batch_contrastive_tension(a, b, 20.0)) - 0.1
    terms = []
    for x, y in ((a, b), (b, a)):
        for i, candidates in ((0, [0, 1, 2, 3]), (1, [1, 0, 2]), (2, [2, 0, 1, 3]), (3, [3, 0, 2])):
            terms.append(float(functional.info_nce(x[i : i + 1], y[candidates], 0.05)))
    assert float(masked) == pytest.approx(sum(terms) / 8, rel=1e-5)
    everything = functional.in_batch_contrastive_tension(a, b, 20.0, torch.ones(4, 4))
    assert float(everything) == pytest.approx(0, abs=1e-6)  # no candidate but oneself


def test_contrastive_tension_does_not_lose_digits_to_autocast(generator):
    a, b = torch.randn(2, 16, 32, generator=generator)
    labels = torch.arange(16) < 2
    for loss in (
        lambda: functional.contrastive_tension(a, b, labels),
        lambda: functional.in_batch_contrastive_tension(a, b, 20.0),
    ):
        exact = loss()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(loss(), exact)


def test_gradients(generator):
    a, b = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: functional.mean_pool(x[None], torch.tensor([[1, 1, 0, 1]])), (a,))


LABELS = torch.tensor([1, 0, 0, 1])
IDS = torch.tensor([[0, 1], [2, 2], [3, 0], [1, 4]])
PRECISE = {
    "cosine": functional.cosine,
    "masked_lm_loss": lambda a, b: functional.masked_lm_loss(a, LABELS),
    "masked_lm_loss of nothing": lambda a, b: functional.masked_lm_loss(a[:0], LABELS[:0]),
    "copy_or_write": lambda a, b: functional.copy_or_write(a, b[:, 0], b[:, :2].abs(), IDS),
    "info_nce": lambda a, b: functional.info_nce(a, b, 0.05),
    "contrastive_tension": lambda a, b: functional.contrastive_tension(a, b, LABELS),
    "in_batch_contrastive_tension": lambda a, b: functional.in_batch_contrastive_tension(a, b, 20.0),
    "multiple_negatives_ranking": lambda a, b: functional.multiple_negatives_ranking(a, b, b.roll(1, 0)),
    "margin_mse": lambda a, b: functional.margin_mse(a, b, b.roll(1, 0), LABELS),
    "alignment": functional.alignment,
    "uniformity": lambda a, b: functional.uniformity(a),
}


@pytest.mark.parametrize("name", PRECISE)
def test_float64_stays_float64(generator, name):
    """In float32 anywhere on the way, the numerical gradient would be wrong."""
    a, b = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    a.requires_grad_(), b.requires_grad_()
    assert PRECISE[name](a, b).dtype == torch.float64
    assert torch.autograd.gradcheck(PRECISE[name], (a, b))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", PRECISE)
def test_half_precision_is_computed_in_float32(generator, name, dtype):
    a, b = torch.randn(2, 4, 5, generator=generator).to(dtype)
    exact = PRECISE[name](a.float(), b.float())
    for autocast in (False, True):
        with torch.autocast("cpu", dtype, enabled=autocast):
            value = PRECISE[name](a, b)
        assert value.dtype == torch.float32
        assert torch.equal(value, exact)


# --------------------------------------------------------------------------- geometry


def test_alignment_and_uniformity(generator):
    a, b = torch.randn(2, 6, 3, generator=generator)
    unit = [[x / x.norm() for x in rows] for rows in (a, b)]
    expected = sum(float((x - y).norm()) ** 2 for x, y in zip(*unit)) / 6
    assert float(functional.alignment(a, b)) == pytest.approx(expected, abs=1e-5)
    pairs = [math.exp(-2 * float((unit[0][i] - unit[0][j]).norm()) ** 2) for i in range(6) for j in range(i)]
    assert float(functional.uniformity(a)) == pytest.approx(math.log(sum(pairs) / len(pairs)), abs=1e-5)
    assert torch.allclose(functional.uniformity(a), functional.uniformity(3 * a), atol=1e-6)  # length does not count


def test_uniformity_is_that_of_pdist(generator):
    x = torch.randn(300, 64, generator=generator) + 1
    expected = torch.pdist(F.normalize(x, dim=-1)).pow(2).mul(-2).exp().mean().log()
    assert float(functional.uniformity(x)) == pytest.approx(float(expected), abs=1e-6)


def test_uniformity_does_without_pdist(generator, monkeypatch):
    """Apple's MPS lacks it."""
    monkeypatch.setattr(torch, "pdist", None)
    assert functional.uniformity(torch.randn(4, 3, generator=generator)) < 0


def test_the_bounds_of_alignment_and_uniformity():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert functional.alignment(a, a) == 0 and functional.alignment(a, -a) == 4
    assert functional.uniformity(torch.ones(3, 2)) == 0
    assert float(functional.uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))) == pytest.approx(-8)
