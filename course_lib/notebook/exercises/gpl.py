"""Exercises of notebook 09: hard negatives of two searches, margins, MarginMSE."""

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "09_gpl"

# --------------------------------------------------------------------------- mining

TEXTS = {
    "np.sort": "Returns a sorted copy of an array.",
    "np.msort": "Returns a sorted copy of an array.",  # another name for the same words
    "np.argsort": "Returns the indices that would sort an array.",
    "np.unique": "Returns the sorted unique elements.",
    "list.sort": "Sorts in place.",
    "np.copy": "Returns a copy of an array.",
    "np.flip": "Reverses the order of elements.",
}


def _found():
    """In the last case ids are numbers, whose order in a set is known, and is not theirs."""
    rankings = {
        "bm25": ["np.sort", "np.copy", "np.msort", "np.argsort", "np.flip"],
        "dense": ["np.msort", "np.sort", "np.argsort", "np.unique", "list.sort"],
    }
    other = {"bm25": ["np.argsort", "np.unique"], "dense": ["list.sort", "np.unique", "np.argsort", "np.flip"]}
    numbers = {16: "a", 1: "b", 8: "c", 3: "d", 24: "a"}
    return {
        "the positive, under two names": (rankings, "np.sort", TEXTS, 2),
        "a search that finds only two texts": (other, "np.argsort", TEXTS, 2),
        "three from each search": (rankings, "np.sort", TEXTS, 3),
        "three searches, and one from each": ({**rankings, "third": ["np.flip", "np.sort"]}, "np.sort", TEXTS, 1),
        "a set that does not keep its ids in order": ({"bm25": [24, 8, 1, 3], "dense": [16, 1]}, 16, numbers, 2),
    }


def _in_order(rankings, positive, texts, per_retriever):
    others = ([i for i in ids if texts[i] != texts[positive]] for ids in rankings.values())
    return [i for ids in others for i in ids[:per_retriever]]


def _hard_negatives(rankings, positive, texts, per_retriever):
    return sorted(set(_in_order(rankings, positive, texts, per_retriever)))


def _mined(
    is_answer=lambda i, positive, texts: texts[i] == texts[positive], cut_first=False, merge=set.union, last=False
):
    """Mining with one thing changed."""

    def mine(rankings, positive, texts, per_retriever):
        kept = []
        for ids in rankings.values():
            ids = ids[:per_retriever] if cut_first else ids
            ids = [i for i in ids if not is_answer(i, positive, texts)]
            kept.append(set(ids[-per_retriever:] if last else ids[:per_retriever]))
        return sorted(merge(*kept))

    return mine


def _in_all(rankings, positive, texts, per_retriever):
    """So many of the union, taken in the order of the searches."""
    found = [i for ids in rankings.values() for i in ids if texts[i] != texts[positive]]
    return sorted(list(dict.fromkeys(found))[:per_retriever])


hard_negatives = Exercise(
    "gpl.hard_negatives",
    "Hard negatives of two searches",
    "easy",
    8,
    _hard_negatives,
    _found,
    [
        Mistake(
            "positive kept",
            _mined(is_answer=lambda i, positive, texts: False),
            "The positive itself is among the negatives.",
            "Leave out what answers the query before you cut the list.",
        ),
        Mistake(
            "same text kept",
            _mined(is_answer=lambda i, positive, texts: i == positive),
            "A text with the same words as the positive, under another name, is among the negatives.",
            "Compare the texts and not only the names: `texts[i] != texts[positive]`.",
        ),
        Mistake(
            "cut too early",
            _mined(cut_first=True),
            "There are too few: the lists are cut before the positive is taken out.",
            "First leave out, then take the first `per_retriever` of what is left.",
        ),
        Mistake(
            "intersection",
            _mined(merge=set.intersection),
            "Only what both searches found is kept.",
            "Two kinds of search make different mistakes, and all of them are to be learned from: take the union.",
        ),
        Mistake(
            "one search",
            _mined(merge=lambda first, *others: first),
            "Only the first search is used.",
            "Go through all of `rankings.values()`.",
        ),
        Mistake(
            "last ones",
            _mined(last=True),
            "The last of each list are taken, the easiest negatives.",
            "Rankings are best first; a hard negative is one that a search likes.",
        ),
        Mistake(
            "one number for all",
            _in_all,
            "`per_retriever` is the number of all negatives together, and the first search takes them all.",
            "Take so many from *each* search.",
        ),
        Mistake(
            "texts themselves",
            lambda rankings, positive, texts, n: [texts[i] for i in _hard_negatives(rankings, positive, texts, n)],
            "These are the texts, and what is asked for are their ids.",
            "Look the texts up only to compare them.",
        ),
        Mistake(
            "not sorted",
            lambda rankings, positive, texts, per_retriever: list(
                dict.fromkeys(_in_order(rankings, positive, texts, per_retriever))
            ),
            "The ids are right, and they stand in the order in which they were found.",
            "`sorted(…)` at the end.",
        ),
        Mistake(
            "found twice",
            lambda *found: sorted(_in_order(*found)),
            "What both searches found is in the list twice.",
            "Take each once, for instance by a `set`.",
        ),
    ],
    [
        "For each search: leave out what is the answer, then take the first few. Then put both together.",
        "An answer can stand in the corpus under two names. Compare texts.",
    ],
    """
    def my_hard_negatives(rankings, positive, texts, per_retriever):
        found = set()
        for ids in rankings.values():
            others = [i for i in ids if texts[i] != texts[positive]]
            found.update(others[:per_retriever])
        return sorted(found)
    """,
    "What has the words of the positive is left out before the cut, and each search adds its own likeliest mistakes.",
)

