"""Exercises of notebook 05: SimCSE's loss, its two views, alignment and uniformity."""

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.functional import cosine
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "05_simcse"

# --------------------------------------------------------------------------- the loss


def _views():
    """Two views of some sentences, of different lengths.

    Temperatures are mild, so that formulas that are equal on paper are equal in float32.
    """
    a = torch.tensor([[2.0, 0.5, 0.3], [-0.3, 1.0, 0.2], [0.4, -1.5, 1.0], [1.0, 0.1, -0.6]])
    b = torch.tensor([[1.0, 0.8, 0.1], [0.9, 0.6, -0.4], [-0.2, -0.9, 0.5], [0.3, 0.4, -2.0]])
    many = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(4))
    return {
        "four sentences in three dimensions, of different lengths": (a, b, 0.5),
        "the two views exchanged": (b, a, 0.4),
        "a temperature of 1": (a, b, 1.0),
        "a temperature of 0.2, and six sentences in five dimensions": (*many, 0.2),
        "two sentences": (a[:2, :2], b[:2, :2], 0.5),
    }


def _own_row(scores):
    return torch.arange(len(scores))


def _cross_entropy(scores):
    return F.cross_entropy(scores, _own_row(scores))


def _multiplied(a, b, temperature):
    scores = cosine(a, b) * temperature
    return _cross_entropy(scores)


def _temperature_forgotten(a, b, temperature):
    scores = cosine(a, b)
    return _cross_entropy(scores)


def _dot_products(a, b, temperature):
    scores = a @ b.T / temperature
    return _cross_entropy(scores)


def _columns_normalised(a, b, temperature):
    scores = F.normalize(a, dim=0) @ F.normalize(b, dim=0).T / temperature
    return _cross_entropy(scores)


def _summed(a, b, temperature):
    scores = cosine(a, b) / temperature
    return F.cross_entropy(scores, _own_row(scores), reduction="sum")


def _without_itself(a, b, temperature):
    scores = cosine(a, b) / temperature
    others = scores.masked_fill(torch.eye(len(a), dtype=torch.bool), float("-inf"))
    return (others.logsumexp(1) - scores.diag()).mean()


def _columns(a, b, temperature):
    scores = cosine(b, a) / temperature
    return _cross_entropy(scores)


def _both_directions(a, b, temperature):
    scores = cosine(a, b) / temperature
    return (_cross_entropy(scores) + _cross_entropy(scores.T)) / 2


def _softmax_twice(a, b, temperature):
    scores = (cosine(a, b) / temperature).softmax(1)
    return _cross_entropy(scores)


def _no_logarithm(a, b, temperature):
    return -(cosine(a, b) / temperature).softmax(1).diag().mean()


def _second_detached(a, b, temperature):
    return functional.info_nce(a, b.detach(), temperature)


def _first_detached(a, b, temperature):
    return functional.info_nce(a.detach(), b, temperature)


