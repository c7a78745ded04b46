"""Exercises of notebook 09: a cross-encoder's input and its loss, hard negatives of two searches, MarginMSE."""

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "09_gpl"

# --------------------------------------------------------------------------- the cross-encoder's input


def _texts_as_ids():
    """[CLS] is 2 and [SEP] is 3, as in the course's tokenizer, or other numbers."""
    return {
        "a query and a text that fit": ([11, 12], [21, 22, 23], 2, 3, 16),
        "a text that is too long": ([11, 12, 13], [21, 22, 23, 24, 25, 26, 27, 28], 2, 3, 10),
        "a query longer than its text": ([11, 12, 13, 14, 15, 16, 17], [21, 22], 2, 3, 9),
        "two texts that are both too long": ([11, 12, 13, 14, 15, 16], [21, 22, 23, 24, 25, 26, 27], 2, 3, 11),
        "other ids for [CLS] and [SEP]": ([5], [6, 7], 101, 102, 8),
        "no room to spare": ([11, 12], [21, 22, 23], 2, 3, 8),
    }


def _pair_ids(query, text, cls, sep, max_length):
    return _framed(*_cut_longer(query, text, max_length - 3), cls, sep)


def _framed(query, text, cls, sep):
    return [cls, *query, sep, *text, sep], [0] * (len(query) + 2) + [1] * (len(text) + 1)


def _cut_longer(query, text, room, place=-1):
    query, text = list(query), list(text)
    while len(query) + len(text) > room:
        (query if len(query) > len(text) else text).pop(place)
    return query, text


def _joined(cut=_cut_longer, frame=_framed, specials=3):
    """The input with one thing changed."""

    def join(query, text, cls, sep, max_length):
        return frame(*cut(query, text, max_length - specials), cls, sep)

    return join


def _cut_at_the_end(query, text, cls, sep, max_length):
    ids, types = _framed(query, text, cls, sep)
    return ids[:max_length], types[:max_length]


def _without(place):
    """The input without one of its [SEP], which is at that place of its text."""

    def frame(query, text, cls, sep):
        ids, types = _framed(query, text, cls, sep)
        at = len(query) + 1 if place == "between" else len(ids) - 1
        return ids[:at] + ids[at + 1 :], types[:at] + types[at + 1 :]

    return frame


pair_ids = Exercise(
    "gpl.pair_ids",
    "Two texts as one sequence",
    "medium",
    10,
    _pair_ids,
    _texts_as_ids,
    [
        Mistake(
            "no [SEP] at the end",
            _joined(frame=_without("end")),
            "The last [SEP] is missing.",
            "Both texts end with `sep`.",
        ),
        Mistake(
            "[CLS] and [SEP] exchanged",
            lambda query, text, cls, sep, max_length: _pair_ids(query, text, sep, cls, max_length),
            "[CLS] stands where [SEP] belongs, and the other way round.",
            "The sequence begins with `cls`; both texts end with `sep`.",
        ),
        Mistake(
            "no [SEP] between",
            _joined(frame=_without("between")),
            "There is no [SEP] between the two texts.",
            "Both texts end with `sep`.",
        ),
        Mistake(
            "the end cut off",
            _cut_at_the_end,
            "The finished sequence is cut at `max_length`: its last [SEP] is lost.",
            "Cut the two texts first, so that the three special tokens still fit.",
        ),
        Mistake(
            "special tokens not counted",
            _joined(specials=0),
            "The sequence is longer than `max_length`: the three special tokens are not counted.",
            "There is room for `max_length - 3` tokens of the two texts.",
        ),
        Mistake(
            "only the text cut",
            _joined(cut=lambda query, text, room: (query, text[: max(0, room - len(query))])),
            "Only the text is cut, also where the query is the longer one.",
            "Take one token after the other from the end of the longer one.",
        ),
        Mistake(
            "only the query cut",
            _joined(cut=lambda query, text, room: (query[: max(0, room - len(text))], text)),
            "Only the query is cut, also where the text is the longer one.",
            "Take one token after the other from the end of the longer one.",
        ),
        Mistake(
            "cut at the beginning",
            _joined(cut=lambda query, text, room: _cut_longer(query, text, room, place=0)),
            "The first tokens of a text are cut off, and what is asked for are the last.",
            "`.pop()` takes the last one.",
        ),
        Mistake(
            "one segment",
            _joined(frame=lambda *parts: (_framed(*parts)[0], [0] * len(_framed(*parts)[0]))),
            "All token types are 0: the model is not told where the text begins.",
            "0 for [CLS], the query and its [SEP], 1 for the text and its [SEP].",
        ),
        Mistake(
            "[SEP] in the other segment",
            _joined(frame=lambda q, t, *ids: (_framed(q, t, *ids)[0], [0] * (len(q) + 1) + [1] * (len(t) + 2))),
            "The [SEP] after the query has the type of the text.",
            "It ends the query, so its type is 0.",
        ),
        Mistake(
            "text first",
            lambda query, text, cls, sep, max_length: _pair_ids(text, query, cls, sep, max_length),
            "The text stands before the query.",
            "The query comes first.",
        ),
    ],
    [
        "First make both fit, then put the special tokens around them, then count.",
        "`while len(query) + len(text) + 3 > max_length`: take the last token of the longer one.",
    ],
    """
    def my_pair_ids(query, text, cls, sep, max_length):
        query, text = list(query), list(text)
        while len(query) + len(text) + 3 > max_length:
            (query if len(query) > len(text) else text).pop()
        return [cls, *query, sep, *text, sep], [0] * (len(query) + 2) + [1] * (len(text) + 1)
    """,
    "Both texts keep their beginning and their [SEP], and the types say which token belongs to which.",
)

