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
        for pool, expected in ((functional.mean_pool, tokens.mean(0)), (functional.cls_pool, tokens[0]),
                               (functional.max_pool, tokens.amax(0))):
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
    strangers = inputs[chosen][~hidden & ~kept]
    assert 0 <= strangers.min() < 50 and VOCABULARY - 50 < strangers.max() < VOCABULARY  # from the whole vocabulary


def within_chance(count, trials, probability):
    """Whether a count lies within 4.5 standard deviations of its expectation."""
    return abs(count - trials * probability) <= 4.5 * math.sqrt(trials * probability * (1 - probability))


def test_mask_tokens_is_repeatable_and_takes_a_mask_of_what_is_special(ids):
    special = (ids <= 4).long()
    one, again, other = (functional.mask_tokens(ids, s, 0.15, MASK, VOCABULARY, torch.Generator().manual_seed(seed))
                         for s, seed in (({CLS, SEP, PAD}, 1), (special, 1), (special, 2)))
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


def test_gradients(generator):
    a, b = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    a.requires_grad_(), b.requires_grad_()
    assert torch.autograd.gradcheck(functional.alignment, (a, b))
    assert torch.autograd.gradcheck(functional.uniformity, (a,))
    assert torch.autograd.gradcheck(lambda x: functional.mean_pool(x[None], torch.tensor([[1, 1, 0, 1]])), (a,))


# --------------------------------------------------------------------------- geometry


def test_alignment_and_uniformity(generator):
    a, b = torch.randn(2, 6, 3, generator=generator)
    unit = [[x / x.norm() for x in rows] for rows in (a, b)]
    expected = sum(float((x - y).norm()) ** 2 for x, y in zip(*unit)) / 6
    assert float(functional.alignment(a, b)) == pytest.approx(expected, abs=1e-5)
    pairs = [math.exp(-2 * float((unit[0][i] - unit[0][j]).norm()) ** 2) for i in range(6) for j in range(i)]
    assert float(functional.uniformity(a)) == pytest.approx(math.log(sum(pairs) / len(pairs)), abs=1e-5)
    assert torch.allclose(functional.uniformity(a), functional.uniformity(3 * a), atol=1e-6)  # length does not count


def test_the_bounds_of_alignment_and_uniformity():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert functional.alignment(a, a) == 0 and functional.alignment(a, -a) == 4
    assert functional.uniformity(torch.ones(3, 2)) == 0
    assert float(functional.uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))) == pytest.approx(-8)