info_nce = Exercise(
    "simcse.info_nce",
    "SimCSE's loss",
    "medium",
    10,
    functional.info_nce,
    _views,
    [
        Mistake(
            "temperature multiplied",
            _multiplied,
            "The cosines are multiplied by the temperature.",
            "A small temperature must stretch the cosines: 1 / 0.05 is 20. Divide.",
        ),
        Mistake(
            "temperature forgotten",
            _temperature_forgotten,
            "The temperature makes no difference to your loss.",
            "Divide the cosines by `temperature` before the softmax.",
        ),
        Mistake(
            "dot products",
            _dot_products,
            "Longer vectors change your loss: these are dot products and not cosines.",
            "Scale every row to length 1 first, `F.normalize(a, dim=-1)`, and the rows of `b` too.",
        ),
        Mistake(
            "normalised over the batch",
            _columns_normalised,
            "The columns have length 1, not the rows: each dimension was normalised over the sentences.",
            "A row is a sentence: `F.normalize(a, dim=-1)`.",
        ),
        Mistake(
            "second view not normalised",
            lambda a, b, temperature: _cross_entropy(F.normalize(a, dim=-1) @ b.T / temperature),
            "The lengths of the rows of `b` change your loss: only `a` was normalised.",
            "Scale the rows of both to length 1: `F.normalize(b, dim=-1)` too.",
        ),
        Mistake(
            "first view not normalised",
            lambda a, b, temperature: _cross_entropy(a @ F.normalize(b, dim=-1).T / temperature),
            "The lengths of the rows of `a` change your loss: only `b` was normalised.",
            "Scale the rows of both to length 1: `F.normalize(a, dim=-1)` too.",
        ),
        Mistake(
            "sign",
            lambda a, b, temperature: -_cross_entropy(cosine(a, b) / temperature),
            "The sign is wrong: the loss is negative, and training would drive the pairs apart.",
            "The loss is *minus* the mean logarithm; `F.cross_entropy` has that minus.",
        ),
        Mistake(
            "labels all 0",
            lambda a, b, temperature: F.cross_entropy(
                cosine(a, b) / temperature, torch.zeros(len(a), dtype=torch.long)
            ),
            "Every row of `a` is led to the first row of `b`: all labels are 0.",
            "Row i belongs to row i: `torch.arange(len(a))`.",
        ),
        Mistake(
            "sum for mean",
            _summed,
            "The loss is the sum over the rows, so that it grows with the batch.",
            "Take the mean over the rows, which is what `F.cross_entropy` does by itself.",
        ),
        Mistake(
            "diagonal left out",
            _without_itself,
            "The row's own partner is missing in the denominator.",
            "The softmax runs over all candidates, the right one too; only so can its share become 1.",
        ),
        Mistake(
            "rows and columns swapped",
            _columns,
            "The rows of `b` ask and the rows of `a` answer.",
            "Row i of the matrix belongs to `a[i]` and holds its cosines with every row of `b`: `a @ b.T`.",
        ),
        Mistake(
            "both directions",
            _both_directions,
            "The loss is the mean of two directions, a → b and b → a.",
            "That is a good loss (CT with in-batch negatives uses it), but SimCSE asks only from `a` to `b`.",
        ),
        Mistake(
            "softmax twice",
            _softmax_twice,
            "There is a softmax of a softmax.",
            "`F.cross_entropy` takes the scores before the softmax and applies it itself.",
        ),
        Mistake(
            "no logarithm",
            _no_logarithm,
            "The loss is minus the share of the right candidate, without a logarithm.",
            "Cross-entropy is −log of that share; it becomes large where the share is near 0.",
        ),
        Mistake(
            "second view detached",
            _second_detached,
            "The value is right, but no gradient reaches `b`: only the first view learns.",
            "Leave `b` in the graph: no `detach`, no `no_grad`, no `.data`. Both views are the same encoder's.",
        ),
        Mistake(
            "first view detached",
            _first_detached,
            "The value is right, but no gradient reaches `a`: only the second view learns.",
            "Leave `a` in the graph: no `detach`, no `no_grad`, no `.data`. Both views are the same encoder's.",
        ),
    ],
    [
        "Rows of length 1 make `a @ b.T` the matrix of all cosines, (B, B). In row i, which column is right?",
        "Divide the matrix by the temperature. It then holds the scores of a classification with B classes.",
        "`F.cross_entropy(scores, labels)` takes the scores before the softmax, and for each row the number of its "
        "right column: `torch.arange(len(a))`.",
    ],
    """
    def my_info_nce(a, b, temperature):
        similarity = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
        return F.cross_entropy(similarity, torch.arange(len(a)))
    """,
    "Each sentence has to find its own second view among all of the batch, and the cosine leaves the lengths out.",
)

# --------------------------------------------------------------------------- two views in one pass


