"""Exercises of notebook 07: the loss over all pairs of a batch, duplicates, the learned scale."""

import math

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.functional import cosine
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "07_ct_in_batch_negatives"

# --------------------------------------------------------------------------- the loss


def _towers():
    """The same texts in two towers, in vectors of different lengths."""
    a = torch.tensor([[2.0, 0.5, 0.3], [-0.3, 1.0, 0.2], [0.4, -1.5, 1.0], [1.0, 0.1, -0.6]])
    b = torch.tensor([[1.0, 0.8, 0.1], [0.9, 0.6, -0.4], [-0.2, -0.9, 0.5], [0.3, 0.4, -2.0]])
    many = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(4))
    return {
        "four texts in three dimensions, of different lengths": (a, b, torch.tensor(2.0)),
        "the towers exchanged": (b, a, torch.tensor(5.0)),
        "a scale of 20": (a, b, torch.tensor(20.0)),
        "six texts in five dimensions": (*many, torch.tensor(3.0)),
        "two texts": (a[:2], b[:2], torch.tensor(2.0)),
    }


def _rows(scores):
    return F.cross_entropy(scores, torch.arange(len(scores)))


def _without_itself(scores):
    others = scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), float("-inf"))
    return (others.logsumexp(1) - scores.diag()).mean()


def _both(scores, loss=_rows):
    return (loss(scores) + loss(scores.T)) / 2


in_batch_contrastive_tension = Exercise(
    "in_batch_contrastive_tension.in_batch_contrastive_tension",
    "The loss, both ways",
    "medium",
    8,
    lambda a, b, scale: functional.in_batch_contrastive_tension(a, b, scale),
    _towers,
    [
        Mistake(
            "rows only",
            lambda a, b, scale: _rows(cosine(a, b) * scale),
            "Only the rows are asked: the first tower looks for its texts in the second.",
            "That is SimCSE's direction. Ask the columns too, with `scores.T`, and take the mean of both.",
        ),
        Mistake(
            "columns only",
            lambda a, b, scale: _rows(cosine(b, a) * scale),
            "Only the columns are asked: the second tower looks for its texts in the first.",
            "Ask the rows too, and take the mean of both.",
        ),
        Mistake(
            "sum of both",
            lambda a, b, scale: 2 * _both(cosine(a, b) * scale),
            "Both directions are added.",
            "Take their mean, so that the loss is comparable with that of one direction.",
        ),
        Mistake(
            "scale forgotten",
            lambda a, b, scale: _both(cosine(a, b)),
            "The scale makes no difference to your loss.",
            "Cosines lie between −1 and 1, too flat for a softmax: multiply them by `scale`.",
        ),
        Mistake(
            "divided by the scale",
            lambda a, b, scale: _both(cosine(a, b) / scale),
            "The cosines are divided by the scale.",
            "A temperature divides; a scale is 1 / temperature, and multiplies.",
        ),
        Mistake(
            "exponential of the scale",
            lambda a, b, scale: _both(cosine(a, b) * scale.exp()),
            "The cosines are multiplied by exp(scale).",
            "What is learned is the logarithm, but this function is given the scale itself.",
        ),
        Mistake(
            "dot products",
            lambda a, b, scale: _both(a @ b.T * scale),
            "Longer vectors change your loss: these are dot products.",
            "In Contrastive Tension they are, here they are cosines: scale the rows to length 1.",
        ),
        Mistake(
            "second tower not normalised",
            lambda a, b, scale: _both(F.normalize(a, dim=-1) @ b.T * scale),
            "The lengths of the rows of `b` change your loss: only `a` was normalised.",
            "Scale the rows of both to length 1.",
        ),
        Mistake(
            "first tower not normalised",
            lambda a, b, scale: _both(a @ F.normalize(b, dim=-1).T * scale),
            "The lengths of the rows of `a` change your loss: only `b` was normalised.",
            "Scale the rows of both to length 1.",
        ),
        Mistake(
            "diagonal left out",
            lambda a, b, scale: _both(cosine(a, b) * scale, _without_itself),
            "The text itself is missing among the candidates.",
            "The softmax runs over all of the row, the right one too.",
        ),
        Mistake(
            "softmax over all of the matrix",
            lambda a, b, scale: -(cosine(a, b) * scale).flatten().log_softmax(0).view(len(a), -1).diag().mean(),
            "There is one softmax over the whole matrix.",
            "Each row is a question with an answer of its own, and so is each column.",
        ),
        Mistake(
            "scale without gradient",
            lambda a, b, scale: functional.in_batch_contrastive_tension(a, b, float(scale.detach())),
            "The value is right, but no gradient reaches `scale`, so that it cannot be learned.",
            "Keep it a tensor: no `float(…)`, no `.item()`, no `detach`.",
        ),
        Mistake(
            "first tower detached",
            lambda a, b, scale: functional.in_batch_contrastive_tension(a.detach(), b, scale),
            "The value is right, but no gradient reaches `a`: only the second tower learns.",
            "Both towers are trained: no `detach`, no `no_grad`.",
        ),
    ],
    [
        "Begin with the matrix of all cosines, times the scale. Where in row i is the right answer? And in column i?",
        "`F.cross_entropy(scores, torch.arange(len(a)))` asks the rows. The columns of `scores` are the rows of …?",
        "The mean of `F.cross_entropy(scores, own)` and `F.cross_entropy(scores.T, own)`.",
    ],
    """
    def my_in_batch_contrastive_tension(a, b, scale):
        scores = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T * scale
        own = torch.arange(len(a))
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    """,
    "Each tower looks for its texts among all of the other one's, and the mean treats both alike.",
)