# --------------------------------------------------------------------------- the cross-encoder's loss


def _logits_of_queries():
    """Column 0 is the positive; the level of the logits differs from query to query."""
    generator = torch.Generator().manual_seed(1)
    return {
        "three queries with two negatives": torch.tensor([[2.0, 0.5, -1.0], [0.3, 1.1, 0.2], [-0.4, -2.0, 0.9]]),
        "queries whose logits lie at different levels": torch.tensor(
            [[9.0, 8.0], [-3.0, -4.5], [0.5, 1.5], [4.0, 4.2]]
        ),
        "two queries with five negatives": 2 * torch.randn(2, 6, generator=generator),
        "a single query": torch.tensor([[1.5, -0.5, 0.7, 2.5]]),
    }


def _cases_of_logits():
    return {name: (logits,) for name, logits in _logits_of_queries().items()}


def _relevance_loss(logits):
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def _each_pair_alone(logits):
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1
    return F.binary_cross_entropy_with_logits(logits, labels)


relevance_loss = Exercise(
    "gpl.relevance_loss",
    "The best text of its query",
    "easy",
    6,
    _relevance_loss,
    _cases_of_logits,
    [
        Mistake(
            "each pair alone",
            _each_pair_alone,
            "Each pair is judged right or wrong on its own, so that the level of a query's logits counts.",
            "A softmax over the texts of one query compares them with each other only.",
        ),
        Mistake(
            "a negative taken for the positive",
            lambda logits: (logits.logsumexp(1) - logits[:, 1]).mean(),
            "The text at position 1 of each row counts as the right one.",
            "The positive is the first text of its row, at position 0.",
        ),
        Mistake(
            "a temperature",
            lambda logits: (torch.logsumexp(logits / 2, 1) - logits[:, 0] / 2).mean(),
            "The logits are divided by 2 before the softmax.",
            "A cross-encoder's logits need no temperature: take them as they are.",
        ),
        Mistake(
            "softmax over all pairs",
            lambda logits: (logits.logsumexp((0, 1)) - logits[:, 0]).mean(),
            "The softmax runs over the pairs of all queries, and logits of different queries cannot be compared.",
            "One softmax per row: `dim=1`.",
        ),
        Mistake(
            "softmax over the queries",
            lambda logits: (logits.logsumexp(0)[0] - logits[:, 0]).mean(),
            "The softmax runs over the queries, along the columns.",
            "One softmax per row: `dim=1`.",
        ),
        Mistake(
            "positive last",
            lambda logits: (logits.logsumexp(1) - logits[:, -1]).mean(),
            "The last column is taken for the positive.",
            "The positive is in column 0.",
        ),
        Mistake(
            "positive not in the sum",
            lambda logits: (logits[:, 1:].logsumexp(1) - logits[:, 0]).mean(),
            "The positive is missing in the denominator, so that this is no probability.",
            "The softmax runs over all texts of the query, the positive among them.",
        ),
        Mistake(
            "probabilities",
            lambda logits: -logits.softmax(1)[:, 0].mean(),
            "This is the mean probability of the positive with a minus sign; the logarithm is missing.",
            "`F.cross_entropy` takes the logits and does both.",
        ),
        Mistake(
            "softmax twice",
            lambda logits: _relevance_loss(logits.softmax(1)),
            "A softmax is taken twice: `F.cross_entropy` takes logits.",
            "Give it the logits as they are.",
        ),
        Mistake(
            "sigmoid first",
            lambda logits: _relevance_loss(logits.sigmoid()),
            "The logits went through a sigmoid first.",
            "Use raw logits.",
        ),
        Mistake(
            "sum for mean",
            lambda logits: len(logits) * _relevance_loss(logits),
            "The loss is the sum over the queries, so that it grows with the batch.",
            "Take the mean over the queries.",
        ),
    ],
    [
        "It is a classification with 1 + k classes per query, and the right class is always number 0.",
        "`F.cross_entropy(logits, labels)` with a label 0 for each of the B queries.",
    ],
    """
    def my_relevance_loss(logits):
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
    """,
    "The texts of one query are compared with each other, and a number added to all its logits changes nothing.",
)

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
