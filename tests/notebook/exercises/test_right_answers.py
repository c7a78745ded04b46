"""Right answers that look nothing like the library's are right."""

import math
from fractions import Fraction
from functools import reduce

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import special, stats

from course_lib.notebook.exercises import all_exercises

EXERCISES = {exercise.name: exercise for exercise in all_exercises()}
RIGHT = {}  # {exercise: functions}

RIGHT["start_here.cosine"] = [
    lambda a, b: sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)),
    lambda a, b: np.inner(a / np.sqrt((a**2).sum()), b / np.sqrt((b**2).sum())),
    lambda a, b: float(torch.nn.functional.cosine_similarity(torch.tensor(a), torch.tensor(b), dim=0)),
    lambda a, b: np.einsum("i,i->", a, b) / (np.linalg.norm(a) * np.linalg.norm(b)),
    lambda a, b: 1 - ((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2).sum() / 2,
    lambda a, b: np.dot(a, b) / np.hypot.reduce(a) / np.hypot.reduce(b),
]


def with_loops(query, key, value, mask):
    rows = []
    for q, k, v, m in zip(query, key, value, mask):
        k, v = k[m == 1], v[m == 1]
        rows.append(torch.stack([(k @ each / len(each) ** 0.5).softmax(0) @ v for each in q]))
    return torch.stack(rows)


def with_a_large_number(query, key, value, mask):
    scores = torch.einsum("bqd,bkd->bqk", query, key) / math.sqrt(query.size(-1))
    scores = scores + (1 - mask[:, None].float()) * -1e9
    return torch.einsum("bqk,bkd->bqd", F.softmax(scores, dim=-1), value)


def own_softmax(query, key, value, mask):
    scores = (query / query.shape[2] ** 0.25) @ (key / key.shape[2] ** 0.25).mT
    scores = scores.masked_fill(mask[:, None] == 0, -math.inf)
    shares = torch.exp(scores - scores.amax(2, keepdim=True))
    return shares / shares.sum(2, keepdim=True) @ value


RIGHT["sentence_encoder.attention"] = [
    lambda query, key, value, mask: F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None].bool()),
    with_a_large_number,
    with_loops,
    own_softmax,
    lambda query, key, value, mask: (
        torch.softmax(
            torch.where(mask[:, None, :] == 1, query @ key.permute(0, 2, 1) / math.sqrt(query.shape[-1]), -1e12), 2
        )
        @ value
    ),
]

