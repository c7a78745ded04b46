"""Right answers that look nothing like the library's are right; mistakes written in another way are recognised."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from course_lib.notebook.exercises import (
    evaluation,
    masked_language_model,
    observing,
    sentence_encoder,
    simcse,
    start_here,
)

RIGHT, MISTAKEN = [], []


def right(exercise):
    def keep(function):
        RIGHT.append(pytest.param(exercise, function, id=f"{exercise.name}: {function.__name__}"))
        return function

    return keep


def mistaken(exercise, mistake):
    def keep(function):
        MISTAKEN.append(pytest.param(exercise, function, mistake, id=f"{exercise.name}: {mistake}"))
        return function

    return keep


# --------------------------------------------------------------------------- 00


@right(start_here.cosine)
def by_loops(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@right(start_here.nearest)
def of_unit_rows(query, rows):
    cosines = [row @ query / (np.linalg.norm(row) * np.linalg.norm(query)) for row in rows]
    return cosines.index(max(cosines))


@right(start_here.reciprocal_rank)
def with_next(ranking, answers):
    return next((1 / (i + 1) for i in range(len(ranking)) if ranking[i] in answers), 0.0)


@mistaken(start_here.nearest, "distance")
def squared_distance(query, rows):
    return min(range(len(rows)), key=lambda i: ((rows[i] - query) ** 2).sum())


# --------------------------------------------------------------------------- 01


@right(sentence_encoder.attention)
def by_torch(query, key, value, mask):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None].bool())


@right(sentence_encoder.attention)
def with_a_large_number(query, key, value, mask):
    scores = torch.einsum("bqd,bkd->bqk", query, key) / math.sqrt(query.size(-1))
    scores = scores + (1 - mask[:, None].float()) * -1e9
    return torch.einsum("bqk,bkd->bqd", F.softmax(scores, dim=-1), value)


@mistaken(sentence_encoder.attention, "mask after the softmax")
def weights_filled(query, key, value, mask):
    weights = torch.softmax(torch.bmm(query, key.mT) / math.sqrt(query.size(-1)), dim=2)
    return torch.bmm(weights.masked_fill(mask[:, None] == 0, 0), value)


@right(sentence_encoder.split_heads)
def by_chunks(x, heads):
    return torch.stack(x.chunk(heads, dim=-1), dim=1)


@right(sentence_encoder.layer_norm)
def by_population(x, weight, bias, eps):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.rsqrt(variance + eps) * (x - mean) * weight + bias


@right(sentence_encoder.mean_pool)
def row_by_row(hidden, mask):
    return torch.stack([h[m == 1].sum(0) / max(int(m.sum()), 1) for h, m in zip(hidden, mask)])


@right(sentence_encoder.mean_pool)
def by_einsum(hidden, mask):
    return torch.einsum("btd,bt->bd", hidden, mask / mask.sum(1, keepdim=True).clamp(min=1))


@right(sentence_encoder.max_pool)
def of_selected(hidden, mask):
    return torch.stack([h[m.bool()].max(0).values for h, m in zip(hidden, mask)])


# --------------------------------------------------------------------------- 02


@right(evaluation.spearman)
def by_pandas(x, y):
    return pd.Series(x).corr(pd.Series(y), method="spearman")


@mistaken(evaluation.spearman, "sorted once")
def argsort_once(x, y):
    return np.corrcoef(np.asarray(x).argsort(), np.asarray(y).argsort())[0, 1]


@right(evaluation.average_precision)
def by_precisions(ranked, grades):
    relevant = [i for i in grades if grades[i] > 0]
    return sum(
        sum(j in relevant for j in ranked[: ranked.index(i) + 1]) / (ranked.index(i) + 1)
        for i in relevant
        if i in ranked
    ) / max(len(relevant), 1)


@right(evaluation.ndcg_at_k)
def with_natural_logarithms(ranked, grades, k):
    gains = np.array([grades.get(i, 0) for i in ranked[:k]], dtype=float)
    best = np.sort(np.array(list(grades.values()), dtype=float))[::-1][:k]
    dcg, ideal = (each @ (1 / np.log(np.arange(len(each)) + 2)) for each in (gains, best))
    return dcg / ideal if ideal > 0 else 0


@right(evaluation.paired_bootstrap)
def with_choice(a, b, samples, seed):
    rng, n = np.random.default_rng(seed + 17), len(a)
    means = [(a[i] - b[i]).mean() for i in (rng.choice(n, n) for _ in range(samples // 4))]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


@right(evaluation.paired_bootstrap)
def with_weights(a, b, samples, seed):
    counts = np.random.default_rng(seed + 5).multinomial(len(a), np.full(len(a), 1 / len(a)), size=samples)
    return list(np.sort(counts @ (a - b) / len(a))[[samples // 40, samples - samples // 40]])


@mistaken(evaluation.paired_bootstrap, "not paired")
def resampled_apart(a, b, samples, seed):
    rng = np.random.default_rng(seed + 99)
    means = [values[rng.integers(len(values), size=(samples // 2, len(values)))].mean(1) for values in (a, b)]
    return np.quantile(means[0] - means[1], [0.025, 0.975])


@mistaken(evaluation.paired_bootstrap, "90 percent")
def other_quantiles(a, b, samples, seed):
    d, rng = a - b, np.random.default_rng(seed + 3)
    return tuple(np.quantile([d[rng.integers(len(d), size=len(d))].mean() for _ in range(samples // 2)], [0.05, 0.95]))


@mistaken(evaluation.paired_bootstrap, "without replacement")
def shuffled(a, b, samples, seed):
    rng = np.random.default_rng(seed)
    return tuple(np.quantile([rng.permutation(a - b).mean() for _ in range(100)], [0.025, 0.975]))


# --------------------------------------------------------------------------- 03


@right(masked_language_model.mask_tokens)
def with_bernoulli(ids, special, probability, mask_id, vocab_size):
    """In another order of draws, and the rest divided again."""
    inputs, labels = ids.clone(), ids.clone()
    random_ids = torch.randint(vocab_size, ids.shape)
    chosen = torch.bernoulli(torch.full(ids.shape, probability).masked_fill(special, 0.0)).bool()
    labels[~chosen] = -100
    masked = torch.bernoulli(torch.full(ids.shape, 0.8)).bool() & chosen
    inputs[masked] = mask_id
    replaced = torch.bernoulli(torch.full(ids.shape, 0.5)).bool() & chosen & ~masked
    inputs[replaced] = random_ids[replaced]
    return inputs, labels


@right(masked_language_model.mask_tokens)
def with_one_draw(ids, special, probability, mask_id, vocab_size):
    """One uniform number decides both: below 80 % of the probability [MASK], and so on."""
    draw = torch.rand(ids.shape).masked_fill(special, 2.0)
    inputs = torch.where(draw < 0.8 * probability, mask_id, ids)
    replaced = (draw >= 0.8 * probability) & (draw < 0.9 * probability)
    inputs = torch.where(replaced, torch.randint(5, vocab_size, ids.shape), inputs)
    return inputs, ids.masked_fill(draw >= probability, -100)


@mistaken(masked_language_model.mask_tokens, "all masked")
def the_same_die(ids, special, probability, mask_id, vocab_size):
    draw = torch.rand(ids.shape)
    chosen = (draw < probability) & ~special
    return torch.where(chosen & (draw < 0.8), mask_id, ids), torch.where(chosen, ids, -100)


@mistaken(masked_language_model.mask_tokens, "damaged labels")
def overwritten(ids, special, probability, mask_id, vocab_size):
    chosen, uniform = (torch.rand(ids.shape) < probability) & ~special, torch.rand(ids.shape)
    ids[chosen & (uniform < 0.8)] = mask_id
    replaced = chosen & (uniform >= 0.9)
    ids[replaced] = torch.randint(vocab_size, (int(replaced.sum()),))
    return ids, torch.where(chosen, ids, -100)


@mistaken(masked_language_model.mask_tokens, "a tenth of the rest")
def drawn_again(ids, special, probability, mask_id, vocab_size):
    chosen = (torch.rand(ids.shape) < probability) & ~special
    masked = chosen & (torch.rand(ids.shape) < 0.8)
    replaced = chosen & ~masked & (torch.rand(ids.shape) < 0.1)
    inputs = torch.where(replaced, torch.randint(vocab_size, ids.shape), ids.masked_fill(masked, mask_id))
    return inputs, torch.where(chosen, ids, -100)


@right(masked_language_model.masked_cross_entropy)
def by_ignore_index(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels)


@mistaken(masked_language_model.masked_cross_entropy, "divided by all")
def unreduced(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean()


@right(masked_language_model.whole_words)
def backwards(pieces, draws, probability):
    hide = []
    for i in range(len(pieces)):
        start = max(j for j in range(i + 1) if not pieces[j].startswith("##"))
        hide.append(pieces[i][0] != "[" and draws[start] < probability)
    return np.array(hide)


@right(masked_language_model.perplexity)
def geometric_mean(losses):
    return losses.exp().prod() ** (1 / len(losses))


# --------------------------------------------------------------------------- 05


@right(simcse.info_nce)
def by_logsumexp(a, b, temperature):
    scores = F.cosine_similarity(a[:, None], b[None], dim=-1) / temperature
    return (scores.logsumexp(1) - torch.diagonal(scores)).mean()


@right(simcse.info_nce)
def by_loops_over_rows(a, b, temperature):
    losses = []
    for i in range(len(a)):
        shares = torch.stack([(a[i] @ row / a[i].norm() / row.norm() / temperature).exp() for row in b])
        losses.append(-(shares[i] / shares.sum()).log())
    return sum(losses) / len(losses)


@mistaken(simcse.info_nce, "diagonal left out")
def negatives_only(a, b, temperature):
    e = (F.cosine_similarity(a[:, None], b[None], dim=-1) / temperature).exp()
    return -(e.diag() / (e.sum(1) - e.diag())).log().mean()


@mistaken(simcse.info_nce, "second view detached")
def no_grad_for_b(a, b, temperature):
    with torch.no_grad():
        b = F.normalize(b, dim=-1)
    scores = F.normalize(a, dim=-1) @ b.T / temperature
    return F.cross_entropy(scores, torch.arange(len(a)))


@right(simcse.two_views)
def repeated(encoder, batch):
    vectors = encoder({name: rows.repeat(2, 1) for name, rows in batch.items()})
    n = len(vectors) // 2
    return vectors[:n], vectors[n:], torch.arange(n)


@right(simcse.alignment)
def from_cosines(a, b):
    return (2 - 2 * F.cosine_similarity(a, b)).mean()


@right(simcse.uniformity)
def by_all_distances(x):
    x = x / x.norm(dim=1, keepdim=True)
    n = len(x)
    return (((2 * (2 * x @ x.T - 2)).exp().sum() - n) / (n * (n - 1))).log()


@mistaken(simcse.uniformity, "a row with itself")
def whole_matrix(x):
    x = F.normalize(x, dim=-1)
    return torch.cdist(x, x).pow(2).mul(-2).exp().mean().log()


@pytest.mark.parametrize("exercise, function", RIGHT)
def test_another_right_answer_is_right(exercise, function):
    assert exercise.check(function).right, exercise.check(function)


@pytest.mark.parametrize("exercise, function, mistake", MISTAKEN)
def test_a_mistake_written_otherwise_is_recognised(exercise, function, mistake):
    assert exercise.check(function).mistake == mistake, exercise.check(function)


def test_randomness_decides_nothing_about_the_noise(monkeypatch):
    """Twenty other streams of random numbers: right stays right, every mistake keeps its name."""
    exercise = masked_language_model.mask_tokens
    assert all(exercise.mistaken(mistake) for mistake in exercise.mistakes) and exercise.right  # by the usual seeds
    usual = observing.seed_everything
    for shift in range(1, 21):
        monkeypatch.setattr(observing, "seed_everything", lambda seed: usual(seed + 1000 * shift))
        mistake = exercise.mistakes[shift % len(exercise.mistakes)]
        assert exercise.check(exercise.reference).right, exercise.check(exercise.reference)
        assert exercise.check(mistake.code).mistake == mistake.name, exercise.check(mistake.code)


def test_randomness_decides_nothing_about_the_bootstrap():
    exercise = evaluation.paired_bootstrap
    for shift in range(1, 21):
        mistake = exercise.mistakes[shift % len(exercise.mistakes)]
        for code, name in ((exercise.reference, None), (mistake.code, mistake.name)):
            outcome = exercise.check(lambda a, b, samples, seed: code(a, b, samples, seed + 1000 * shift))
            assert outcome.mistake == name and outcome.right == (name is None), outcome