class CountingEncoder:
    """Stands for an encoder with dropout: a row's vector is (what its tokens say, the row's own noise)."""

    def __init__(self):
        self.rows = []

    def __call__(self, batch):
        ids, mask = batch["input_ids"], batch["attention_mask"]
        said = (ids * mask).sum(1) / mask.sum(1)
        self.rows.append(len(ids))
        return torch.stack([said, torch.arange(len(ids)) + 100.0 * len(self.rows)], dim=1)


def _batches():
    ids = torch.tensor([[2, 7, 9, 3], [2, 5, 3, 0], [2, 8, 4, 3]])
    more = torch.tensor(
        [[2, 7, 9, 8, 6, 3], [2, 5, 3, 0, 0, 0], [2, 8, 4, 3, 0, 0], [2, 9, 9, 9, 3, 0], [2, 6, 3, 0, 0, 0]]
    )
    return {
        f"{count} sentences": (CountingEncoder(), {"input_ids": each, "attention_mask": (each > 0).long()})
        for count, each in {"three": ids, "five": more, "two": ids[:2]}.items()
    }


def _measure_views(call, encoder, batch):
    first, second, labels = call(encoder, batch)
    return {
        "rows in each call of the encoder": encoder.rows,
        "first view (which sentences)": first[:, 0],
        "second view (which sentences)": second[:, 0],
        "labels": labels,
        "rows with dropout of their own": len(torch.cat([first, second]).unique(dim=0)),
    }


def _two_views(encoder, batch):
    both = encoder({name: torch.cat([rows, rows]) for name, rows in batch.items()})
    first, second = both.chunk(2)
    return first, second, torch.arange(len(first), device=first.device)


def _called_twice(encoder, batch):
    first, second = encoder(batch), encoder(batch)
    return first, second, torch.arange(len(first))


def _one_view_twice(encoder, batch):
    once = encoder(batch)
    return once, once, torch.arange(len(once))


def _interleaved(encoder, batch):
    both = encoder({name: rows.repeat_interleave(2, 0) for name, rows in batch.items()})
    first, second = both.chunk(2)
    return first, second, torch.arange(len(first))


def _labels_of_both(encoder, batch):
    first, second, labels = _two_views(encoder, batch)
    return first, second, labels + len(first)


def _labels_zero(encoder, batch):
    first, second, labels = _two_views(encoder, batch)
    return first, second, torch.zeros_like(labels)


two_views = Exercise(
    "simcse.two_views",
    "Two views in one pass",
    "easy",
    5,
    _two_views,
    _batches,
    [
        Mistake(
            "two passes",
            _called_twice,
            "The encoder is called twice, with the batch each time.",
            "That gives two views as well, in two passes. Put the batch below itself and call it once.",
        ),
        Mistake(
            "one view",
            _one_view_twice,
            "Both views are the same vectors: the encoder saw every sentence only once.",
            "Dropout is drawn anew for each row, so every sentence must stand in the batch twice.",
        ),
        Mistake(
            "copies side by side",
            _interleaved,
            "The copies stand side by side, a a b b c c, and the cut in the middle is at the wrong place.",
            "`torch.cat([rows, rows])` gives a b c a b c, which `.chunk(2)` cuts rightly.",
        ),
        Mistake(
            "labels of the double batch",
            _labels_of_both,
            "The labels count through the double batch, B … 2B − 1.",
            "A label is a row of `second`, which begins at 0 again: 0 … B − 1.",
        ),
        Mistake(
            "labels all 0",
            _labels_zero,
            "Every row is led to the first sentence: all labels are 0.",
            "Row i of `first` belongs to row i of `second`.",
        ),
    ],
    [
        "What does a batch look like that holds every sentence twice? And which rows does the encoder give back?",
        "`torch.cat([rows, rows])` puts a (B, T) tensor below itself; do it for every entry of the batch.",
        "The encoder returns (2B, d), and `.chunk(2)` cuts that in the middle. The labels are `torch.arange(B)`.",
    ],
    """
    def my_two_views(encoder, batch):
        both = encoder({name: torch.cat([rows, rows]) for name, rows in batch.items()})
        first, second = both.chunk(2)
        return first, second, torch.arange(len(first), device=first.device)
    """,
    "Dropout draws anew for every row, so that each sentence, there twice, comes back as two different vectors "
    "of one pass.",
    measure=_measure_views,
)