# --------------------------------------------------------------------------- margins


def _logits():
    """A cross-encoder's logits; some negatives score above their positive."""
    return {
        "three queries with three negatives": (
            torch.tensor([10.3, 2.0, -1.5]),
            torch.tensor([[8.2, 0.3, -4.0], [-2.5, 3.5, 0.5], [-6.0, -1.0, -9.5]]),
        ),
        "negatives that score above their positive": (
            torch.tensor([0.5, 7.0, 4.0]),
            torch.tensor([[-0.5, -3.0, 0.1], [6.5, 1.0, -8.0], [2.0, 3.0, 5.5]]),
        ),
        "two queries with five negatives": (
            torch.tensor([1.5, -2.0]),
            torch.tensor([[0.5, 2.5, -1.0, 4.0, 1.0], [-3.0, -2.5, 6.0, 0.5, -8.0]]),
        ),
        "four queries with one negative": (
            torch.tensor([1.0, 2.0, -3.0, 0.5]),
            torch.tensor([[0.2], [3.0], [-1.0], [0.1]]),
        ),
    }


def _margins(positive, negatives):
    return positive[:, None] - negatives


margins = Exercise(
    "gpl.margins",
    "Margins",
    "easy",
    5,
    _margins,
    _logits,
    [
        Mistake(
            "sign",
            lambda positive, negatives: negatives - positive[:, None],
            "The sign is turned: a margin is large where the *positive* is better.",
            "Subtract the negative's score from the positive's.",
        ),
        Mistake(
            "along the wrong axis",
            lambda positive, negatives: positive - negatives,
            "Query i's negatives are compared with the positives of all queries: (B,) was spread over the wrong axis.",
            "Make the positives a column, `positive[:, None]`, so that each row is compared with its own.",
        ),
        Mistake(
            "squashed scores",
            lambda positive, negatives: positive.sigmoid()[:, None] - negatives.sigmoid(),
            "The scores went through a sigmoid first, so that no margin is above 1.",
            "Raw logits: 10.3 and 8.2 are both almost 1 after a sigmoid, and their difference is lost.",
        ),
        Mistake(
            "squashed margins",
            lambda positive, negatives: _margins(positive, negatives).sigmoid(),
            "The margins went through a sigmoid: they are probabilities now.",
            "MarginMSE fits the difference of the logits itself.",
        ),
        Mistake(
            "no negative margins",
            lambda positive, negatives: _margins(positive, negatives).relu(),
            "Negative margins are cut off at 0.",
            "Where the cross-encoder scores the mined text higher, the margin is negative; this is how GPL copes with "
            "false negatives.",
        ),
        Mistake(
            "absolute",
            lambda positive, negatives: _margins(positive, negatives).abs(),
            "The margins have lost their sign.",
            "A negative margin says that the mined text is the better answer.",
        ),
        Mistake(
            "hardest alone",
            lambda positive, negatives: (positive - negatives.max(1).values)[:, None].expand_as(negatives),
            "Every negative of a query has the margin of its hardest one.",
            "Each negative has a margin of its own.",
        ),
        Mistake(
            "mean negative",
            lambda positive, negatives: (positive - negatives.mean(1))[:, None].expand_as(negatives),
            "Every negative of a query has the margin of their mean.",
            "Each negative has a margin of its own.",
        ),
        Mistake(
            "ratio",
            lambda positive, negatives: positive[:, None] / negatives,
            "This is the ratio of the scores.",
            "A logit has no zero that means nothing; only differences count.",
        ),
    ],
    [
        "One margin for each query and negative: (B, N).",
        "`positive` is (B,), `negatives` (B, N). `positive[:, None]` is a column, (B, 1).",
    ],
    """
    def my_margins(positive, negatives):
        return positive[:, None] - negatives
    """,
    "Each negative is compared with the positive of its own query, and a false negative shows by its sign.",
    gradients=False,
)

# --------------------------------------------------------------------------- MarginMSE