# --------------------------------------------------------------------------- duplicates


def _doubles():
    """Duplicates that are no neighbours, and texts that are only nearly equal."""
    generator = torch.Generator().manual_seed(6)
    once = torch.tensor([[1, 7, 9, 2], [1, 7, 8, 2], [1, 7, 9, 2], [1, 5, 8, 2]])
    thrice = torch.tensor([[1, 6, 2], [1, 6, 2], [1, 4, 2], [1, 6, 2], [1, 5, 2]])
    nearly = torch.tensor([[7, 9, 3, 2], [9, 7, 3, 2], [8, 8, 3, 2], [7, 9, 3, 2], [3, 9, 7, 2], [3, 8, 8, 2]])
    scores = {len(ids): torch.randn(len(ids), len(ids), generator=generator) for ids in (once, thrice, nearly)}
    far = -40 * torch.rand(4, 4, generator=generator) - 40
    return {
        "a text that is there twice": (scores[4], once),
        "a text that is there three times": (scores[5], thrice),
        "texts with the same words in another order, and with the same sum": (scores[6], nearly),
        "very negative scores": (far, once),
    }


def _mask_duplicates(scores, ids):
    return scores.masked_fill(_same(ids) & _others(scores), float("-inf"))


def _same(ids):
    return (ids[:, None] == ids[None]).all(-1)


def _others(scores):
    return ~torch.eye(len(scores), dtype=torch.bool)


def _candidates(call, scores, ids):
    """What a softmax makes of the result, so that −1e9 may stand for −∞."""
    different, masked = ~_same(ids), call(scores, ids)
    trainable = call(scores.clone().requires_grad_() * 1, ids)
    return {
        "share of each candidate": masked.softmax(-1),
        "scores of different texts": masked[different],
        "a gradient reaches the scores": trainable.requires_grad,
    }


def _neighbours(scores, ids):
    near = (torch.arange(len(ids))[:, None] - torch.arange(len(ids))).abs() == 1
    return scores.masked_fill(_same(ids) & near, float("-inf"))