# --------------------------------------------------------------------------- alignment and uniformity


def _pairs():
    return {
        "four pairs in three dimensions": list(_views().values())[0][:2],
        "three pairs in two dimensions": (
            _clouds()["vectors of different lengths"][0][:3],
            torch.tensor([[0.9, -0.2], [0.1, 1.0], [-1.0, 0.4]]),
        ),
        "a pair that is equal, and one that is opposite": (
            torch.tensor([[1.0, 2.0, 0.0, 1.0], [0.5, 0.5, -1.0, 2.0], [3.0, 0.0, 1.0, 1.0]]),
            torch.tensor([[2.0, 4.0, 0.0, 2.0], [-0.5, -0.5, 1.0, -2.0], [0.0, 1.0, 1.0, 0.5]]),
        ),
    }


def _squared_distances(a, b):
    return (F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).pow(2)


alignment = Exercise(
    "simcse.alignment",
    "Alignment",
    "easy",
    5,
    functional.alignment,
    _pairs,
    [
        Mistake(
            "not normalised",
            lambda a, b: (a - b).pow(2).sum(-1).mean(),
            "The lengths of the vectors change your value: the rows are not normalised.",
            "Scale the rows of both to length 1, `F.normalize(a, dim=-1)`, then subtract.",
        ),
        Mistake(
            "second not normalised",
            lambda a, b: (F.normalize(a, dim=-1) - b).pow(2).sum(-1).mean(),
            "The lengths of the rows of `b` change your value: only `a` was normalised.",
            "Scale the rows of both to length 1.",
        ),
        Mistake(
            "first not normalised",
            lambda a, b: (a - F.normalize(b, dim=-1)).pow(2).sum(-1).mean(),
            "The lengths of the rows of `a` change your value: only `b` was normalised.",
            "Scale the rows of both to length 1.",
        ),
        Mistake(
            "distance not squared",
            lambda a, b: _squared_distances(a, b).sum(-1).sqrt().mean(),
            "This is the mean distance; alignment takes its square.",
            "Leave out the root, or square each distance before the mean.",
        ),
        Mistake(
            "mean over dimensions",
            lambda a, b: _squared_distances(a, b).mean(),
            "The squares are averaged over the dimensions too.",
            "A squared distance is the *sum* over the d dimensions; the mean is over the pairs alone.",
        ),
        Mistake(
            "all pairs",
            lambda a, b: torch.cdist(F.normalize(a, dim=-1), F.normalize(b, dim=-1)).pow(2).mean(),
            "Every row of `a` is compared with every row of `b`.",
            "Row i of `a` belongs to row i of `b` alone: subtract them row by row.",
        ),
        Mistake(
            "sum over pairs",
            lambda a, b: _squared_distances(a, b).sum(),
            "The squared distances are summed over the pairs.",
            "Sum over the dimensions, `.sum(-1)`, then take the mean over the pairs.",
        ),
        Mistake(
            "one minus cosine",
            lambda a, b: (1 - F.cosine_similarity(a, b)).mean(),
            "This is 1 − cosine, which is half of what is asked.",
            "For vectors of length 1 the squared distance is 2 − 2 · cosine.",
        ),
        Mistake(
            "square of the mean",
            lambda a, b: _squared_distances(a, b).sum(-1).sqrt().mean().pow(2),
            "The mean of the distances is squared; the order is the other way round.",
            "Square each distance first, then take the mean.",
        ),
    ],
    [
        "Three steps: rows of length 1, a distance for each pair, one number for all pairs.",
        "`(x - y).pow(2).sum(-1)` is the squared distance of each row of x and y. Then the mean.",
    ],
    """
    def my_alignment(a, b):
        return (F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).pow(2).sum(-1).mean()
    """,
    "It is 0 where both texts of every pair have the same direction, and 4 where they are opposite.",
    gradients=False,
)