def _triplets():
    queries = torch.tensor([[2.0, 0.5, 0.1], [-0.3, 1.0, 0.8], [0.4, -1.5, 0.6], [1.0, 0.2, -0.7]])
    positives = torch.tensor([[1.0, 0.8, -0.4], [0.9, 0.6, 1.1], [-0.2, -0.9, 0.3], [0.3, -0.4, -2.0]])
    negatives = torch.tensor([[1.5, -0.2, 0.7], [0.2, 0.5, -0.1], [0.6, -0.4, -1.2], [-0.5, 0.9, 0.4]])
    many = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(4))
    return {
        "four queries in three dimensions": (queries, positives, negatives, torch.tensor([3.0, -1.0, 0.5, 2.0])),
        "the three exchanged": (positives, negatives, queries, torch.tensor([0.2, 1.2, 4.0, -0.3])),
        "two queries in five dimensions": (*many, torch.tensor([1.0, -2.5])),
        "a single query": (queries[:1], positives[:1], negatives[:1], torch.tensor([7.0])),
    }


def _learned(call, queries, positives, negatives, margins):
    """The loss, and what it teaches; margins come from a cross-encoder, and need no gradient."""
    vectors = [x.clone().requires_grad_() for x in (queries, positives, negatives)]
    loss = call(*vectors, margins)
    gradients = torch.autograd.grad(loss, vectors, allow_unused=True) if loss.requires_grad else [None] * 3
    names = ("the queries", "the positives", "the negatives")
    return {
        "loss": loss.detach(),
        **{
            f"gradient of {name}": torch.zeros_like(x) if g is None else g
            for name, x, g in zip(names, vectors, gradients)
        },
    }


def _dot(a, b):
    return (a * b).sum(-1)


def _own_margins(queries, positives, negatives):
    return _dot(queries, positives) - _dot(queries, negatives)


def _by_cosine(q, p, n, margins):
    return F.mse_loss(F.cosine_similarity(q, p) - F.cosine_similarity(q, n), margins)


def _all_with_all(q, p, n, margins):
    return (_own_margins(q, p, n)[:, None] - margins).pow(2).mean()


margin_mse = Exercise(
    "gpl.margin_mse",
    "MarginMSE",
    "medium",
    8,
    functional.margin_mse,
    _triplets,
    [
        Mistake(
            "cosines",
            _by_cosine,
            "The scores are cosines, whose difference is never above 2: a margin of 10 stays out of reach.",
            "Take dot products, `(queries * positives).sum(-1)`; the length of a vector may say something.",
        ),
        Mistake(
            "sign",
            lambda q, p, n, margins: F.mse_loss(-_own_margins(q, p, n), margins),
            "The student's margin has the wrong sign: negative minus positive.",
            "Positive minus negative, as in the cross-encoder's margins.",
        ),
        Mistake(
            "absolute error",
            lambda q, p, n, margins: F.l1_loss(_own_margins(q, p, n), margins),
            "This is the mean *absolute* error.",
            "Square the differences: it is called MSE.",
        ),
        Mistake(
            "sum for mean",
            lambda q, p, n, margins: F.mse_loss(_own_margins(q, p, n), margins, reduction="sum"),
            "The loss is the sum over the queries, so that it grows with the batch.",
            "Take the mean over the queries.",
        ),
        Mistake(
            "square root",
            lambda q, p, n, margins: F.mse_loss(_own_margins(q, p, n), margins).sqrt(),
            "There is a square root at the end.",
            "The mean of the squares itself is the loss.",
        ),
        Mistake(
            "squashed margins",
            lambda q, p, n, margins: F.mse_loss(_own_margins(q, p, n), margins.sigmoid()),
            "The cross-encoder's margins went through a sigmoid, so that every target is between 0 and 1.",
            "Use the margins as they are; they are differences of raw logits.",
        ),
        Mistake(
            "positive alone",
            lambda q, p, n, margins: F.mse_loss(_dot(q, p), margins),
            "Only the positive's score is fitted; the negative plays no part.",
            "The margin is the *difference* of two scores of one query.",
        ),
        Mistake(
            "mean over dimensions",
            lambda q, p, n, margins: F.mse_loss((q * p).mean(-1) - (q * n).mean(-1), margins),
            "The products are averaged over the dimensions: that is a dot product divided by d.",
            "A dot product is the sum: `.sum(-1)`.",
        ),
        Mistake(
            "margins of all queries",
            _all_with_all,
            "Every query is compared with the margins of all queries: (B, 1) and (B,) made (B, B).",
            "Keep both sides (B,): `.sum(-1)` without `keepdim`.",
        ),
        Mistake(
            "negatives detached",
            lambda q, p, n, margins: functional.margin_mse(q, p, n.detach(), margins),
            "The value is right, but no gradient reaches the negatives.",
            "Leave them in the graph: no `detach`, no `no_grad`.",
        ),
    ],
    [
        "Two dot products for each query, and their difference: (B,).",
        "`(queries * positives).sum(-1)` is the dot product row by row.",
        "The loss is the mean squared difference to `margins`: `F.mse_loss(own, margins)`.",
    ],
    """
    def my_margin_mse(queries, positives, negatives, margins):
        own = (queries * positives).sum(-1) - (queries * negatives).sum(-1)
        return F.mse_loss(own, margins)
    """,
    "The encoder's own margins are fitted to the cross-encoder's, in their own unit, and both passages of a "
    "query learn.",
    measure=_learned,
)