mask_duplicates = Exercise(
    "in_batch_contrastive_tension.mask_duplicates",
    "Duplicates are no negatives",
    "medium",
    8,
    _mask_duplicates,
    _doubles,
    [
        Mistake(
            "diagonal masked too",
            lambda scores, ids: scores.masked_fill(_same(ids), float("-inf")),
            "The diagonal is masked too: every text equals itself, and loses its right answer.",
            "Leave the diagonal out: `same & ~torch.eye(len(ids), dtype=torch.bool)`.",
        ),
        Mistake(
            "later ones only",
            lambda scores, ids: scores.masked_fill(_same(ids).triu(1), float("-inf")),
            "Only what stands later in the batch is masked; the later text still has the earlier as a negative.",
            "Both ways: if j is no negative of i, then i is none of j. So both triangles count.",
        ),
        Mistake(
            "neighbours only",
            _neighbours,
            "Only duplicates that stand next to each other are found.",
            "Compare every text with every other: `ids[:, None] == ids[None]`.",
        ),
        Mistake(
            "one token is enough",
            lambda scores, ids: scores.masked_fill(
                (ids[:, None] == ids[None]).any(-1) & _others(scores), float("-inf")
            ),
            "Texts with one token in common count as equal, and that is all of them: they begin with [CLS].",
            "Equal in *all* places: `.all(-1)`.",
        ),
        Mistake(
            "first word only",
            lambda scores, ids: scores.masked_fill(
                (ids[:, None, :2] == ids[None, :, :2]).all(-1) & _others(scores), float("-inf")
            ),
            "Texts that begin with the same word count as equal.",
            "Compare all of the row.",
        ),
        Mistake(
            "order ignored",
            lambda scores, ids: scores.masked_fill(_same(ids.sort(-1).values) & _others(scores), float("-inf")),
            "Texts with the same words in another order count as equal.",
            "Compare place by place, `ids[:, None] == ids[None]`, without sorting.",
        ),
        Mistake(
            "sums compared",
            lambda scores, ids: scores.masked_fill(_same(ids.sum(-1, keepdim=True)) & _others(scores), float("-inf")),
            "Texts whose ids have the same sum count as equal.",
            "Compare place by place: `(ids[:, None] == ids[None]).all(-1)`.",
        ),
        Mistake(
            "a small number",
            lambda scores, ids: scores.masked_fill(_same(ids) & _others(scores), -10.0),
            "Duplicates have the score −10, and where all scores are low that is a large one.",
            "Only −∞ takes a candidate out, whatever the other scores are.",
        ),
        Mistake(
            "score 0",
            lambda scores, ids: scores.masked_fill(_same(ids) & _others(scores), 0.0),
            "Duplicates have the score 0, which still is a share of the softmax.",
            "exp(0) is 1. Only −∞ takes a candidate out.",
        ),
        Mistake(
            "the others masked",
            lambda scores, ids: scores.masked_fill(~_same(ids), float("-inf")),
            "The duplicates are all that is left: what is masked are the real negatives.",
            "Mask where the texts are equal.",
        ),
        Mistake(
            "nothing masked",
            lambda scores, ids: scores.clone(),
            "Nothing is masked.",
            "`(ids[:, None] == ids[None]).all(-1)` is True where two texts are equal.",
        ),
    ],
    [
        "Which entries of the matrix ask a text to be unlike itself? The diagonal is none of them.",
        "`(ids[:, None] == ids[None]).all(-1)` is (B, B), True where two texts are equal, on the diagonal too.",
        "`scores.masked_fill(same & ~torch.eye(len(ids), dtype=torch.bool), float('-inf'))`.",
    ],
    """
    def my_mask_duplicates(scores, ids):
        same = (ids[:, None] == ids[None]).all(-1)
        others = ~torch.eye(len(ids), dtype=torch.bool)
        return scores.masked_fill(same & others, float("-inf"))
    """,
    "A score of −∞ takes a text's double out of the softmax, and the diagonal, the right answer, stays.",
    measure=_candidates,
)

# --------------------------------------------------------------------------- the scale


def _logarithms():
    return {
        "a scale below the limit": (torch.tensor(math.log(20.0)), 100.0),
        "a scale above the limit": (torch.tensor(math.log(150.0)), 100.0),
        "a logarithm above the limit": (torch.tensor(6.0), 5.0),
        "a scale below 1": (torch.tensor(-0.7), 30.0),
    }


clamp_scale = Exercise(
    "in_batch_contrastive_tension.clamp_scale",
    "A scale that cannot run away",
    "easy",
    5,
    lambda logit_scale, max_scale: logit_scale.clamp(max=math.log(max_scale)),
    _logarithms,
    [
        Mistake(
            "not clamped",
            lambda logit_scale, max_scale: logit_scale.clone(),
            "There is no limit: the scale can grow as it likes.",
            "`.clamp(max=…)`; the limit is that of the logarithm.",
        ),
        Mistake(
            "limit on the logarithm",
            lambda logit_scale, max_scale: logit_scale.clamp(max=max_scale),
            "The logarithm is compared with a limit for the scale, which may still reach exp(max_scale).",
            "What is learned is log(scale), so its limit is `math.log(max_scale)`.",
        ),
        Mistake(
            "the scale itself",
            lambda logit_scale, max_scale: logit_scale.exp().clamp(max=max_scale),
            "This is the scale, and what is asked for is the weight, its logarithm.",
            "The weight itself must come down: a scale that is clamped only in the loss has no gradient any more "
            "that could bring it back.",
        ),
        Mistake(
            "clamped from below",
            lambda logit_scale, max_scale: logit_scale.clamp(min=math.log(max_scale)),
            "The limit is a lower one: small scales are raised to it.",
            "`clamp(max=…)`, not `min`.",
        ),
        Mistake(
            "base 10",
            lambda logit_scale, max_scale: logit_scale.clamp(max=math.log10(max_scale)),
            "The limit is a logarithm to the base 10.",
            "The scale is `exp` of the weight, so the limit is the natural logarithm, `math.log`.",
        ),
        Mistake(
            "always at the limit",
            lambda logit_scale, max_scale: torch.full_like(logit_scale, math.log(max_scale)),
            "The weight is set to the limit, also where it is below.",
            "Below the limit nothing should change.",
        ),
    ],
    [
        "The weight holds log(scale). How large may it be where the scale may be `max_scale`?",
        "`tensor.clamp(max=…)` lets through what is below.",
    ],
    """
    def my_clamp_scale(logit_scale, max_scale):
        return logit_scale.clamp(max=math.log(max_scale))
    """,
    "The weight is a logarithm, so its limit is log(max_scale); below that nothing changes.",
    gradients=False,
)