def _clouds():
    return {
        "vectors of different lengths": (torch.tensor([[2.0, 0.5], [-0.3, 1.0], [0.4, -1.5], [-1.0, 0.1]]),),
        "vectors that are close together": (torch.tensor([[1.0, 0.2, 0.0], [0.5, 0.1, 0.3], [2.0, 0.3, -0.6]]),),
        "seven vectors in five dimensions": (torch.randn(7, 5, generator=torch.Generator().manual_seed(5)),),
        "one pair": (torch.tensor([[1.0, 2.0, 0.3], [-1.0, 0.4, 0.2]]),),
    }


def _potential(squared):
    return squared.mul(-2).exp()


def _all_squared(x):
    unit = F.normalize(x, dim=-1)
    return (unit[:, None] - unit[None]).pow(2).sum(-1)


def _pair_squared(x):
    return torch.pdist(F.normalize(x, dim=-1)).pow(2)


uniformity = Exercise(
    "simcse.uniformity",
    "Uniformity",
    "medium",
    8,
    functional.uniformity,
    _clouds,
    [
        Mistake(
            "a row with itself",
            lambda x: _potential(_all_squared(x)).mean().log(),
            "The pairs of a row with itself are in the mean; their distance is always 0.",
            "Take different rows only: `torch.pdist` gives every such pair once.",
        ),
        Mistake(
            "not normalised",
            lambda x: _potential(torch.pdist(x).pow(2)).mean().log(),
            "The lengths of the vectors change your value: the rows are not normalised.",
            "Scale the rows to length 1 first, `F.normalize(x, dim=-1)`.",
        ),
        Mistake(
            "distance not squared",
            lambda x: _potential(_pair_squared(x).sqrt()).mean().log(),
            "The distance in the exponent is not squared.",
            "`torch.pdist` gives distances; the formula has their squares.",
        ),
        Mistake(
            "mean of the logarithm",
            lambda x: _potential(_pair_squared(x)).log().mean(),
            "This is the mean of the logarithms; the logarithm comes last.",
            "First the mean of the exponentials over all pairs, then one logarithm.",
        ),
        Mistake(
            "no logarithm",
            lambda x: _potential(_pair_squared(x)).mean(),
            "The logarithm is missing.",
            "Take the logarithm of the mean.",
        ),
        Mistake(
            "factor 1",
            lambda x: _pair_squared(x).neg().exp().mean().log(),
            "The exponent is −1 · squared distance, and it should be −2 ·.",
            "Wang and Isola use t = 2, and so does the formula above.",
        ),
        Mistake(
            "sign",
            lambda x: _pair_squared(x).mul(2).exp().mean().log(),
            "The sign in the exponent is wrong: far apart must count little, not much.",
            "The exponent is −2 · squared distance.",
        ),
        Mistake(
            "divided by the square of N",
            lambda x: (_potential(_pair_squared(x)).sum() / len(x) ** 2).log(),
            "The sum is divided by N², and there are N · (N − 1) / 2 pairs of different rows.",
            "`.mean()` of what `torch.pdist` gives divides by their number.",
        ),
        Mistake(
            "sum over pairs",
            lambda x: _potential(_pair_squared(x)).sum().log(),
            "The exponentials are summed over the pairs, so that more rows give another value.",
            "Take their mean before the logarithm.",
        ),
    ],
    [
        "Read the formula from the inside: rows of length 1, squared distances of all pairs, exp, mean, log.",
        "`torch.pdist(x)` returns the distance of every pair of different rows once, not squared.",
    ],
    """
    def my_uniformity(x):
        return torch.pdist(F.normalize(x, dim=-1)).pow(2).mul(-2).exp().mean().log()
    """,
    "The mean runs over pairs of different rows alone, and is smallest where the vectors are spread over the "
    "whole sphere.",
    gradients=False,
)