RIGHT["sentence_encoder.split_heads"] = [
    lambda x, heads: torch.stack(x.chunk(heads, dim=-1), dim=1),
    lambda x, heads: x.reshape(x.shape[0], x.shape[1], heads, x.shape[2] // heads).permute(0, 2, 1, 3),
    lambda x, heads: torch.stack(
        [x[:, :, i * (x.shape[2] // heads) : (i + 1) * (x.shape[2] // heads)] for i in range(heads)], 1
    ),
    lambda x, heads: torch.einsum("bthd->bhtd", x.view(len(x), -1, heads, x.size(-1) // heads)).contiguous(),
    lambda x, heads: x.mT.unflatten(1, (heads, -1)).mT,
]


def by_population(x, weight, bias, eps):
    variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    return torch.rsqrt(variance + eps) * (x - mean) * weight + bias


RIGHT["sentence_encoder.layer_norm"] = [
    by_population,
    lambda x, weight, bias, eps: F.layer_norm(x, (x.shape[-1],), weight, bias, eps),
    lambda x, weight, bias, eps: (
        (x - x.mean(2)[..., None]) / (x.var(2, unbiased=False) + eps).sqrt()[..., None] * weight + bias
    ),
    lambda x, weight, bias, eps: torch.native_layer_norm(x, weight.shape, weight, bias, eps)[0],
]


def with_names(x, attend, feed_forward, norm_1, norm_2):
    attended = attend(x)
    between = norm_1(torch.stack([x, attended]).sum(0))
    changed = feed_forward(between)
    return norm_2(changed.add(between))


RIGHT["sentence_encoder.block"] = [
    with_names,
    lambda x, attend, feed_forward, norm_1, norm_2: norm_2((y := norm_1(attend(x) + x)) + feed_forward(y)),
    lambda x, a, f, n, m: (lambda y: m(torch.add(y, f(y))))(n(torch.add(x, a(x)))),
]

RIGHT["sentence_encoder.mean_pool"] = [
    lambda hidden, mask: torch.stack([h[m == 1].sum(0) / max(int(m.sum()), 1) for h, m in zip(hidden, mask)]),
    lambda hidden, mask: torch.einsum("btd,bt->bd", hidden, mask / mask.sum(1, keepdim=True).clamp(min=1)),
    lambda hidden, mask: (mask[:, None].float() @ hidden).squeeze(1) / mask.sum(1)[:, None].clamp(min=1),
    lambda hidden, mask: torch.where(mask[..., None] == 1, hidden, 0.0).sum(1) / torch.clamp(mask.sum(1, True), min=1),
    lambda hidden, mask: hidden.masked_fill(~mask[:, :, None].bool(), 0).sum(dim=1) / (mask.sum(1, True) + 1e-9),
]

RIGHT["sentence_encoder.max_pool"] = [
    lambda hidden, mask: torch.stack([h[m.bool()].max(0).values for h, m in zip(hidden, mask)]),
    lambda hidden, mask: torch.where(mask[..., None].bool(), hidden, -torch.inf).max(dim=1)[0],
    lambda hidden, mask: (hidden + (1 - mask[..., None]) * -1e9).amax(1),
    lambda hidden, mask: -(hidden.neg().masked_fill(mask[..., None] < 1, torch.inf).min(1).values),
    lambda hidden, mask: hidden.masked_fill(mask[..., None] == 0, torch.finfo(hidden.dtype).min).amax(-2),
]


def ranks_by_counting(x, y):
    def ranks(values):
        return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])

    x, y = (r - r.mean() for r in (ranks(x), ranks(y)))
    return (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())


RIGHT["evaluation.spearman"] = [
    lambda x, y: pd.Series(x).corr(pd.Series(y), method="spearman"),
    ranks_by_counting,
    lambda x, y: stats.spearmanr(x, y)[0],
    lambda x, y: stats.pearsonr(stats.rankdata(x), stats.rankdata(y)).statistic,
    lambda x, y: (
        np.cov(stats.rankdata(x), stats.rankdata(y))[0, 1]
        / (np.std(stats.rankdata(x), ddof=1) * np.std(stats.rankdata(y), ddof=1))
    ),
]


def with_numpy(ranked, grades):
    hits = np.array([grades.get(i, 0) > 0 for i in ranked])
    total = sum(g > 0 for g in grades.values())
    return (hits * hits.cumsum() / np.arange(1, len(hits) + 1)).sum() / total if total else 0


def by_precisions(ranked, grades):
    relevant = [i for i in grades if grades[i] > 0]
    return sum(
        sum(j in relevant for j in ranked[: ranked.index(i) + 1]) / (ranked.index(i) + 1)
        for i in relevant
        if i in ranked
    ) / max(len(relevant), 1)


RIGHT["evaluation.average_precision"] = [
    with_numpy,
    by_precisions,
    lambda ranked, grades: (
        sum(
            sum(grades.get(j, 0) > 0 for j in ranked[: ranked.index(i) + 1]) / (ranked.index(i) + 1)
            for i in grades
            if grades[i] > 0 and i in ranked
        )
        / max(sum(g > 0 for g in grades.values()), 1)
    ),
    lambda ranked, grades: (
        Fraction(
            sum(
                Fraction(sum(grades.get(j, 0) > 0 for j in ranked[:k]), k)
                for k in range(1, len(ranked) + 1)
                if grades.get(ranked[k - 1], 0) > 0
            )
        )
        / (len([g for g in grades.values() if g > 0]) or 1)
    ),
]


def with_natural_logarithms(ranked, grades, k):
    gains = np.array([grades.get(i, 0) for i in ranked[:k]], dtype=float)
    best = np.sort(np.array(list(grades.values()), dtype=float))[::-1][:k]
    dcg, ideal = (each @ (1 / np.log(np.arange(len(each)) + 2)) for each in (gains, best))
    return dcg / ideal if ideal > 0 else 0


def over_ranks(ranked, grades, k=10):
    best, total, ideal = sorted(grades, key=grades.get, reverse=True), 0.0, 0.0
    for rank in range(k):
        total += grades.get(ranked[rank], 0) / math.log2(rank + 2) if rank < len(ranked) else 0
        ideal += grades[best[rank]] / math.log2(rank + 2) if rank < len(best) else 0
    return total / max(ideal, 1e-12)


RIGHT["evaluation.ndcg_at_k"] = [with_natural_logarithms, over_ranks]


def with_choice(a, b, samples, seed):
    rng, n = np.random.default_rng(seed + 17), len(a)
    means = [(a[i] - b[i]).mean() for i in (rng.choice(n, n) for _ in range(samples))]
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


def with_weights(a, b, samples, seed):
    counts = np.random.default_rng(seed + 5).multinomial(len(a), np.full(len(a), 1 / len(a)), size=samples)
    return list(np.sort(counts @ (a - b) / len(a))[[samples // 40, samples - samples // 40 - 1]])


def with_a_quarter(a, b, samples, seed):
    return with_choice(a, b, samples // 4, seed)


def with_weights_to_the_end(a, b, samples, seed):
    counts = np.random.default_rng(seed + 5).multinomial(len(a), np.full(len(a), 1 / len(a)), size=samples)
    return list(np.sort(counts @ (a - b) / len(a))[[samples // 40, samples - samples // 40]])


def both_systems(a, b, samples=5000, seed=0):
    np.random.seed(seed)
    i = np.random.randint(0, len(a), (samples, len(a)))
    return np.percentile(a[i].mean(1) - b[i].mean(1), (2.5, 97.5))


RIGHT["evaluation.paired_bootstrap"] = [
    with_choice,
    with_a_quarter,
    with_weights,
    with_weights_to_the_end,
    both_systems,
    lambda a, b, samples, seed: (
        stats.bootstrap(
            (a - b,), np.mean, n_resamples=samples, method="percentile", rng=np.random.default_rng(seed)
        ).confidence_interval
    ),
]


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


def with_one_draw(ids, special, probability, mask_id, vocab_size):
    """One uniform number decides both: below 80 % of the probability [MASK], and so on."""
    draw = torch.rand(ids.shape).masked_fill(special, 2.0)
    inputs = torch.where(draw < 0.8 * probability, mask_id, ids)
    replaced = (draw >= 0.8 * probability) & (draw < 0.9 * probability)
    inputs = torch.where(replaced, torch.randint(5, vocab_size, ids.shape), inputs)
    return inputs, ids.masked_fill(draw >= probability, -100)


def with_numpy_draws(ids, special, probability, mask_id, vocab_size):
    chosen = torch.from_numpy(np.random.random(ids.shape) < probability) & ~special
    fate = torch.from_numpy(np.random.choice(3, ids.shape, p=[0.8, 0.1, 0.1]))
    inputs = torch.where(chosen & (fate == 0), mask_id, ids)
    inputs = torch.where(chosen & (fate == 1), torch.randint_like(ids, vocab_size), inputs)
    return [inputs, torch.where(chosen, ids, -100)]


RIGHT["masked_language_model.mask_tokens"] = [with_bernoulli, with_one_draw, with_numpy_draws]

RIGHT["masked_language_model.masked_cross_entropy"] = [
    lambda logits, labels: F.cross_entropy(logits.transpose(1, 2), labels),
    lambda logits, labels: F.cross_entropy(logits.reshape(-1, logits.size(-1)), labels.reshape(-1), ignore_index=-100),
    lambda logits, labels: F.nll_loss(F.log_softmax(logits[labels != -100], 1), labels[labels != -100]),
    lambda logits, labels: (logits.logsumexp(-1) - logits.gather(-1, labels.clamp(min=0)[..., None])[..., 0])[
        labels >= 0
    ].mean(),
    lambda logits, labels: (
        -(F.one_hot(labels.clamp(min=0), logits.shape[-1]) * logits.log_softmax(-1) * (labels != -100)[..., None]).sum()
        / (labels != -100).sum()
    ),
    lambda logits, labels: F.cross_entropy(logits.double().flatten(0, 1), labels.flatten()),
]


def backwards(pieces, draws, probability):
    hide = []
    for i in range(len(pieces)):
        start = max(j for j in range(i + 1) if not pieces[j].startswith("##"))
        hide.append(pieces[i][0] != "[" and draws[start] < probability)
    return np.array(hide)


def by_words(pieces, draws, probability):
    words = []
    for i, piece in enumerate(pieces):
        if piece[:2] == "##":
            words[-1].append(i)
        else:
            words.append([i])
    chosen = {i for word in words if draws[word[0]] < probability for i in word}
    return [i in chosen and pieces[i] not in {"[CLS]", "[SEP]", "[PAD]"} for i in range(len(pieces))]


RIGHT["masked_language_model.whole_words"] = [backwards, by_words]

RIGHT["masked_language_model.perplexity"] = [
    lambda losses: losses.exp().prod() ** (1 / len(losses)),
    lambda losses: math.exp(losses.mean()),
    lambda losses: math.exp(sum(losses.tolist()) / len(losses)),
    lambda losses: np.exp(losses.numpy().mean()),
    lambda losses: torch.exp(losses.double().sum() / losses.numel()).item(),
    lambda losses: 2 ** (losses / math.log(2)).mean(),
]


def by_redrawing(ids, special, probability, generator):
    while True:
        kept = special | (torch.rand(ids.shape, generator=generator) > probability)
        if (kept & ~special).any():
            return ids[kept]


def the_largest_draw_stays(ids, special, probability, generator):
    draws = torch.rand(len(ids), generator=generator).masked_fill(special, -1)
    kept = (draws >= probability) | special
    kept[draws.argmax()] = True
    return torch.masked_select(ids, kept)


def with_bernoulli_and_permutation(ids, special, probability, generator):
    gone = torch.bernoulli(torch.full(ids.shape, probability), generator=generator).bool()
    words = [i for i in range(len(ids)) if not special[i]]
    saved = words[int(torch.randperm(len(words), generator=generator)[0])]
    if all(gone[i] for i in words):
        gone[saved] = False
    return torch.stack([token for token, g, s in zip(ids, gone, special) if s or not g])


RIGHT["tsdae.delete_tokens"] = [by_redrawing, the_largest_draw_stays, with_bernoulli_and_permutation]

RIGHT["tsdae.next_token_targets"] = [
    lambda ids, mask: (ids[:, :-1], torch.where(mask[:, 1:].bool(), ids[:, 1:], -100)),
    lambda ids, mask: [ids[:, :-1].clone(), ids.masked_fill(mask == 0, -100)[:, 1:]],
    lambda ids, mask: (ids[:, : ids.shape[1] - 1], ids.where(mask == 1, torch.tensor(-100)).roll(-1, 1)[:, :-1]),
    lambda ids, mask: (ids.narrow(1, 0, ids.size(1) - 1), (ids * mask - 100 * (1 - mask))[:, 1:]),
]


def by_rows(query, key, value):
    rows = [
        (key[..., : t + 1, :] @ query[..., t, :, None] / query.shape[-1] ** 0.5).softmax(-2).mT @ value[..., : t + 1, :]
        for t in range(query.shape[-2])
    ]
    return torch.cat(rows, -2)


RIGHT["tsdae.causal_attention"] = [
    by_rows,
    lambda query, key, value: F.scaled_dot_product_attention(query, key, value, is_causal=True),
    lambda query, key, value: (
        (query @ key.mT / math.sqrt(query.size(-1)) + torch.full((query.size(-2),) * 2, -torch.inf).triu(1)).softmax(-1)
        @ value
    ),
    lambda query, key, value: (
        (
            (query @ key.mT / math.sqrt(query.size(-1))).where(
                torch.arange(query.size(-2))[:, None] >= torch.arange(query.size(-2)), torch.tensor(-1e9)
            )
        ).softmax(-1)
        @ value
    ),
]

RIGHT["tsdae.linear_map"] = [
    lambda value_weight, value_bias, out_weight, out_bias: (
        F.linear(F.linear(torch.eye(len(value_bias)), value_weight), out_weight).T,
        F.linear(value_bias, out_weight, out_bias),
    ),
    lambda value_weight, value_bias, out_weight, out_bias: [
        torch.mm(out_weight, value_weight),
        torch.mv(out_weight, value_bias) + out_bias,
    ],
    lambda V, v, W, w: (torch.einsum("ij,jk->ik", W, V), (W * v).sum(1) + w),
    lambda V, v, W, w: ((V.T @ W.T).T, torch.addmv(w, W, v)),
]


def by_loops_over_rows(a, b, temperature):
    losses = []
    for i in range(len(a)):
        shares = torch.stack([(a[i] @ row / a[i].norm() / row.norm() / temperature).exp() for row in b])
        losses.append(-(shares[i] / shares.sum()).log())
    return sum(losses) / len(losses)


def by_logsumexp(a, b, temperature):
    scores = F.cosine_similarity(a[:, None], b[None], dim=-1) / temperature
    return (scores.logsumexp(1) - torch.diagonal(scores)).mean()


def by_exponentials(a, b, temperature):
    e = torch.exp(F.normalize(a) @ F.normalize(b).T / temperature)
    return -torch.log(e.diagonal() / e.sum(dim=1)).mean()


RIGHT["simcse.info_nce"] = [
    by_logsumexp,
    by_loops_over_rows,
    by_exponentials,
    lambda a, b, temperature: (
        -torch.trace(
            (a / a.norm(dim=1, keepdim=True) @ (b / b.norm(dim=1, keepdim=True)).T / temperature).log_softmax(1)
        )
        / len(a)
    ),
    lambda a, b, temperature: F.cross_entropy(
        F.normalize(a, dim=1) @ F.normalize(b, dim=1).mT / temperature, torch.eye(len(a))
    ),
]


def repeated(encoder, batch):
    vectors = encoder({name: rows.repeat(2, 1) for name, rows in batch.items()})
    n = len(vectors) // 2
    return vectors[:n], vectors[n:], torch.arange(n)


def interleaved(encoder, batch):
    vectors = encoder({name: rows.repeat_interleave(2, dim=0) for name, rows in batch.items()})
    return vectors[::2], vectors[1::2], torch.arange(len(vectors) // 2)


RIGHT["simcse.two_views"] = [repeated, interleaved]

RIGHT["simcse.alignment"] = [
    lambda a, b: (2 - 2 * F.cosine_similarity(a, b)).mean(),
    lambda a, b: torch.stack([(x / x.norm() - y / y.norm()).norm() ** 2 for x, y in zip(a, b)]).mean(),
    lambda a, b: F.mse_loss(F.normalize(a), F.normalize(b), reduction="sum") / len(a),
    lambda a, b: F.pairwise_distance(F.normalize(a), F.normalize(b), eps=0).square().mean(),
    lambda a, b: (F.normalize(a.double()) - F.normalize(b.double())).pow(2).sum(1).mean(),
]


def by_all_distances(x):
    x = x / x.norm(dim=1, keepdim=True)
    n = len(x)
    return (((2 * (2 * x @ x.T - 2)).exp().sum() - n) / (n * (n - 1))).log()


def by_fill_diagonal(x):
    x = F.normalize(x, dim=1)
    potential = torch.exp(-2 * torch.cdist(x, x).pow(2))
    potential.fill_diagonal_(0)
    return torch.log(potential.sum() / (len(x) * (len(x) - 1)))


RIGHT["simcse.uniformity"] = [
    by_all_distances,
    by_fill_diagonal,
    lambda x: (
        torch.stack(
            [
                torch.exp(-2 * (F.normalize(x)[i] - F.normalize(x)[j]).square().sum())
                for i in range(len(x))
                for j in range(i)
            ]
        )
        .mean()
        .log()
    ),
    lambda x: torch.logsumexp(-2 * F.pdist(F.normalize(x)) ** 2, 0) - math.log(len(x) * (len(x) - 1) / 2),
]


def pairs_with_labels(convert):
    def sample_pairs(count, negatives_per_positive, generator):
        order = torch.randperm(count, generator=generator)
        many = round(count / (1 + negatives_per_positive))
        second = order.clone()
        second[many:] = torch.cat([order[-1:], order[many:-1]])
        return order, second, convert(order == second)

    return sample_pairs


def by_a_loop(count, negatives_per_positive, generator):
    order = torch.randperm(count, generator=generator).tolist()
    many = count // (1 + negatives_per_positive)
    pairs = [(i, i, 1) for i in order[:many]] + [(order[k], order[k + 1], 0) for k in range(many, count - 1)]
    pairs.append((order[-1], order[many], 0))
    return tuple(torch.tensor(column) for column in zip(*pairs))


def shuffled_again(count, negatives_per_positive, generator):
    first, second, labels = by_a_loop(count, negatives_per_positive, generator)
    order = torch.randperm(count, generator=generator)
    return first[order], second[order], labels[order].float()


RIGHT["contrastive_tension.sample_pairs"] = [
    pairs_with_labels(torch.Tensor.bool),
    pairs_with_labels(torch.Tensor.float),
    pairs_with_labels(torch.Tensor.long),
    by_a_loop,
    shuffled_again,
]


def written_out(a, b, labels):
    p = torch.sigmoid((a * b).sum(1))
    return -(labels * p.log() + (1 - labels) * (1 - p).log()).sum()


RIGHT["contrastive_tension.contrastive_tension"] = [
    written_out,
    lambda a, b, labels: F.softplus((a * b).sum(-1) * (1 - 2 * labels)).sum(),
    lambda a, b, labels: -F.logsigmoid(torch.einsum("nd,nd->n", a, b) * (2 * labels - 1)).sum(),
    lambda a, b, labels: F.binary_cross_entropy(torch.sigmoid((a @ b.T).diag()), labels.float(), reduction="sum"),
    lambda a, b, labels: torch.nn.BCEWithLogitsLoss(reduction="none")((a * b).sum(1), labels.to(a.dtype)).sum(),
]


def by_if(step, steps):
    for tenths, rate in ((1, 1.0), (2, 0.8), (3, 0.6), (4, 0.4)):
        if 10 * step < tenths * steps:
            return rate
    return 0.2


RIGHT["contrastive_tension.stepwise_decay"] = [
    by_if,
    lambda step, steps: max(0.2, 1 - 0.2 * math.floor(step / (steps / 10))),
    lambda step, steps: [1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2][int(10 * step / steps)],
    lambda step, steps: (5 - min(4, 10 * step // steps)) / 5,
    lambda step, steps: 1 - 0.2 * sum(step >= k * steps / 10 for k in range(1, 5)),
]


def both_logsumexps(a, b, scale):
    scores = F.cosine_similarity(a[:, None], b[None], dim=-1) * scale
    return ((scores.logsumexp(0) + scores.logsumexp(1)) / 2 - scores.diag()).mean()


def rows_and_columns_together(a, b, scale):
    scores = F.normalize(a) @ F.normalize(b).T * scale
    return F.cross_entropy(torch.cat([scores, scores.T]), torch.arange(len(a)).repeat(2))


RIGHT["in_batch_contrastive_tension.in_batch_contrastive_tension"] = [
    both_logsumexps,
    rows_and_columns_together,
    lambda a, b, scale: (
        -(
            (scale * F.normalize(a) @ F.normalize(b).T).log_softmax(1).diag().mean()
            + (scale * F.normalize(a) @ F.normalize(b).T).log_softmax(0).diag().mean()
        )
        / 2
    ),
]


def by_two_loops(scores, ids):
    result = scores.clone()
    for i in range(len(ids)):
        for j in range(len(ids)):
            if i != j and torch.equal(ids[i], ids[j]):
                result[i, j] = -math.inf
    return result


def by_unique(scores, ids):
    text = ids.unique(dim=0, return_inverse=True)[1]
    return scores.masked_fill((text[:, None] == text).fill_diagonal_(False), -1e9)


RIGHT["in_batch_contrastive_tension.mask_duplicates"] = [
    by_two_loops,
    by_unique,
    lambda scores, ids: torch.where(
        (torch.cdist(ids.float(), ids.float()) == 0) & ~torch.eye(len(ids)).bool(), -torch.inf, scores
    ),
    lambda scores, ids: (
        scores
        + torch.tensor(
            [
                [-1e9 if i != j and x == y else 0.0 for j, y in enumerate(ids.tolist())]
                for i, x in enumerate(ids.tolist())
            ]
        )
    ),
]

RIGHT["in_batch_contrastive_tension.clamp_scale"] = [
    lambda logit_scale, max_scale: logit_scale.exp().clamp(max=max_scale).log(),
    lambda logit_scale, max_scale: torch.minimum(logit_scale, torch.tensor(math.log(max_scale))),
    lambda logit_scale, max_scale: logit_scale if logit_scale.exp() <= max_scale else torch.tensor(max_scale).log(),
    lambda logit_scale, max_scale: torch.clip(logit_scale, max=float(np.log(max_scale))),
]


def spans_with(rounding):
    def two_spans(ids, shares, places):
        spans = []
        for share, place in zip(shares, places):
            n = len(ids) - 2
            length = max(1, rounding(share * n))
            start = 1 + math.floor(place * (n - length + 1))
            spans.append(ids[:1] + ids[start : start + length] + ids[-1:])
        return spans

    return two_spans


RIGHT["domain_adaptation.two_spans"] = [
    spans_with(int),
    spans_with(math.ceil),
    spans_with(round),
    lambda *drawn: tuple(np.array(span) for span in spans_with(int)(*drawn)),
]

RIGHT["domain_adaptation.gap_closed"] = [
    lambda adapted, source, reference: (adapted - source).mean() / (reference - source).mean(),
    lambda adapted, source, reference: (adapted.sum() - source.sum()) / (reference.sum() - source.sum()),
    lambda adapted, source, reference: 1 - (reference - adapted).mean() / (reference - source).mean(),
    lambda adapted, source, reference: torch.tensor(
        (adapted.numpy().mean() - source.numpy().mean()) / (reference.numpy().mean() - source.numpy().mean())
    ),
]


def by_index(rankings, constant):
    ids = {i for ranking in rankings for i in ranking}
    return {i: sum(1 / (constant + r.index(i) + 1) for r in rankings if i in r) for i in ids}


def by_pandas(rankings, constant):
    columns = [pd.Series(1 / (constant + np.arange(1, len(r) + 1)), index=r, dtype=float) for r in rankings]
    return pd.concat(columns).groupby(level=0).sum().to_dict()


RIGHT["domain_adaptation.reciprocal_rank_fusion"] = [by_index, by_pandas]


def head_by_head(hidden, states, mask, query, key, value, heads):
    q, k, v = query(hidden), key(states), value(states)
    taken = []
    for part in torch.arange(hidden.shape[-1]).chunk(heads):
        scores = torch.einsum("bqd,bkd->bqk", q[..., part], k[..., part]) / math.sqrt(len(part))
        weights = torch.where(mask[:, None].bool(), scores, -math.inf).softmax(-1)
        taken.append(weights @ v[..., part])
    return torch.cat(taken, -1)


def by_torch(hidden, states, mask, query, key, value, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).movedim(1, 2) for x in (query(hidden), key(states), value(states)))
    return F.scaled_dot_product_attention(q, k, v, mask[:, None, None].bool()).movedim(1, 2).reshape(hidden.shape)


def by_bias(hidden, states, mask, query, key, value, heads):
    """A large negative number is added to the scores of padding, as Transformers does."""

    def split(x):
        return x.reshape(len(x), x.shape[1], heads, x.shape[2] // heads).permute(0, 2, 1, 3)

    q, k, v = split(query(hidden)), split(key(states)), split(value(states))
    bias = (1.0 - mask.float())[:, None, None, :] * torch.finfo(q.dtype).min
    weights = F.softmax(q.matmul(k.mT) / (hidden.shape[-1] / heads) ** 0.5 + bias, dim=-1)
    return weights.matmul(v).permute(0, 2, 1, 3).flatten(2)


RIGHT["query_generator.cross_attention"] = [head_by_head, by_torch, by_bias]


def token_by_token(logits, gate, attention, ids):
    g = 1 / (1 + torch.exp(-gate))
    rows = []
    for m in range(len(logits)):
        copied = [attention[m][ids[m] == token].sum() for token in range(logits.shape[1])]
        rows.append(g[m] * logits[m].softmax(0) + (1 - g[m]) * torch.stack(copied))
    return torch.stack(rows)


RIGHT["query_generator.copy_or_write"] = [
    token_by_token,
    lambda logits, gate, attention, ids: torch.lerp(
        torch.einsum("mt,mtv->mv", attention, F.one_hot(ids, logits.shape[-1]).float()),
        logits.softmax(-1),
        gate.sigmoid().unsqueeze(1),
    ),
    lambda logits, gate, attention, ids: (
        (logits.log_softmax(-1) + F.logsigmoid(gate)[:, None])
        .exp()
        .scatter_add(1, ids, attention * torch.sigmoid(-gate)[:, None])
    ),
]


def row_by_row_ids(step, choose, count, most, begin, end):
    texts = [[] for _ in range(count)]
    while len(texts[0]) < most and not all(end in text for text in texts):
        token = choose(step(torch.tensor([[begin, *text] for text in texts])))
        for text, t in zip(texts, token.tolist()):
            text.append(end if end in text else t)
    return torch.tensor(texts)


def cut_afterwards(step, choose, count, most, begin, end):
    """All is written, and what follows an end is replaced afterwards."""
    ids = torch.full((count, most + 1), begin)
    for t in range(most):
        ids[:, t + 1] = choose(step(ids[:, : t + 1]))
        over = (ids[:, 1 : t + 2] == end).any(1)
        if over.all():
            break
    ids = ids[:, 1 : t + 2]
    over = F.pad((ids == end).cummax(1).values, (1, -1), value=False)
    return torch.where(over, end, ids)


RIGHT["query_generator.generate"] = [row_by_row_ids, cut_afterwards]


def exclusive_sum(logits, top_p):
    p, order = torch.sort(torch.softmax(logits, -1), descending=True)
    before = F.pad(p.cumsum(-1)[:, :-1], (1, 0))
    kept = p.masked_fill(before >= top_p, 0)
    return torch.empty_like(p).scatter_(-1, order, kept / kept.sum(-1, keepdim=True))


def in_double(logits, top_p):
    result = torch.zeros_like(logits)
    for row, new in zip(logits, result):
        p, total = special.softmax(row.double().numpy()), 0.0
        for i in np.argsort(-p):
            new[i] = p[i]
            total += p[i]
            if total >= top_p:
                break
        new /= new.sum()
    return result


def by_logits(logits, top_p):
    ordered, order = logits.sort(-1, descending=True)
    share = ordered.softmax(-1)
    gone = share.cumsum(-1) - share >= top_p
    return logits.masked_fill(gone.gather(-1, order.argsort(-1)), -math.inf).softmax(-1)


def latest_of_equals(logits, top_p):
    order = torch.arange(logits.shape[-1]).flip(0)
    return exclusive_sum(logits[..., order], top_p)[..., order]


def by_topk(logits, top_p):
    p, tokens = logits.softmax(-1).topk(logits.shape[-1])
    p = p * (p.cumsum(-1) - p < top_p)
    return torch.zeros_like(p).scatter(-1, tokens, p / p.sum(-1, keepdim=True))


RIGHT["genq.nucleus"] = [exclusive_sum, in_double, by_logits, latest_of_equals, by_topk]


def ranking_by_logsumexp(queries, positives, negatives, scale):
    own = F.cosine_similarity(queries, positives) * scale
    every = F.cosine_similarity(queries[:, None], torch.cat([positives, negatives])[None], dim=-1) * scale
    return (every.logsumexp(1) - own).mean()


RIGHT["genq.ranking_loss"] = [
    ranking_by_logsumexp,
    lambda q, p, n, scale: (
        -(F.normalize(q) @ F.normalize(torch.cat([p, n])).T * scale).log_softmax(1).diagonal().mean()
    ),
    lambda q, p, n, scale: F.cross_entropy(
        torch.cat([F.normalize(q) @ F.normalize(p).T, F.normalize(q) @ F.normalize(n).T], 1) * scale,
        torch.tensor(range(len(q))),
    ),
]


def by_numbers(queries, positives):
    q, p = (torch.tensor(np.unique(texts, return_inverse=True)[1]) for texts in (queries, positives))
    return (q[:, None] == q) | (p[:, None] == p)


RIGHT["genq.duplicates"] = [
    by_numbers,
    lambda queries, positives: torch.from_numpy(
        np.equal.outer(np.array(queries, object), np.array(queries, object)).astype(bool)
        | np.equal.outer(np.array(positives, object), np.array(positives, object)).astype(bool)
    ),
    lambda queries, positives: torch.tensor(
        [[bool({q, ("p", p)} & {r, ("p", s)}) for r, s in zip(queries, positives)] for q, p in zip(queries, positives)]
    ),
]


def others(rankings, positive, texts):
    return [[i for i in ids if texts[i] != texts[positive]] for ids in rankings.values()]


def one_by_one(rankings, positive, texts, per_retriever):
    found = []
    for ids in rankings.values():
        left = per_retriever
        for i in ids:
            if texts[i] != texts[positive] and left > 0:
                left -= 1
                if i not in found:
                    found.append(i)
    found.sort()
    return found


RIGHT["gpl.hard_negatives"] = [
    one_by_one,
    lambda rankings, positive, texts, n: np.unique([i for ids in others(rankings, positive, texts) for i in ids[:n]]),
    lambda rankings, positive, texts, n: sorted(set().union(*(ids[:n] for ids in others(rankings, positive, texts)))),
    lambda rankings, positive, texts, n: reduce(np.union1d, [ids[:n] for ids in others(rankings, positive, texts)]),
    lambda rankings, positive, texts, n: tuple(
        sorted(dict.fromkeys(i for ids in others(rankings, positive, texts) for i in ids[:n]))
    ),
]


def cut_then_framed(query, text, cls, sep, max_length):
    room, q, t = max_length - 3, len(query), len(text)
    while q + t > room:
        q, t = (q - 1, t) if q > t else (q, t - 1)
    ids = [cls] + query[:q] + [sep] + text[:t] + [sep]
    return ids, [int(place > q + 1) for place in range(len(ids))]


def one_after_the_other(query, text, cls, sep, max_length):
    if len(query) + len(text) <= max_length - 3:
        return [cls] + query + [sep] + text + [sep], [0, 0] + [0] * len(query) + [1] * len(text) + [1]
    longer = (query[:-1], text) if len(query) > len(text) else (query, text[:-1])
    return one_after_the_other(*longer, cls, sep, max_length)


RIGHT["gpl.pair_ids"] = [cut_then_framed, one_after_the_other]

RIGHT["gpl.relevance_loss"] = [
    lambda logits: -logits.log_softmax(-1)[:, 0].mean(),
    lambda logits: (logits.logsumexp(1) - logits[:, 0]).mean(),
    lambda logits: -torch.log(torch.exp(logits[:, 0]) / torch.exp(logits).sum(1)).mean(),
    lambda logits: F.softplus((logits[:, 1:] - logits[:, :1]).logsumexp(1)).mean(),
    lambda logits: F.cross_entropy(logits, F.one_hot(torch.zeros(len(logits)).long(), logits.shape[1]).float()),
    lambda logits: sum(F.nll_loss(row.log_softmax(0)[None], torch.tensor([0])) for row in logits) / len(logits),
]

RIGHT["gpl.margin_mse"] = [
    lambda q, p, n, margins: ((q * (p - n)).sum(1) - margins).square().mean(),
    lambda q, p, n, margins: F.mse_loss(torch.einsum("bd,bd->b", q, p) - torch.einsum("bd,bd->b", q, n), margins),
    lambda q, p, n, margins: sum((x @ y - x @ z - m) ** 2 for x, y, z, m in zip(q, p, n, margins)) / len(q),
    lambda q, p, n, margins: ((q @ p.T).diag() - (q @ n.T).diag() - margins).pow(2).sum() / q.shape[0],
]


RIGHT["performance_comparison.conclusion"] = [
    lambda low, high, smallest: (
        "better"
        if low > 0
        else "worse"
        if high < 0
        else "no difference that matters"
        if max(-low, high) < smallest
        else "cannot tell"
    ),
    lambda low, high, smallest: {1: "better", -1: "worse"}.get(
        (np.sign(low) + np.sign(high)) / 2,
        ["cannot tell", "no difference that matters"][int(max(abs(low), abs(high)) < smallest)],
    ),
]


def by_cholesky(x):
    return np.mean(x, axis=0), np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T


def by_zca(x):
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return x.mean(0), vectors @ np.diag(values**-0.5) @ vectors.T


def by_svd(x):
    _, singular, directions = np.linalg.svd(x - x.mean(0), full_matrices=False)
    return x.mean(0, keepdims=True), directions.T / singular * len(x) ** 0.5


RIGHT["performance_comparison.whitening"] = [by_cholesky, by_zca, by_svd]


def by_sorting(costs, values):
    points = sorted(set(zip(costs, values)), key=lambda point: (point[0], -point[1]))
    kept, best = set(), -math.inf
    for cost, value in points:
        if value > best:
            kept.add((cost, value))
            best = value
    return [point in kept for point in zip(costs, values)]


def with_arrays(costs, values):
    c, v = np.array(costs), np.array(values)
    beats = (c[:, None] <= c) & (v[:, None] >= v) & ((c[:, None] < c) | (v[:, None] > v))
    return (~beats.any(0)).tolist()


RIGHT["performance_comparison.worth_it"] = [by_sorting, with_arrays]

# --------------------------------------------------------------------------- 13


def bits_by_weights(vectors):
    signs = (vectors > 0).astype(int).reshape(len(vectors), -1, 8)
    return (signs * 2 ** np.arange(7, -1, -1)).sum(-1).astype(np.uint8)


def bits_by_torch(vectors):
    signs = (torch.from_numpy(vectors) > 0).reshape(len(vectors), -1, 8)
    return (signs * 2 ** torch.arange(7, -1, -1)).sum(-1).to(torch.uint8)


RIGHT["search_at_scale.to_bits"] = [bits_by_weights, bits_by_torch]


def by_unpacking(query, rows):
    return (np.unpackbits(query) != np.unpackbits(rows, axis=1)).sum(axis=1)


def by_a_table(query, rows):
    ones = np.array([bin(byte).count("1") for byte in range(256)])
    return ones[query[None] ^ rows].sum(1)


RIGHT["search_at_scale.hamming"] = [
    by_unpacking,
    by_a_table,
    lambda query, rows: [sum(int(a ^ b).bit_count() for a, b in zip(query, row)) for row in rows],
]


def by_loop(query, rows, centres, list_of, breadth, k):
    nearest = sorted(range(len(centres)), key=lambda c: -(centres[c] @ query))[:breadth]
    read = [i for c in nearest for i in range(len(rows)) if list_of[i] == c]
    return sorted(read, key=lambda i: -(rows[i] @ query))[:k]


def by_masking(query, rows, centres, list_of, breadth, k):
    scores = rows @ query
    nearest = np.argsort(centres @ query)[::-1][:breadth]
    scores[~np.isin(list_of, nearest)] = -np.inf
    return np.argsort(scores)[::-1][:k]


RIGHT["search_at_scale.search_lists"] = [by_loop, by_masking]


@pytest.mark.parametrize("name", EXERCISES)
def test_another_right_answer_is_right(name):
    for function in RIGHT[name]:
        outcome = EXERCISES[name].check(function)
        assert outcome.right and outcome.message == EXERCISES[name].why, outcome
