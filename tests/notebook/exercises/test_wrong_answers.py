"""Wrong answers that are not planted as mistakes are rejected, and told where to look; some are known mistakes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from course_lib import functional
from course_lib.notebook.exercises import all_exercises, evaluation, masked_language_model, observing

EXERCISES = {exercise.name: exercise for exercise in all_exercises()}
WRONG = {}  # {exercise: functions}, or (function, name of the mistake that must be recognised)


def unit(x, axis=-1):
    return x / x.norm(dim=axis, keepdim=True)


# --------------------------------------------------------------------------- 00

WRONG["start_here.cosine"] = [
    lambda a, b: a @ b / max(_length(a), _length(b)) ** 2,
    lambda a, b: a @ b / np.sqrt(_length(a) * _length(b)),
    lambda a, b: abs(a @ b) / _length(a) / _length(b),
    lambda a, b: a @ b / (_length(a) * _length(b) + 0.1),
    lambda a, b: round(a @ b / _length(a) / _length(b), 1),
    lambda a, b: a[:2] @ b[:2] / _length(a[:2]) / _length(b[:2]),
    lambda a, b: np.corrcoef(a, b)[0, 1] if len(a) > 2 else a @ b / _length(a) / _length(b),
    lambda a, b: -(a @ b) / (_length(a) * _length(b)),
    lambda a, b: a * b / (_length(a) * _length(b)),
    (lambda a, b: math.acos(max(-1, min(1, a @ b / math.hypot(*a) / math.hypot(*b)))), "angle"),
]


def _length(a):
    return np.linalg.norm(a)


# --------------------------------------------------------------------------- 01


def filled(number):
    def attend(query, key, value, mask):
        scores = query @ key.mT / query.shape[-1] ** 0.5
        return scores.masked_fill(mask[:, None] == 0, number).softmax(-1) @ value

    return attend


def weights_filled(query, key, value, mask):
    weights = torch.softmax(torch.bmm(query, key.mT) / math.sqrt(query.size(-1)), dim=2)
    return torch.bmm(weights.masked_fill(mask[:, None] == 0, 0), value)


def with_numpy(query, key, value, mask):
    scores = torch.from_numpy(query.numpy() @ key.numpy().swapaxes(1, 2)) / query.shape[-1] ** 0.5
    return scores.masked_fill(mask[:, None] == 0, -math.inf).softmax(-1) @ value


WRONG["sentence_encoder.attention"] = [
    filled(-2),
    filled(-10),
    filled(0.0),
    (weights_filled, "mask after the softmax"),
    with_numpy,
    lambda q, k, v, mask: filled(-math.inf)(q, k, v, mask).detach(),
    lambda q, k, v, mask: filled(-math.inf)(k, q, v, mask),
    lambda q, k, v, mask: filled(-math.inf)(q, k, v, mask) * mask[..., None],
    lambda q, k, v, mask: filled(-math.inf)(q, v, k, mask),
    lambda q, k, v, mask: filled(-math.inf)(unit(q), unit(k), v, mask),
    lambda q, k, v, mask: filled(-math.inf)(q, k, v, mask).transpose(1, 2),
    lambda q, k, v, mask: (q @ k.mT / q.shape[-1] ** 0.5 * mask[:, None]).softmax(-1) @ (v * mask[..., None]),
]

WRONG["sentence_encoder.split_heads"] = [
    lambda x, heads: x.view(len(x), heads, -1, x.shape[1]).transpose(2, 3),
    lambda x, heads: x.view(*x.shape[:2], heads, -1).transpose(1, 2).flip(1),
    lambda x, heads: x.chunk(heads, -1),
    lambda x, heads: torch.cat(x.chunk(heads, -1)),
    lambda x, heads: x.view(*x.shape[:2], heads, -1).transpose(0, 2),
    lambda x, heads: x.view(*x.shape[:2], 3, -1).transpose(1, 2),
    lambda x, heads: x.view(*x.shape[:2], heads, -1).transpose(1, 2).detach(),
]


def in_place(x, weight, bias, eps):
    x -= x.mean(-1, keepdim=True)
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight + bias


WRONG["sentence_encoder.layer_norm"] = [
    in_place,
    lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, bias, eps**0.5),
    lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, bias, eps**2),
    lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, None, eps),
    lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, None, bias, eps),
    lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, -bias, eps),
    lambda x, weight, bias, eps: F.layer_norm(x, x.shape[1:], None, None, eps) * weight + bias,
    lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight.detach(), bias, eps),
    lambda x, weight, bias, eps: (x - x.mean(-1, True)) / (x.std(-1, True) + eps) * weight + bias,
    lambda x, weight, bias, eps: (x - x.mean(-1, True)) / (x.std(-1, True)) * weight + bias,
    lambda x, weight, bias, eps: (
        (x - x.mean(-1, True)) * (x.var(-1, True, unbiased=False) + eps).sqrt() * weight + bias
    ),
]


def added_in_place(x, attend, feed_forward, norm_1, norm_2):
    x += attend(x)
    x = norm_1(x)
    return norm_2(x + feed_forward(x))


WRONG["sentence_encoder.block"] = [
    added_in_place,
    (lambda x, a, f, n, m: m(f(n(a(x)))), "no residuals"),
    (lambda x, a, f, n, m: (lambda y: y + f(m(y)))(x + a(n(x))), "pre-norm"),
    (lambda x, a, f, n, m: (lambda y: m(y + a(y)))(n(x + f(x))), "feed-forward first"),
    (lambda x, a, f, n, m: n(a(x) + x), "only attention"),
    (lambda x, a, f, n, m: (n(x + a(x)), m(x + f(x)))[1], "only feed-forward"),
    lambda x, a, f, n, m: x + a(x) + f(x + a(x)),
    lambda x, a, f, n, m: (lambda y: m(y + f(y)))(n(x - a(x))),
    lambda x, a, f, n, m: (lambda y: m(y + y + f(y)))(n(x + a(x))),
    lambda x, a, f, n, m: (lambda y: m(y + f(y)))(n(x + a(x).detach())),
    lambda x, a, f, n, m: (lambda y: m(y + f(y)))(n(a(x) * x)),
    lambda x, a, f, n, m: (lambda y: m(x + y + f(y)))(n(x + a(x))),
]

WRONG["sentence_encoder.mean_pool"] = [
    lambda hidden, mask: (hidden * mask[..., None]).sum(1) / (mask.sum(1, True) + 1),
    lambda hidden, mask: (hidden * mask[..., None]).sum(1) / mask.sum(1, True).clamp(min=2),
    lambda hidden, mask: hidden[:, 0],
    lambda hidden, mask: torch.stack([h[: m.sum()].mean(0) if m.any() else h[0] * 0 for h, m in zip(hidden, mask)]),
    lambda hidden, mask: (hidden * mask[..., None]).sum(1) / mask.sum(1, True).clamp(min=1) ** 0.5,
    lambda hidden, mask: functional.mean_pool(hidden, mask).detach(),
    lambda hidden, mask: functional.mean_pool(hidden.detach(), mask),
    lambda hidden, mask: F.normalize(functional.mean_pool(hidden, mask), dim=-1),
    lambda hidden, mask: functional.mean_pool(hidden, mask).numpy(),
    lambda hidden, mask: functional.mean_pool(hidden.clamp(-500, 500), torch.ones_like(mask)),
    lambda hidden, mask: hidden.mul_(mask[..., None]).sum(1) / mask.sum(1, True).clamp(min=1),
    lambda hidden, mask: functional.mean_pool(hidden, mask).mean(0, keepdim=True).expand(len(hidden), -1),
]

WRONG["sentence_encoder.max_pool"] = [
    lambda hidden, mask: hidden.masked_fill(mask[..., None] == 0, -2.0).amax(1),
    lambda hidden, mask: hidden.masked_fill(mask[..., None] == 0, -10.0).amax(1),
    lambda hidden, mask: hidden.masked_fill(mask[..., None] == 0, -100.0).amax(1),
    lambda hidden, mask: functional.max_pool(hidden, 1 - mask),
    lambda hidden, mask: hidden.masked_fill(mask[..., None] == 0, math.inf).amin(1),
    lambda hidden, mask: hidden.masked_fill(mask[..., None] == 0, -math.inf).max(1),
    lambda hidden, mask: (hidden - 50 * (1 - mask[..., None])).amax(1),
    lambda hidden, mask: hidden.masked_fill(mask[..., None] == 0, -math.inf).logsumexp(1),
    lambda hidden, mask: hidden[:, 1:].masked_fill(mask[:, 1:, None] == 0, -1e9).amax(1),
]

# --------------------------------------------------------------------------- 02


def _ranks(values, turned=False):
    return stats.rankdata(-np.asarray(values) if turned else values)


WRONG["evaluation.spearman"] = [
    (lambda x, y: np.corrcoef(np.asarray(x).argsort(), np.asarray(y).argsort())[0, 1], "sorted once"),
    lambda x, y: np.corrcoef(np.argsort(np.argsort(x)), np.argsort(np.argsort(y)))[0, 1],
    lambda x, y: np.corrcoef(_ranks(x), _ranks(y)),
    lambda x, y: abs(np.corrcoef(_ranks(x), _ranks(y))[0, 1]),
    lambda x, y: np.corrcoef(_ranks(x), _ranks(y))[0, 1] ** 2,
    lambda x, y: np.cov(_ranks(x), _ranks(y))[0, 1],
    lambda x, y: (_ranks(x) @ _ranks(y)) / np.sqrt((_ranks(x) ** 2).sum() * (_ranks(y) ** 2).sum()),
    lambda x, y: stats.spearmanr(x, y).pvalue,
    lambda x, y: np.corrcoef(stats.rankdata(x, "max"), stats.rankdata(y, "max"))[0, 1],
    lambda x, y: np.corrcoef(np.log(np.abs(x)), np.log(np.abs(y) + 1))[0, 1],
    lambda x, y: stats.spearmanr(np.sort(x), np.sort(y)).statistic,
    lambda x, y: float((np.sign(np.diff(x)) == np.sign(np.diff(y))).mean()),
]

_ap = EXERCISES["evaluation.average_precision"].reference
WRONG["evaluation.average_precision"] = [
    (
        lambda ranked, grades: (
            _ap(ranked, grades)
            * max(sum(g > 0 for g in grades.values()), 1)
            / max(min(sum(g > 0 for g in grades.values()), len(ranked)), 1)
        ),
        "divided by the places at most",
    ),
    lambda ranked, grades: _ap(ranked[:3], grades),
    lambda ranked, grades: _ap(ranked, {i: g for i, g in grades.items() if g > 1}),
    lambda ranked, grades: _ap(ranked, grades) if any(grades.values()) else 1.0,
    lambda ranked, grades: _ap(ranked[::-1], grades),
    lambda ranked, grades: (
        sum(grades.get(i, 0) * sum(grades.get(j, 0) > 0 for j in ranked[:k]) / k for k, i in enumerate(ranked, 1))
        / max(sum(grades.values()), 1)
    ),
    lambda ranked, grades: _ap(ranked, {i: g for i, g in grades.items() if i in ranked}),
    lambda ranked, grades: (
        sum(
            sum(grades.get(j, 0) > 0 for j in ranked[: k - 1]) / k
            for k, i in enumerate(ranked, 1)
            if grades.get(i, 0) > 0
        )
        / max(sum(g > 0 for g in grades.values()), 1)
    ),
    lambda ranked, grades: _ap(ranked, grades) * 100,
]

_ndcg = EXERCISES["evaluation.ndcg_at_k"].reference
WRONG["evaluation.ndcg_at_k"] = [
    (lambda ranked, grades, k: _ndcg(ranked, grades, min(k, len(ranked))), "ideal as long as the ranking"),
    lambda ranked, grades, k: _ndcg(ranked, grades, 10),
    lambda ranked, grades, k: _ndcg(ranked, grades, k + 1),
    lambda ranked, grades, k: _ndcg(ranked, grades, k) if any(grades.values()) else 1.0,
    lambda ranked, grades, k: _ndcg(ranked, {i: grades.get(i, 1) for i in {*ranked, *grades}}, k),
    lambda ranked, grades, k: _ndcg(sorted(ranked), grades, k),
    lambda ranked, grades, k: _ndcg(ranked, {i: g for i, g in grades.items() if i in ranked}, k),
    lambda ranked, grades, k: 1 - _ndcg(ranked, grades, k),
    lambda ranked, grades, k: (
        sum(grades.get(i, 0) / math.log2(r + 1) for r, i in enumerate(ranked[:k], 1))
        / max(sum(g / math.log2(r + 1) for r, g in enumerate(list(grades.values())[:k], 1)), 1e-9)
    ),
    lambda ranked, grades, k: (
        sum(grades.get(i, 0) / math.log2(r + 1) for r, i in enumerate(ranked[:k], 1))
        / max(sum(sorted(grades.values())[-k:]), 1e-9)
    ),
]


def percentiles(draw, low=2.5, high=97.5):
    return lambda a, b, samples, seed: tuple(np.percentile(draw(a, b, samples, seed), [low, high]))


def means(values, samples, rng):
    return values[rng.integers(len(values), size=(samples, len(values)))].mean(1)


def standard_errors(a, b, samples, seed):
    d = a - b
    return d.mean() - 1.96 * d.std() / len(d) ** 0.5, d.mean() + 1.96 * d.std() / len(d) ** 0.5


def resampled_apart(a, b, samples, seed):
    rng = np.random.default_rng(seed + 99)
    drawn = [values[rng.integers(len(values), size=(samples // 2, len(values)))].mean(1) for values in (a, b)]
    return np.quantile(drawn[0] - drawn[1], [0.025, 0.975])


def other_quantiles(a, b, samples, seed):
    d, rng = a - b, np.random.default_rng(seed + 3)
    return tuple(np.quantile([d[rng.integers(len(d), size=len(d))].mean() for _ in range(samples // 2)], [0.05, 0.95]))


def shuffled(a, b, samples, seed):
    rng = np.random.default_rng(seed)
    return tuple(np.quantile([rng.permutation(a - b).mean() for _ in range(100)], [0.025, 0.975]))


WRONG["evaluation.paired_bootstrap"] = [
    standard_errors,
    (resampled_apart, "not paired"),
    (other_quantiles, "90 percent"),
    (shuffled, "without replacement"),
    percentiles(lambda a, b, samples, seed: means(a - b, samples, np.random.default_rng(0))),
    percentiles(lambda a, b, samples, seed: means(a - b, samples, np.random.default_rng())),
    percentiles(lambda a, b, samples, seed: means(a - b, 5000, np.random.default_rng(seed))),
    percentiles(lambda a, b, samples, seed: means(a - b, samples, np.random.default_rng(seed)), 0.5, 99.5),
    percentiles(lambda a, b, samples, seed: means(a - b, samples, np.random.default_rng(seed)), 5, 100),
    percentiles(lambda a, b, samples, seed: np.abs(means(a - b, samples, np.random.default_rng(seed)))),
    lambda a, b, samples, seed: float(np.mean(a - b)),
    (
        percentiles(
            lambda a, b, n, seed: (
                means(a, n, np.random.default_rng(seed + 9)) - means(b, n, np.random.default_rng(seed))
            )
        ),
        "not paired",
    ),
    (percentiles(lambda a, b, n, seed: means(a - b, n // 2, np.random.default_rng(seed + 3)), 5, 95), "90 percent"),
    (
        lambda a, b, n, seed: tuple(
            np.quantile([np.random.default_rng(seed).permutation(a - b).mean() for _ in range(50)], [0.025, 0.975])
        ),
        "without replacement",
    ),
]

# --------------------------------------------------------------------------- 03


def noise(ids, chosen, mask_id, vocab_size, uniform=None, random_ids=None):
    uniform = torch.rand(ids.shape) if uniform is None else uniform
    random_ids = torch.randint(vocab_size, ids.shape) if random_ids is None else random_ids
    inputs = torch.where(chosen & (uniform < 0.8), mask_id, ids)
    return torch.where(chosen & (uniform >= 0.9), random_ids, inputs), torch.where(chosen, ids, -100)


def some(ids, special, probability):
    return (torch.rand(ids.shape) < probability) & ~special


def own_seed(ids, special, probability, mask_id, vocab_size):
    generator = torch.Generator().manual_seed(7)
    return noise(ids, (torch.rand(ids.shape, generator=generator) < probability) & ~special, mask_id, vocab_size)


def exactly(ids, special, probability, mask_id, vocab_size):
    draws = torch.rand(ids.shape).masked_fill(special, 2.0)
    count = round(probability * (ids.shape[1] - 2))
    return noise(ids, draws <= draws.kthvalue(count, dim=1, keepdim=True).values, mask_id, vocab_size)


def the_same_die(ids, special, probability, mask_id, vocab_size):
    draw = torch.rand(ids.shape)
    chosen = (draw < probability) & ~special
    return torch.where(chosen & (draw < 0.8), mask_id, ids), torch.where(chosen, ids, -100)


def overwritten(ids, special, probability, mask_id, vocab_size):
    chosen, uniform = some(ids, special, probability), torch.rand(ids.shape)
    ids[chosen & (uniform < 0.8)] = mask_id
    replaced = chosen & (uniform >= 0.9)
    ids[replaced] = torch.randint(vocab_size, (int(replaced.sum()),))
    return ids, torch.where(chosen, ids, -100)


def drawn_again(ids, special, probability, mask_id, vocab_size):
    chosen = some(ids, special, probability)
    masked = chosen & (torch.rand(ids.shape) < 0.8)
    replaced = chosen & ~masked & (torch.rand(ids.shape) < 0.1)
    inputs = torch.where(replaced, torch.randint(vocab_size, ids.shape), ids.masked_fill(masked, mask_id))
    return inputs, torch.where(chosen, ids, -100)


WRONG["masked_language_model.mask_tokens"] = [
    own_seed,
    exactly,
    (the_same_die, "all masked"),
    (overwritten, "damaged labels"),
    (drawn_again, "a tenth of the rest"),
    lambda ids, special, p, mask_id, V: noise(ids, some(ids, special, p), mask_id, V, torch.rand(len(ids), 1)),
    lambda ids, special, p, mask_id, V: noise(ids, some(ids, special, p), mask_id, V, torch.rand(ids.shape[1])),
    lambda ids, special, p, mask_id, V: noise(ids, some(ids, special, p), mask_id, V // 2),
    lambda ids, special, p, mask_id, V: noise(
        ids, some(ids, special, p), mask_id, V, random_ids=torch.randint(V // 2, V, ids.shape)
    ),
    lambda ids, special, p, mask_id, V: noise(ids, (torch.rand(len(ids), 1) < p) & ~special, mask_id, V),
    lambda ids, special, p, mask_id, V: noise(ids, some(ids, special, p), 4, V),
    lambda ids, special, p, mask_id, V: noise(ids, some(ids, special, p / 2), mask_id, V),
    lambda ids, special, p, mask_id, V: noise(ids, some(ids, special, p), mask_id, V)[0],
    lambda ids, special, p, mask_id, V: noise(ids, some(ids, special, p), mask_id, V)[::-1],
    lambda ids, special, p, mask_id, V: tuple(x.float() for x in noise(ids, some(ids, special, p), mask_id, V)),
]

_mlm = EXERCISES["masked_language_model.masked_cross_entropy"].reference
WRONG["masked_language_model.masked_cross_entropy"] = [
    (lambda logits, labels: F.cross_entropy(logits.mT, labels, reduction="none").mean(), "divided by all"),
    lambda logits, labels: _mlm(logits, labels).item(),
    lambda logits, labels: _mlm(logits.detach(), labels),
    lambda logits, labels: F.cross_entropy(logits.mT, labels, label_smoothing=0.1),
    lambda logits, labels: _mlm(logits, labels).exp(),
    lambda logits, labels: F.cross_entropy(logits.mT, labels, reduction="none"),
    lambda logits, labels: _mlm(logits[:1], labels[:1]),
    lambda logits, labels: F.cross_entropy(logits.softmax(-1).mT, labels),
    lambda logits, labels: F.cross_entropy(logits.mT, labels, reduction="sum") / len(labels),
    lambda logits, labels: F.mse_loss(
        logits[labels >= 0].softmax(-1), F.one_hot(labels[labels >= 0], logits.shape[-1]).float()
    ),
    lambda logits, labels: (
        F.cross_entropy(logits.mT, torch.where(labels > 0, labels, -100))
        if (labels == 0).any()
        else _mlm(logits, labels)
    ),
    lambda logits, labels: -torch.log(logits[labels >= 0].softmax(-1).max(-1).values).mean(),
    lambda logits, labels: _mlm(logits, torch.where(labels < 0, labels.max(), labels)),
]

_words = EXERCISES["masked_language_model.whole_words"].reference
WRONG["masked_language_model.whole_words"] = [
    lambda pieces, draws, p: _words(pieces, draws, 0.15),
    lambda pieces, draws, p: [i for i, hide in enumerate(_words(pieces, draws, p)) if hide],
    lambda pieces, draws, p: ["[MASK]" if hide else piece for piece, hide in zip(pieces, _words(pieces, draws, p))],
    lambda pieces, draws, p: [h or piece == "[PAD]" for piece, h in zip(pieces, _words(pieces, draws, p))],
    lambda pieces, draws, p: [h and piece[:2] == "##" for piece, h in zip(pieces, _words(pieces, draws, p))],
    lambda pieces, draws, p: [any(_words(pieces, draws, p))] * len(pieces),
    lambda pieces, draws, p: [
        h and i not in (0, len(pieces) - 1)
        for i, h in enumerate(_words([piece.strip("[]") for piece in pieces], draws, p))
    ],
]

WRONG["masked_language_model.perplexity"] = [
    lambda losses: losses.median().exp(),
    lambda losses: 10 ** losses.mean(),
    lambda losses: losses.mean().exp() / len(losses),
    lambda losses: losses.mean().log(),
    lambda losses: losses.max().exp(),
    lambda losses: losses.exp(),
    lambda losses: losses.mean().exp() - 1,
    lambda losses: (losses.sum() / (len(losses) - 1 or 1)).exp(),
    lambda losses: (losses.sum() / 3).exp(),
]

# --------------------------------------------------------------------------- 04


def deleted(kept, ids, special, generator, save=True):
    words = (~special).nonzero().flatten()
    if save and not kept[words].any():
        kept[words[torch.randint(len(words), (1,), generator=generator)]] = True
    return ids[kept | special]


WRONG["tsdae.delete_tokens"] = [
    lambda ids, special, p, g: deleted(torch.rand(len(ids)) >= p, ids, special, g),
    lambda ids, special, p, g: deleted(torch.rand(len(ids), generator=g) >= 0.6, ids, special, g),
    lambda ids, special, p, g: deleted(torch.rand(len(ids), generator=g) >= p, ids, special, g).flip(0),
    lambda ids, special, p, g: deleted(torch.rand(len(ids), generator=g) >= p, ids, special, g).unique(),
    lambda ids, special, p, g: deleted(torch.rand(len(ids), generator=g) >= p / 2, ids, special, g),
    lambda ids, special, p, g: deleted(torch.rand(len(ids), generator=g) >= p, ids, special, g)[1:-1],
    lambda ids, special, p, g: deleted(torch.rand(len(ids), generator=g) >= p, ids, special, g).tolist(),
    lambda ids, special, p, g: ids[: max(3, int((1 - p) * len(ids)))],
]

_next = functional.next_token_targets
WRONG["tsdae.next_token_targets"] = [
    lambda ids, mask: _next(ids, mask)[::-1],
    lambda ids, mask: (ids[:, :-1], ids[:, 1:].masked_fill(mask[:, 1:] == 0, 0)),
    lambda ids, mask: (ids[:, :-1], ids[:, 1:].masked_fill(ids[:, 1:] == ids[0, -1], -100)),
    lambda ids, mask: (ids[:-1], ids[1:].masked_fill(mask[1:] == 0, -100)) if len(ids) > 1 else _next(ids, mask),
    lambda ids, mask: (ids[:, :-1], ids[:, 1:].masked_fill(mask[:, 1:] == 1, -100)),
    lambda ids, mask: tuple(x.float() for x in _next(ids, mask)),
    lambda ids, mask: (ids[:, :-1], ids.roll(1, 1)[:, :-1].masked_fill(mask[:, 1:] == 0, -100)),
    lambda ids, mask: (ids[:, :-1], ids[:, 1:].masked_fill_(mask[:, 1:] == 0, -100)),
    lambda ids, mask: (ids[:, :-1] * mask[:, :-1], _next(ids, mask)[1]),
    lambda ids, mask: _next(ids, mask)[1],
]

_causal = EXERCISES["tsdae.causal_attention"].reference


def causally_filled(number):
    def attend(query, key, value):
        scores = query @ key.mT / query.shape[-1] ** 0.5
        return scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), number).softmax(-1) @ value

    return attend


WRONG["tsdae.causal_attention"] = [
    causally_filled(-2.0),
    causally_filled(-10.0),
    lambda q, k, v: _causal(q, k, v).detach(),
    lambda q, k, v: _causal(k, q, v),
    lambda q, k, v: _causal(q, v, k),
    lambda q, k, v: _causal(q * q.shape[-1], k, v),
    lambda q, k, v: _causal(q, k.detach(), v),
    lambda q, k, v: _causal(q, k, v.cumsum(-2)),
    lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).tril().softmax(-1) @ v,
    lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).tril() @ v,
    lambda q, k, v: v.cumsum(-2) / torch.arange(1, v.shape[-2] + 1)[:, None],
    lambda q, k, v: (q @ k.mT / q.shape[-2] ** 0.5 + torch.full(q.shape[-2:-1] * 2, -math.inf).triu(1)).softmax(-1) @ v,
]

WRONG["tsdae.linear_map"] = [
    lambda V, v, W, w: (W @ V, v @ W + w),
    lambda V, v, W, w: (V @ W, V @ w + v),
    lambda V, v, W, w: (W + V, v + w),
    lambda V, v, W, w: (W @ V, W @ (v + w)),
    lambda V, v, W, w: (W.T @ V, W @ v + w),
    lambda V, v, W, w: (W @ V.T, W @ v + w),
    lambda V, v, W, w: (W @ V, V @ v + w),
    lambda V, v, W, w: W @ V,
    lambda V, v, W, w: (W @ V, W @ v - w),
]

# --------------------------------------------------------------------------- 05


def cross_entropy(scores):
    return F.cross_entropy(scores, torch.arange(len(scores)))


def normalised_in_place(a, b, temperature):
    a /= a.norm(dim=-1, keepdim=True)
    b /= b.norm(dim=-1, keepdim=True)
    return cross_entropy(a @ b.T / temperature)


def only_a_in_place(a, b, temperature):
    a /= a.norm(dim=-1, keepdim=True)
    return cross_entropy(a @ unit(b).T / temperature)


def no_grad_for_b(a, b, temperature):
    with torch.no_grad():
        b = F.normalize(b, dim=-1)
    return cross_entropy(F.normalize(a, dim=-1) @ b.T / temperature)


def negatives_only(a, b, temperature):
    e = (F.cosine_similarity(a[:, None], b[None], dim=-1) / temperature).exp()
    return -(e.diag() / (e.sum(1) - e.diag())).log().mean()


def in_numpy(a, b, temperature):
    a, b = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (a, b))
    e = np.exp(a @ b.T / temperature)
    return -np.log(np.diag(e) / e.sum(1)).mean()


IN_PLACE = {("simcse.info_nce", normalised_in_place), ("simcse.info_nce", only_a_in_place)}

WRONG["simcse.info_nce"] = [
    (no_grad_for_b, "second view detached"),
    (negatives_only, "diagonal left out"),
    (lambda a, b, t: cross_entropy(unit(a) @ b.T / t), "second view not normalised"),
    (lambda a, b, t: -cross_entropy(unit(a) @ unit(b).T / t), "sign"),
    normalised_in_place,
    only_a_in_place,
    in_numpy,
    lambda a, b, t: torch.tensor(in_numpy(a, b, t)),
    lambda a, b, t: torch.tensor(in_numpy(a.detach(), b.detach(), t), requires_grad=True),
    lambda a, b, t: F.cross_entropy(unit(a) @ unit(b).T / t, torch.tensor([0, 1, 2])),
    lambda a, b, t: F.cross_entropy(unit(a) @ unit(b).T / t, torch.zeros(len(a), dtype=torch.long)),
    lambda a, b, t: cross_entropy(unit(a) @ unit(b).T / 0.05),
    lambda a, b, t: cross_entropy(unit(a) @ unit(b).T / t**2),
    lambda a, b, t: cross_entropy(unit(a) @ unit(b).T / t**0.5),
    lambda a, b, t: cross_entropy(-torch.cdist(unit(a), unit(b)) / t),
    lambda a, b, t: cross_entropy(unit(a) @ unit(b).T / t) / math.log(2),
    lambda a, b, t: F.cross_entropy(unit(a) @ unit(b).T / t, torch.arange(len(a)), reduction="none"),
    lambda a, b, t: F.cross_entropy(unit(a) @ unit(b).T / t, torch.arange(len(a)), label_smoothing=0.1),
    lambda a, b, t: cross_entropy(unit(a) @ unit(a).T / t),
    lambda a, b, t: -(F.cosine_similarity(a, b) / t).mean(),
    lambda a, b, t: F.mse_loss(unit(a) @ unit(b).T, torch.eye(len(a))),
    lambda a, b, t: cross_entropy(unit(a) @ unit(b).T / t + 1e-2 * torch.rand(len(a), len(a))),
    lambda a, b, t: F.cross_entropy(unit(a) @ unit(b).T / t, torch.arange(len(a)), reduction="sum") / 3,
    lambda a, b, t: F.cross_entropy(unit(a) @ unit(b).T / t, torch.arange(len(a)), reduction="sum") / a.shape[1],
]

_two = EXERCISES["simcse.two_views"].reference
WRONG["simcse.two_views"] = [
    lambda encoder, batch: _two(encoder, batch)[:2],
    lambda encoder, batch: (*_two(encoder, batch)[:2], _two(encoder, batch)[2]),
    lambda encoder, batch: (*_two(encoder, batch)[:2], torch.eye(len(batch["input_ids"]))),
    lambda encoder, batch: (*_two(encoder, batch)[:2], torch.arange(3)),
    lambda encoder, batch: (*_two(encoder, batch)[:2], _two(encoder, batch)[2].flip(0)),
    lambda encoder, batch: encoder({name: torch.cat([rows, rows]) for name, rows in batch.items()}),
    lambda encoder, batch: (lambda x: (x[::2], x[1::2], torch.arange(len(x) // 2)))(
        encoder({name: torch.cat([rows, rows]) for name, rows in batch.items()})
    ),
]

_align = functional.alignment
WRONG["simcse.alignment"] = [
    lambda a, b: _align(a, b).sqrt(),
    lambda a, b: _align(a, b) / 2,
    lambda a, b: F.cosine_similarity(a, b).mean(),
    lambda a, b: _align(a, b.flip(0)),
    lambda a, b: (F.normalize(a, dim=0) - F.normalize(b, dim=0)).pow(2).sum(-1).mean(),
    lambda a, b: (F.normalize(a) - F.normalize(b)).abs().sum(-1).mean(),
    lambda a, b: (F.normalize(a).mean(0) - F.normalize(b).mean(0)).pow(2).sum(),
    lambda a, b: _align(a, b).item(),
    lambda a, b: torch.cdist(F.normalize(a), F.normalize(b)).pow(2).mean(),
    lambda a, b: (F.normalize(a) - F.normalize(b)).pow(2).sum(-1),
    lambda a, b: (F.normalize(a) - F.normalize(b)).pow(2).sum() / 3,
    (lambda a, b: (unit(a) - b).pow(2).sum(-1).mean(), "second not normalised"),
]

_uniform = functional.uniformity
WRONG["simcse.uniformity"] = [
    (
        lambda x: torch.cdist(F.normalize(x, dim=-1), F.normalize(x, dim=-1)).pow(2).mul(-2).exp().mean().log(),
        "a row with itself",
    ),
    lambda x: _uniform(x).exp(),
    lambda x: -_uniform(x),
    lambda x: _uniform(x) / math.log(2),
    lambda x: _uniform(x.T) if len(x) > 2 and x.shape[1] > 2 else _uniform(x) * 2,
    lambda x: torch.pdist(F.normalize(x, dim=0)).pow(2).mul(-2).exp().mean().log(),
    lambda x: torch.pdist(F.normalize(x)).pow(2).mul(-0.5).exp().mean().log(),
    lambda x: torch.pdist(F.normalize(x)).pow(2).mean(),
    lambda x: torch.pdist(F.normalize(x)).pow(2).mul(-2).exp().sum().div(len(x) ** 2).log(),
    lambda x: (F.normalize(x) @ F.normalize(x).T).mul(-2).exp().mean().log(),
    lambda x: torch.pdist(F.normalize(x)).mean().pow(2).mul(-2),
]

# --------------------------------------------------------------------------- 06


def paired(partner):
    def sample_pairs(count, negatives_per_positive, generator):
        order = torch.randperm(count, generator=generator)
        many = count // (1 + negatives_per_positive)
        return order, torch.cat([order[:many], partner(order[many:], generator)]), (torch.arange(count) < many).long()

    return sample_pairs


def own_generator(count, negatives_per_positive, generator):
    return functional.sample_pairs(count, negatives_per_positive, torch.Generator().manual_seed(1))


WRONG["contrastive_tension.sample_pairs"] = [
    (paired(lambda rest, g: rest.flip(0)), "mirrored"),
    paired(lambda rest, g: rest[torch.randperm(len(rest), generator=g)]),
    paired(lambda rest, g: rest),
    paired(lambda rest, g: rest[:1].expand(len(rest))),
    own_generator,
    lambda count, k, generator: functional.sample_pairs(count, k),
    lambda count, k, generator: functional.sample_pairs(count, k, generator)[:2],
    lambda count, k, generator: tuple(x.tolist() for x in functional.sample_pairs(count, k, generator)),
    lambda count, k, generator: tuple(x.float() for x in functional.sample_pairs(count, k, generator)),
    lambda count, k, generator: (lambda a, b, y: (a, b, 2 * y - 1))(*functional.sample_pairs(count, k, generator)),
    lambda count, k, generator: functional.sample_pairs(count, 1, generator),
]

_ct = functional.contrastive_tension
WRONG["contrastive_tension.contrastive_tension"] = [
    lambda a, b, labels: _ct(a, b, labels) / 3,
    lambda a, b, labels: _ct(a, b, labels, "none"),
    lambda a, b, labels: -_ct(a, b, labels),
    lambda a, b, labels: _ct(a, b.detach(), labels),
    lambda a, b, labels: _ct(a * a.shape[1] ** -0.25, b * a.shape[1] ** -0.25, labels),
    lambda a, b, labels: _ct(unit(a), b, labels),
    lambda a, b, labels: F.hinge_embedding_loss((a * b).sum(-1), 2 * labels.float() - 1, reduction="sum"),
    lambda a, b, labels: F.mse_loss((a * b).sum(-1).sigmoid(), labels.float(), reduction="sum"),
    lambda a, b, labels: F.cross_entropy((a * b).sum(-1), labels.float()),
    lambda a, b, labels: _ct(a, b, labels).item(),
    lambda a, b, labels: _ct(-a, b, labels),
    lambda a, b, labels: _ct(a, a, labels),
    lambda a, b, labels: F.binary_cross_entropy_with_logits((a * b).mean(-1) * 3, labels.float(), reduction="sum"),
]

WRONG["contrastive_tension.stepwise_decay"] = [
    lambda step, steps: (
        1 - 0.2 * min(4, step // (steps // 10)) if steps >= 10 else 1 - 0.2 * min(4, 10 * step // steps)
    ),
    lambda step, steps: max(0.2, 1 - 0.2 * round(10 * step / steps)),
    lambda step, steps: max(0.2, 1 - 2 * step / steps),
    lambda step, steps: 1 - 0.2 * min(4, 10 * (step + 1) // steps),
    lambda step, steps: max(0.2, 1 - 0.1 * (10 * step // steps)),
    lambda step, steps: [1, 0.8, 0.6, 0.4, 0.2][min(4, step)],
    lambda step, steps: 1 - 0.2 * min(3, 10 * step // steps),
    lambda step, steps: max(0.1, 1 - 0.2 * (10 * step // steps)),
    lambda step, steps: 1 - 0.2 * min(4, math.ceil(10 * step / steps)),
]

# --------------------------------------------------------------------------- 07

_inbatch = functional.in_batch_contrastive_tension
WRONG["in_batch_contrastive_tension.in_batch_contrastive_tension"] = [
    lambda a, b, scale: (
        (
            F.cross_entropy(unit(a) @ unit(b).T * scale, torch.tensor([0, 1, 2]))
            + F.cross_entropy(unit(b) @ unit(a).T * scale, torch.tensor([0, 1, 2]))
        )
        / 2
    ),
    lambda a, b, scale: _inbatch(a, b, 20.0),
    lambda a, b, scale: _inbatch(a, b, scale.item()),
    lambda a, b, scale: _inbatch(a, b.detach(), scale),
    lambda a, b, scale: _inbatch(a, a, scale),
    lambda a, b, scale: (
        cross_entropy(unit(a) @ unit(b).T * scale) + cross_entropy(unit(a) @ unit(b).T * scale).detach()
    ),
    lambda a, b, scale: (
        (cross_entropy(unit(a) @ unit(b).T * scale) * 2 + cross_entropy(unit(b) @ unit(a).T * scale)) / 3
    ),
    lambda a, b, scale: _inbatch(a, b, scale**2),
    lambda a, b, scale: _inbatch(a, b, scale.sqrt()),
    lambda a, b, scale: F.binary_cross_entropy_with_logits(unit(a) @ unit(b).T * scale, torch.eye(len(a))),
    lambda a, b, scale: -_inbatch(a, b, scale),
    lambda a, b, scale: _inbatch(a, b, scale).item(),
    lambda a, b, scale: _inbatch(a.div_(a.norm(dim=1, keepdim=True)), b, scale),
]


def masked(equal, number=-math.inf):
    return lambda scores, ids: scores.masked_fill(equal(ids) & ~torch.eye(len(ids)).bool(), number)


def _equal(ids):
    return (ids[:, None] == ids).all(-1)


WRONG["in_batch_contrastive_tension.mask_duplicates"] = [
    (masked(lambda ids: _equal(ids.sort(-1).values)), "order ignored"),
    (masked(lambda ids: ids.sum(1) == ids.sum(1)[:, None]), "sums compared"),
    (masked(_equal, -10.0), "a small number"),
    masked(_equal, -2.0),
    masked(_equal, math.inf),
    masked(lambda ids: ids[:, 1] == ids[:, 1, None]),
    masked(lambda ids: ids[:, -1] == ids[:, -1, None]),
    masked(lambda ids: _equal(ids).tril()),
    masked(lambda ids: ids.float().mean(1) == ids.float().mean(1)[:, None]),
    lambda scores, ids: masked(_equal)(scores, ids).detach(),
    lambda scores, ids: masked(_equal)(scores, ids).softmax(-1),
    lambda scores, ids: scores.masked_fill_(_equal(ids) & ~torch.eye(len(ids)).bool(), -math.inf),
    lambda scores, ids: _equal(ids),
    lambda scores, ids: masked(_equal)(scores, ids) * 20,
]

WRONG["in_batch_contrastive_tension.clamp_scale"] = [
    lambda logit_scale, max_scale: logit_scale.clamp(max=math.log(100)),
    lambda logit_scale, max_scale: logit_scale.clamp(0, math.log(max_scale)),
    lambda logit_scale, max_scale: logit_scale.clamp(max=math.log2(max_scale)),
    lambda logit_scale, max_scale: min(float(logit_scale), math.log(max_scale)),
    lambda logit_scale, max_scale: logit_scale.clamp_(max=math.log(max_scale)),
    lambda logit_scale, max_scale: math.log(max_scale) * torch.tanh(logit_scale / math.log(max_scale)),
    lambda logit_scale, max_scale: logit_scale if logit_scale < math.log(max_scale) else torch.tensor(0.0),
    lambda logit_scale, max_scale: logit_scale.clamp(max=math.exp(max_scale)),
]

# --------------------------------------------------------------------------- 08

_cross = EXERCISES["query_generator.cross_attention"].reference


def cross_filled(number):
    """Padding gets this score instead of −inf."""

    def attend(hidden, states, mask, query, key, value, heads):
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query(hidden), key(states), value(states)))
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(mask[:, None, None] == 0, number)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    return attend


WRONG["query_generator.cross_attention"] = [
    (cross_filled(0.0), "zeros for padding"),
    cross_filled(-2.0),
    cross_filled(-10.0),
    (lambda h, s, mask, q, k, v, heads: _cross(h, s, torch.ones_like(mask), q, k, v, heads), "padding seen"),
    (lambda h, s, mask, q, k, v, heads: _cross(h, s, mask, q, k, v, 1), "one head"),
    (lambda h, s, mask, q, k, v, heads: _cross(h, s, mask, q, k, v, 2) if heads > 1 else h, None),
    lambda h, s, mask, q, k, v, heads: _cross(h, s, mask, q, k, v, heads) + h,
    lambda h, s, mask, q, k, v, heads: _cross(h, s, mask, k, q, v, heads),
    lambda h, s, mask, q, k, v, heads: _cross(h, s, mask, q, v, k, heads),
    lambda h, s, mask, q, k, v, heads: _cross(h, s, mask, q, k, lambda x: x, heads),
    lambda h, s, mask, q, k, v, heads: _cross(h, s.detach(), mask, q, k, v, heads),
    lambda h, s, mask, q, k, v, heads: v(functional.mean_pool(s, mask))[:, None].expand_as(h),
    lambda h, s, mask, q, k, v, heads: _cross(h, s, mask, q, k, v, heads).detach(),
]

_copy = EXERCISES["query_generator.copy_or_write"].reference
WRONG["query_generator.copy_or_write"] = [
    (lambda logits, gate, attention, ids: _copy(logits, -gate, attention, ids), "gate turned"),
    (lambda logits, gate, attention, ids: _copy(logits, torch.full_like(gate, 50), attention, ids), "nothing copied"),
    (lambda logits, gate, attention, ids: _copy(logits, torch.full_like(gate, -50), attention, ids), "always copied"),
    (
        lambda logits, gate, attention, ids: _copy(logits, gate, attention.softmax(-1), ids),
        "attention normalised again",
    ),
    lambda logits, gate, attention, ids: _copy(logits, torch.zeros_like(gate), attention, ids),
    lambda logits, gate, attention, ids: _copy(logits, gate, attention, ids).log(),
    lambda logits, gate, attention, ids: _copy(logits, gate.mean().expand_as(gate), attention, ids),
    lambda logits, gate, attention, ids: _copy(logits, gate.detach(), attention, ids),
    lambda logits, gate, attention, ids: _copy(logits, gate, attention.detach(), ids),
    lambda logits, gate, attention, ids: torch.maximum(
        gate.sigmoid()[:, None] * logits.softmax(-1),
        torch.zeros_like(logits).scatter_add(1, ids, (1 - gate.sigmoid())[:, None] * attention),
    ),
    lambda logits, gate, attention, ids: _copy(logits, gate, attention / attention.amax(1, keepdim=True), ids),
]

_write = EXERCISES["query_generator.generate"].reference


WRONG["query_generator.generate"] = [
    (lambda step, choose, n, most, begin, end: _write(step, choose, n, most + 1, begin, end), "one too many"),
    lambda step, choose, n, most, begin, end: _write(step, choose, n, most, begin, 1),
    lambda step, choose, n, most, begin, end: _write(step, choose, n, most, 0, end),
    lambda step, choose, n, most, begin, end: _write(step, choose, n, most, begin, end).tolist(),
    lambda step, choose, n, most, begin, end: _write(step, choose, n, most, begin, end).flatten(),
    lambda step, choose, n, most, begin, end: _write(step, choose, 1, most, begin, end),
    lambda step, choose, n, most, begin, end: _write(step, choose, n, most, begin, end)[:, :-1],
    lambda step, choose, n, most, begin, end: _write(step, choose, n, most, begin, end).flip(1),
    lambda step, choose, n, most, begin, end: _write(step, lambda x: choose(x.softmax(-1) ** 0), n, most, begin, end),
    lambda step, choose, n, most, begin, end: choose(step(torch.full((n, 1), begin)))[:, None],
]


def kept_while(rule):
    def nucleus(logits, top_p):
        p, order = logits.softmax(-1).sort(-1, descending=True)
        kept = p * rule(p, p.cumsum(-1), top_p)
        return torch.zeros_like(p).scatter(-1, order, kept / kept.sum(-1, keepdim=True))

    return nucleus


_nucleus = EXERCISES["genq.nucleus"].reference
WRONG["genq.nucleus"] = [
    kept_while(lambda p, total, top_p: total - p < 0.9),
    kept_while(lambda p, total, top_p: total - p <= 1 - top_p),
    kept_while(lambda p, total, top_p: p >= top_p * p[:, :1]),
    kept_while(lambda p, total, top_p: total < top_p),
    lambda logits, top_p: _nucleus(logits, top_p) > 0,
    lambda logits, top_p: _nucleus(logits / top_p, top_p),
    lambda logits, top_p: _nucleus(logits[:1], top_p).expand(logits.shape),
    lambda logits, top_p: _nucleus(logits, top_p).argmax(-1),
    lambda logits, top_p: _nucleus(logits, top_p).softmax(-1),
    lambda logits, top_p: _nucleus(logits, top_p).log(),
    lambda logits, top_p: _nucleus(logits.flatten(), top_p).view_as(logits),
    lambda logits, top_p: _nucleus(logits, top_p).numpy(),
]

_mnr = functional.multiple_negatives_ranking
WRONG["genq.ranking_loss"] = [
    lambda q, p, n, scale: F.cross_entropy(unit(q) @ unit(torch.cat([p, n])).T * scale, torch.tensor([0, 1, 2])),
    lambda q, p, n, scale: _mnr(q, p, n),
    lambda q, p, n, scale: _mnr(q, p.detach(), n, scale),
    lambda q, p, n, scale: _mnr(q, p, n, scale).item(),
    lambda q, p, n, scale: _mnr(p, q, n, scale),
    lambda q, p, n, scale: F.cross_entropy(
        unit(q) @ unit(torch.cat([n, p])).T * scale, torch.arange(len(q)) + len(q) - 1
    ),
    lambda q, p, n, scale: F.relu(1 - F.cosine_similarity(q, p) + F.cosine_similarity(q, n)).mean() * scale,
    lambda q, p, n, scale: (_mnr(q, p, None, scale) + _mnr(q, n, None, scale)) / 2,
    lambda q, p, n, scale: _mnr(q, p, torch.cat([n, n]), scale),
    lambda q, p, n, scale: -_mnr(q, p, n, scale),
    lambda q, p, n, scale: _mnr(q, p, n, scale**0.5),
    lambda q, p, n, scale: (
        F.cross_entropy(unit(q) @ unit(torch.cat([p, n])).T * scale, torch.arange(len(q)), reduction="sum") / 3
    ),
    (lambda q, p, n, scale: cross_entropy(unit(q) @ torch.cat([p, n]).T * scale), "passages not normalised"),
    lambda q, p, n, scale: _mnr(q.div_(q.norm(dim=1, keepdim=True)), p, n, scale),
]

_dup = EXERCISES["genq.duplicates"].reference


def pairwise(rule):
    return lambda queries, positives: torch.tensor(
        [[bool(rule(q, p, r, s)) for r, s in zip(queries, positives)] for q, p in zip(queries, positives)]
    )


WRONG["genq.duplicates"] = [
    (pairwise(lambda q, p, r, s: q in r or p in s), "part of the other"),
    pairwise(lambda q, p, r, s: r in q or s in p),
    pairwise(lambda q, p, r, s: q.lower() == r.lower() or p == s),
    pairwise(lambda q, p, r, s: q[:4] == r[:4] or p == s),
    pairwise(lambda q, p, r, s: len(q) == len(r) or p == s),
    pairwise(lambda q, p, r, s: set(q.split()) & set(r.split()) or p == s),
    lambda queries, positives: ~_dup(queries, positives),
    lambda queries, positives: torch.eye(len(queries)).bool(),
    lambda queries, positives: _dup(queries, positives).float(),
    lambda queries, positives: _dup(queries, positives).triu(),
    lambda queries, positives: _dup(queries, positives).any(1),
    lambda queries, positives: _dup(queries, positives).tolist(),
]

# --------------------------------------------------------------------------- 09

_hard = EXERCISES["gpl.hard_negatives"].reference
WRONG["gpl.hard_negatives"] = [
    lambda rankings, positive, texts, n: list(set(_hard(rankings, positive, texts, n))),
    lambda rankings, positive, texts, n: set(_hard(rankings, positive, texts, n)),
    lambda rankings, positive, texts, n: _hard(rankings, positive, texts, n)[::-1],
    lambda rankings, positive, texts, n: _hard(rankings, positive, texts, 2),
    lambda rankings, positive, texts, n: _hard(rankings, positive, texts, n + 1),
    lambda rankings, positive, texts, n: _hard(rankings, positive, texts, n)[:n],
    lambda rankings, positive, texts, n: [texts[i] for i in _hard(rankings, positive, texts, n)],
    lambda rankings, positive, texts, n: _hard({k: rankings[k] for k in ("bm25", "dense")}, positive, texts, n),
    lambda rankings, positive, texts, n: _hard({k: r[::-1] for k, r in rankings.items()}, positive, texts, n),
    lambda rankings, positive, texts, n: {k: _hard({k: r}, positive, texts, n) for k, r in rankings.items()},
]

_pair = EXERCISES["gpl.pair_ids"].reference
WRONG["gpl.pair_ids"] = [
    lambda q, t, cls, sep, n: _pair(q, t, sep, cls, n),
    lambda q, t, cls, sep, n: _pair(q, t, cls, sep, n - 1),
    lambda q, t, cls, sep, n: _pair(q, t, cls, sep, n)[0],
    lambda q, t, cls, sep, n: _pair(q, t, cls, sep, n)[::-1],
    lambda q, t, cls, sep, n: (_pair(q, t, cls, sep, n)[0], [1 - k for k in _pair(q, t, cls, sep, n)[1]]),
    lambda q, t, cls, sep, n: (_pair(q, t, cls, sep, n)[0], _pair(q, t, cls, sep, n)[1][:-1]),
    lambda q, t, cls, sep, n: _pair(q[: (n - 3) // 2], t[: (n - 3) // 2], cls, sep, n),
    lambda q, t, cls, sep, n: ([cls, *q, sep, cls, *t, sep], [0] * (len(q) + 2) + [1] * (len(t) + 2)),
    (lambda q, t, cls, sep, n: _pair(t, q, cls, sep, n), "text first"),
    (lambda q, t, cls, sep, n: tuple(part[:n] for part in _pair(q, t, cls, sep, 99)), "the end cut off"),
    (lambda q, t, cls, sep, n: _pair(q, t, cls, sep, n + 3), "special tokens not counted"),
]

WRONG["gpl.relevance_loss"] = [
    lambda logits: F.cross_entropy(logits, torch.ones(len(logits)).long()),
    lambda logits: F.cross_entropy(logits, torch.zeros(len(logits)).long()) / logits.shape[1],
    lambda logits: F.cross_entropy(logits, torch.zeros(len(logits)).long(), reduction="none"),
    lambda logits: F.cross_entropy(logits, torch.zeros(len(logits)).long()).item(),
    lambda logits: F.relu(1 - logits[:, :1] + logits[:, 1:]).mean(),
    lambda logits: -F.logsigmoid(logits[:, 0]).mean(),
    lambda logits: F.mse_loss(logits[:, 0], logits[:, 1:].max(1).values),
    lambda logits: (logits.max(1).values - logits[:, 0]).mean(),
    lambda logits: F.cross_entropy(logits.detach(), torch.zeros(len(logits)).long()),
    lambda logits: F.cross_entropy(logits / 2, torch.zeros(len(logits)).long()),
    (lambda logits: -torch.log_softmax(logits, 0)[:, 0].mean(), "softmax over the queries"),
    (lambda logits: -(logits.flatten().log_softmax(0).view_as(logits)[:, 0]).mean(), "softmax over all pairs"),
]


def own(q, p, n):
    return (q * p).sum(-1) - (q * n).sum(-1)


WRONG["gpl.margin_mse"] = [
    lambda q, p, n, m: (own(q, p, n) - m).pow(2).sum() / q.shape[1],
    lambda q, p, n, m: (own(q, p, n) - m).pow(2).sum() / 3,
    lambda q, p, n, m: F.mse_loss(own(q, p, n), m) / 2,
    lambda q, p, n, m: F.mse_loss(own(q.detach(), p, n), m),
    lambda q, p, n, m: F.mse_loss(own(q, p, n), m).item(),
    lambda q, p, n, m: F.smooth_l1_loss(own(q, p, n), m),
    lambda q, p, n, m: F.mse_loss(own(unit(q), p, n), m),
    lambda q, p, n, m: F.mse_loss(own(q, p, n), m, reduction="none"),
    lambda q, p, n, m: F.relu(m - own(q, p, n)).mean(),
    lambda q, p, n, m: (F.mse_loss((q * p).sum(-1), m) + F.mse_loss((q * n).sum(-1), -m)) / 2,
    lambda q, p, n, m: (own(q, p, n) - m).mean().pow(2),
    lambda q, p, n, m: F.mse_loss((p * q).sum(-1) + (q * n).sum(-1), m),
    lambda q, p, n, m: F.mse_loss(torch.cdist(q, n).diag() - torch.cdist(q, p).diag(), m),
]

# --------------------------------------------------------------------------- 10

_spans = EXERCISES["domain_adaptation.two_spans"].reference
WRONG["domain_adaptation.two_spans"] = [
    lambda ids, shares, places: _spans(ids, shares, places)[::-1],
    lambda ids, shares, places: _spans(ids, shares, places)[0],
    lambda ids, shares, places: [span[:-1] for span in _spans(ids, shares, places)],
    lambda ids, shares, places: [span[1:] for span in _spans(ids, shares, places)],
    lambda ids, shares, places: _spans(ids, places, shares),
    lambda ids, shares, places: _spans(ids, shares, [0, 0]),
    lambda ids, shares, places: _spans(ids, [max(s, 0.2) for s in shares], places),
    lambda ids, shares, places: [[i for i in ids if i in span] for span in _spans(ids, shares, places)],
    lambda ids, shares, places: [[span[0], *sorted(set(span[1:-1])), span[-1]] for span in _spans(ids, shares, places)],
    lambda ids, shares, places: _spans(ids, [1 - s for s in shares], places),
]

_gap = EXERCISES["domain_adaptation.gap_closed"].reference
WRONG["domain_adaptation.gap_closed"] = [
    lambda adapted, source, reference: (adapted.mean() - source.mean()) / reference.mean(),
    lambda adapted, source, reference: adapted.mean() - source.mean(),
    lambda adapted, source, reference: _gap(adapted, source, reference).item(),
    lambda adapted, source, reference: _gap(adapted.median(), source.median(), reference.median()),
    lambda adapted, source, reference: (adapted - source) / (reference - source),
    lambda adapted, source, reference: (adapted.mean() - source.mean()) / (reference.mean() - adapted.mean()),
    lambda adapted, source, reference: _gap(adapted, source, reference).clamp(0, 1),
    lambda adapted, source, reference: _gap(adapted, reference, source),
    lambda adapted, source, reference: _gap(adapted, source, reference).round(decimals=1),
]

_fuse = EXERCISES["domain_adaptation.reciprocal_rank_fusion"].reference
WRONG["domain_adaptation.reciprocal_rank_fusion"] = [
    lambda rankings, constant: _fuse(rankings, 60),
    lambda rankings, constant: sorted(_fuse(rankings, constant), key=lambda i: -_fuse(rankings, constant)[i]),
    lambda rankings, constant: list(_fuse(rankings, constant).items()),
    lambda rankings, constant: _fuse(rankings[:2], constant),
    lambda rankings, constant: _fuse(rankings, constant + 1),
    lambda rankings, constant: {i: s * (constant + 1) for i, s in _fuse(rankings, constant).items()},
    lambda rankings, constant: {i: s / len(rankings) for i, s in _fuse(rankings, constant).items()},
    lambda rankings, constant: {i: -s for i, s in _fuse(rankings, constant).items()},
    lambda rankings, constant: _fuse([ranking[::-1] for ranking in rankings], constant),
    lambda rankings, constant: {i: s for i, s in _fuse(rankings, constant).items() if s > 0.0165},
]


# --------------------------------------------------------------------------- the tests


def is_vague(outcome):
    """Whether a rejection can only say that a value differs, and repeats the first hint."""
    return outcome.status == "wrong" and outcome.mistake is None and outcome.hint != ""


# --------------------------------------------------------------------------- 11

WRONG["performance_comparison.conclusion"] = [
    lambda low, high, smallest: "better" if high > 0 else "worse",
    lambda low, high, smallest: "better" if low > smallest else "worse" if high < -smallest else "cannot tell",
    lambda low, high, smallest: "worse" if low > 0 else "better" if high < 0 else "cannot tell",
    lambda low, high, smallest: (
        "better" if low > 0 else "worse" if high < 0 else "no difference that matters" if -smallest < low else "?"
    ),
    (lambda low, high, smallest: ("worse", "cannot tell", "better")[(low > 0) - (high < 0) + 1], "never equal"),
]

WRONG["performance_comparison.whitening"] = [
    lambda x: (np.zeros(x.shape[1]), np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T),
    lambda x: (x.mean(0), np.linalg.inv(np.linalg.cholesky(np.cov(x.T)))),
    lambda x: (x.mean(0), np.linalg.inv(np.cov(x.T))),
    lambda x: (x.mean(0), np.eye(x.shape[1])),
    lambda x: (np.median(x, 0), np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T),
    lambda x: (x.mean(1), np.eye(x.shape[1])),
    (lambda x: (x.mean(0), np.diag(np.var(x, axis=0, ddof=1) ** -0.5)), "each number on its own"),
]

WRONG["performance_comparison.worth_it"] = [
    lambda costs, values: [cost == min(costs) for cost in costs],
    lambda costs, values: [True for _ in costs],
    lambda costs, values: [value > max(values) / 2 for value in values],
    lambda costs, values: [
        all(v < value for c, v in zip(costs, values) if c < cost) for cost, value in zip(costs, values)
    ],
    lambda costs, values: [i for i, v in enumerate(values) if v == max(values)],
]

# --------------------------------------------------------------------------- 13

WRONG["search_at_scale.to_bits"] = [
    (lambda vectors: (vectors > 0).astype(np.uint8), "not packed"),
    (lambda vectors: np.packbits(np.signbit(vectors), axis=1), "negative numbers are set"),
    lambda vectors: np.packbits(vectors > vectors.mean(0), axis=1),
    lambda vectors: np.packbits(vectors[:, ::-1] > 0, axis=1),
    lambda vectors: 255 - np.packbits(vectors > 0, axis=1),
]

WRONG["search_at_scale.hamming"] = [
    (lambda query, rows: (rows != query).sum(axis=-1), "bytes counted"),
    lambda query, rows: np.bitwise_count(query ^ rows).sum(axis=1, dtype=np.uint8),
    lambda query, rows: np.bitwise_count(query ^ rows).sum(axis=0),
    lambda query, rows: np.bitwise_count(query | rows).sum(axis=1),
    lambda query, rows: np.bitwise_count(query ^ rows).mean(axis=1),
]

WRONG["search_at_scale.search_lists"] = [
    lambda query, rows, centres, list_of, breadth, k: np.argsort(-(centres[list_of] @ query), kind="stable")[:k],
    lambda query, rows, centres, list_of, breadth, k: _listed(query, rows, centres, list_of, breadth + 1, k),
    lambda query, rows, centres, list_of, breadth, k: _listed(query, rows, centres, list_of, breadth, k + 1),
    lambda query, rows, centres, list_of, breadth, k: _listed(query, rows, centres, list_of, breadth, k)[::-1],
]


def _listed(query, rows, centres, list_of, breadth, k):
    read = np.flatnonzero(np.isin(list_of, np.argsort(-(centres @ query))[:breadth]))
    return read[np.argsort(-(rows[read] @ query))[:k]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """{(exercise, number): (function, mistake to recognise or None, outcome)} of all wrong answers."""
    tried = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_CACHE", str(tmp_path_factory.mktemp("progress")))
        for name, functions in WRONG.items():
            for number, each in enumerate(functions):
                function, mistake = each if isinstance(each, tuple) else (each, None)
                tried[name, number] = function, mistake, EXERCISES[name].check(function)
    return tried


@pytest.mark.parametrize("name", EXERCISES)
def test_a_wrong_answer_is_rejected(outcomes, name):
    assert WRONG[name]
    for number in range(len(WRONG[name])):
        _, mistake, outcome = outcomes[name, number]
        assert outcome.status in ("wrong", "raised"), (number, outcome)
        assert mistake is None or outcome.mistake == mistake, (number, outcome)


def test_nine_rejections_in_ten_say_where_to_look(outcomes):
    vague = [f"{name} {number}\n{outcome}" for (name, number), (*_, outcome) in outcomes.items() if is_vague(outcome)]
    assert len(vague) <= 0.1 * len(outcomes), "\n".join(vague)


def test_a_mistake_in_the_gradient_is_not_named_where_arguments_were_changed(outcomes):
    for function, _, outcome in outcomes.values():
        if function in (normalised_in_place, only_a_in_place, in_place):
            assert outcome.difference.kind == "arguments" and outcome.mistake is None, outcome


def test_numpy_is_told_about_torch_at_once(outcomes):
    """No advice leads to the next rejection, such as .detach(), which torch recommends here."""
    for function, _, outcome in outcomes.values():
        if function in (in_numpy, with_numpy):
            assert "NumPy" in outcome.message and "gradient" in outcome.message, outcome
            assert "detach()" not in outcome.message, outcome


def test_no_verdict_depends_on_the_order_of_strings_in_a_set():
    """That order changes from kernel to kernel."""
    for exercise in EXERCISES.values():
        for case in exercise.argument_sets:
            for value in case.values() if isinstance(case, dict) else case:
                assert not isinstance(value, set) or sum(isinstance(v, str) for v in value) < 2


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
