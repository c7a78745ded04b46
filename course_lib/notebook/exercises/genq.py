"""Exercises of notebook 08: nucleus sampling, the ranking loss, duplicates in a batch."""

import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.functional import cosine
from course_lib.models.sampling import nucleus as library_nucleus
from course_lib.notebook.exercises.kit import Exercise, Mistake
from course_lib.objectives import multiple_negatives_ranking as ranking

NOTEBOOK = "08_genq"

# --------------------------------------------------------------------------- nucleus sampling


def _distributions():
    """Likely tokens in different places, some equally likely, some logits above 0 and some below.

    No sum is near `top_p`, which float32 might round to either side.
    """
    first = torch.tensor([[0.40, 0.25, 0.05, 0.20, 0.10], [0.06, 0.30, 0.34, 0.08, 0.22]]).log() + 1.5
    second = torch.tensor([[0.15, 0.45, 0.30, 0.10], [0.50, 0.06, 0.09, 0.35]]).log()
    ties = torch.tensor([[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0.15, 0.3, 0.15, 0.1, 0.15, 0.15]]).log()
    third = torch.tensor([[0.03, 0.8, 0.02, 0.05, 0.01, 0.04, 0.05], [0.1, 0.2, 0.05, 0.12, 0.3, 0.08, 0.15]]).log()
    return {
        "a nucleus of three tokens in both rows": (first, 0.7),
        "two rows of four tokens": (second, 0.8),
        "top_p = 0.9": (first, 0.9),
        "top_p = 0.5": (first, 0.5),
        "a token that has more than `top_p` alone": (third, 0.6),
        "a single row": (second[:1] + 3, 0.7),
        "tokens that are equally likely, of which some are kept": (ties, 0.65),
    }


def _up_to_ties(call, logits, top_p):
    """A nucleus, whichever of several equally likely tokens it holds."""
    result, likely = call(logits, top_p), logits.softmax(-1)
    equal = torch.isclose(likely[..., None], likely[..., None, :], rtol=1e-4).to(result.dtype)  # (N, V, V)
    return {
        "the probabilities, from the largest down": result.sort(-1, descending=True).values,
        "the mean probability of the tokens that are as likely as each": (equal @ result[..., None])[..., 0]
        / equal.sum(-1),
    }


def _keep(rule):
    """Keep the tokens of which rule(probability, probability of all likelier ones, top_p) is true, and renormalise."""

    def sample(logits, top_p):
        kept = _unnormalised(rule)(logits, top_p)
        return kept / kept.sum(-1, keepdim=True)

    return sample


def _unnormalised(rule):
    def sample(logits, top_p):
        probabilities = logits.softmax(-1)
        likelier = (
            probabilities[..., None, :] > probabilities[..., None]
        )  # (…, V, V): is the second likelier than the first?
        before = (probabilities[..., None, :] * likelier).sum(-1)
        return probabilities * rule(probabilities, before, top_p)

    return sample


def _least_likely(logits, top_p):
    probabilities, order = logits.softmax(-1).sort(-1)
    kept = probabilities * (probabilities.cumsum(-1) - probabilities < top_p)
    return torch.zeros_like(kept).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


def _order_lost(logits, top_p):
    return library_nucleus(logits, top_p).sort(-1, descending=True).values


def _all_equals(logits, top_p):
    likely = logits.softmax(-1)
    last = likely.masked_fill(library_nucleus(logits, top_p) == 0, 2.0).amin(-1, keepdim=True)  # the least likely kept
    kept = likely * (likely >= last * (1 - 1e-4))
    return kept / kept.sum(-1, keepdim=True)


def _zero_logits(logits, top_p):
    return logits.masked_fill(library_nucleus(logits, top_p) == 0, 0.0).softmax(-1)


def _share_of_tokens(logits, top_p):
    count = max(1, int(top_p * logits.shape[-1]))
    likely, tokens = logits.softmax(-1).topk(count)
    return torch.zeros_like(logits).scatter(-1, tokens, likely / likely.sum(-1, keepdim=True))


nucleus = Exercise(
    "genq.nucleus",
    "The nucleus",
    "medium",
    10,
    library_nucleus,
    _distributions,
    [
        Mistake(
            "last token left out",
            _keep(lambda p, before, top_p: before + p <= top_p),
            "The token with which the sum reaches `top_p` is left out.",
            "The nucleus is the smallest set that has *at least* `top_p`: keep a token if what is likelier has less "
            "than `top_p` together.",
        ),
        Mistake(
            "one token too many",
            _keep(lambda p, before, top_p: before - p < top_p),
            "A token too many is kept, although the likelier ones have `top_p` already.",
            "Subtract a token's own probability from the cumulative sum once: that is what all likelier ones have.",
        ),
        Mistake(
            "not renormalised",
            _unnormalised(lambda p, before, top_p: before < top_p),
            "What is kept does not sum to 1.",
            "Divide by the sum of what is kept, row by row: `.sum(-1, keepdim=True)`.",
        ),
        Mistake(
            "threshold",
            _keep(lambda p, before, top_p: p >= 1 - top_p),
            "Tokens are kept by their own probability, at least 1 − `top_p`.",
            "It is the sum over all likelier tokens that decides: sort, then `cumsum`.",
        ),
        Mistake(
            "likeliest only",
            _keep(lambda p, before, top_p: before == 0),
            "Only the likeliest token is kept: that is greedy.",
            "Go on down the sorted list until the kept ones have `top_p` together.",
        ),
        Mistake(
            "all kept",
            _keep(lambda p, before, top_p: before < 2),
            "Every token is kept: `top_p` makes no difference.",
            "Set to 0 what comes after the likelier ones have `top_p`.",
        ),
        Mistake(
            "unlikely ones",
            _least_likely,
            "The sum runs from the unlikeliest token up, so that the tail is kept.",
            "Sort with `descending=True`.",
        ),
        Mistake(
            "order lost",
            _order_lost,
            "The probabilities are right but sorted: place 0 is no longer token 0.",
            "Put each back where it came from: `torch.zeros_like(p).scatter(-1, order, kept)`.",
        ),
        Mistake(
            "logits set to 0",
            _zero_logits,
            "The dropped tokens have a logit of 0, which is not a probability of 0.",
            "A logit of −inf gives probability 0. Or drop them after the softmax.",
        ),
        Mistake(
            "softmax twice",
            lambda logits, top_p: library_nucleus(logits, top_p).softmax(-1),
            "What was kept went through a softmax again, which gives the dropped tokens a share.",
            "Divide by the sum of what is kept, row by row.",
        ),
        Mistake(
            "all of the equally likely",
            _all_equals,
            "Of several equally likely tokens all are kept, where fewer have `top_p` already.",
            "The nucleus is the *smallest* set: keep by place in the sorted list, not by a threshold of probability.",
        ),
        Mistake(
            "share of the tokens",
            _share_of_tokens,
            "`top_p` of the *tokens* are kept, however likely they are.",
            "It is a share of the probability: sort, `cumsum`, and look where the sum reaches `top_p`.",
        ),
    ],
    [
        "Softmax, sort from likely to unlikely, cumulative sum. Which tokens come before the sum has reached `top_p`?",
        "`p.cumsum(-1) - p` is what all likelier tokens have together; keep a token where that is below `top_p`.",
        "Zero the others, divide by the new sum, and undo the sorting: `zeros.scatter(-1, order, kept)`.",
    ],
    """
    def my_nucleus(logits, top_p):
        p, order = logits.softmax(-1).sort(-1, descending=True)
        kept = p * (p.cumsum(-1) - p < top_p)
        kept = kept / kept.sum(-1, keepdim=True)
        return torch.zeros_like(kept).scatter(-1, order, kept)
    """,
    "A token stays if the likelier ones do not have `top_p` yet, and the division makes a distribution of what stays.",
    gradients=False,
    measure=_up_to_ties,
)

# --------------------------------------------------------------------------- the ranking loss


def _queries_and_passages():
    """Queries, each with a passage and a hard negative; lengths differ."""
    queries = torch.tensor([[2.0, 0.5, 0.1], [-0.3, 1.0, 0.8], [0.4, -1.5, 0.6], [1.0, 0.2, -0.7]])
    positives = torch.tensor([[1.0, 0.8, -0.4], [0.9, 0.6, 1.1], [-0.2, -0.9, 0.3], [0.3, -0.4, -2.0]])
    negatives = torch.tensor([[1.5, -0.2, 0.7], [0.2, 0.5, -0.1], [0.6, -0.4, -1.2], [-0.5, 0.9, 0.4]])
    many = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(4))
    return {
        "four queries in three dimensions": (queries, positives, negatives, 2.0),
        "the three exchanged": (positives, negatives, queries, 3.0),
        "a scale of 20": (queries, positives, negatives, 20.0),
        "six queries in five dimensions": (*many, 2.0),
        "two queries": (queries[:2], positives[:2], negatives[:2], 2.0),
    }


def _own(scores):
    return torch.arange(len(scores))


def _scores(queries, positives, negatives, scale):
    return cosine(queries, torch.cat([positives, negatives])) * scale


def _only_own_negative(queries, positives, negatives, scale):
    scores = _scores(queries, positives, negatives, scale)
    return F.cross_entropy(
        torch.cat([scores[:, : len(queries)], scores[:, len(queries) :].diag()[:, None]], 1), _own(scores)
    )


def _pairwise(queries, positives, negatives, scale):
    scores = _scores(queries, positives, negatives, scale)
    both = torch.stack([scores[:, : len(queries)].diag(), scores[:, len(queries) :].diag()], 1)
    return F.cross_entropy(both, torch.zeros(len(queries), dtype=torch.long))


def _only_hard(queries, positives, negatives, scale):
    scores = _scores(queries, positives, negatives, scale)
    own = torch.cat([scores[:, : len(queries)].diag()[:, None], scores[:, len(queries) :]], 1)
    return F.cross_entropy(own, torch.zeros(len(queries), dtype=torch.long))


def _interleaved(queries, positives, negatives, scale):
    candidates = torch.stack([positives, negatives], 1).flatten(0, 1)
    return F.cross_entropy(cosine(queries, candidates) * scale, _own(queries))


def _with_dots(queries, positives, negatives, scale):
    return F.cross_entropy(queries @ torch.cat([positives, negatives]).T * scale, _own(queries))


def _both_ways(queries, positives, negatives, scale):
    scores = _scores(queries, positives, negatives, scale)
    back = scores[:, : len(queries)].T
    return (F.cross_entropy(scores, _own(scores)) + F.cross_entropy(back, _own(scores))) / 2


ranking_loss = Exercise(
    "genq.ranking_loss",
    "Multiple negatives ranking",
    "medium",
    10,
    functional.multiple_negatives_ranking,
    _queries_and_passages,
    [
        Mistake(
            "scale divided",
            lambda q, p, n, scale: functional.multiple_negatives_ranking(q, p, n, 1 / scale),
            "The cosines are divided by the scale.",
            "A scale of 20 is a temperature of 0.05: multiply.",
        ),
        Mistake(
            "scale forgotten",
            lambda q, p, n, scale: functional.multiple_negatives_ranking(q, p, n, 1.0),
            "The scale makes no difference to your loss.",
            "Multiply the cosines by `scale` before the softmax.",
        ),
        Mistake(
            "dot products",
            _with_dots,
            "Longer vectors change your loss: these are dot products and not cosines.",
            "Scale every row to length 1 first, `F.normalize(x, dim=-1)`: queries and candidates.",
        ),
        Mistake(
            "passages not normalised",
            lambda q, p, n, scale: F.cross_entropy(F.normalize(q, dim=-1) @ torch.cat([p, n]).T * scale, _own(q)),
            "The lengths of the passages change your loss: only the queries were normalised.",
            "Scale the rows of the candidates to length 1 too: `F.normalize(candidates, dim=-1)`.",
        ),
        Mistake(
            "queries not normalised",
            lambda q, p, n, scale: F.cross_entropy(q @ F.normalize(torch.cat([p, n]), dim=-1).T * scale, _own(q)),
            "The lengths of the queries change your loss: only the passages were normalised.",
            "Scale the rows of the queries to length 1 too: `F.normalize(queries, dim=-1)`.",
        ),
        Mistake(
            "negatives left out",
            lambda q, p, n, scale: functional.multiple_negatives_ranking(q, p, None, scale),
            "The hard negatives are no candidates.",
            "Put them below the positives: `torch.cat([positives, negatives])`.",
        ),
        Mistake(
            "negatives for positives",
            lambda q, p, n, scale: functional.multiple_negatives_ranking(q, n, p, scale),
            "The hard negative counts as the right answer.",
            "Column i must be the positive of query i, so the positives come first.",
        ),
        Mistake(
            "passages ask",
            lambda q, p, n, scale: functional.multiple_negatives_ranking(p, q, n, scale),
            "The passages ask and the queries answer.",
            "Row i of the scores belongs to query i, and its columns are the passages: `queries @ candidates.T`.",
        ),
        Mistake(
            "only its own negative",
            _only_own_negative,
            "Of the hard negatives, each query sees only its own.",
            "The hard negatives of the other queries are negatives too, and cost nothing more.",
        ),
        Mistake(
            "no batch",
            _pairwise,
            "Each query chooses between its own two passages alone; nothing of the batch is used.",
            "All positives and negatives of the batch are candidates: a (B, 2B) matrix.",
        ),
        Mistake(
            "other positives left out",
            _only_hard,
            "The positives of the other queries are no candidates.",
            "They are the negatives that a batch brings for nothing: `queries @ candidates.T` with all of them.",
        ),
        Mistake(
            "candidates interleaved",
            _interleaved,
            "The candidates stand p₀ n₀ p₁ n₁ …, and label i no longer points at the positive of query i.",
            "Put all positives first: `torch.cat([positives, negatives])`.",
        ),
        Mistake(
            "both directions",
            _both_ways,
            "The loss is the mean of two directions, query → passage and passage → query.",
            "That is a good loss (`directions` in Sentence Transformers), but here only queries ask.",
        ),
        Mistake(
            "sum for mean",
            lambda q, p, n, scale: F.cross_entropy(_scores(q, p, n, scale), _own(q), reduction="sum"),
            "The loss is the sum over the queries, so that it grows with the batch.",
            "Take the mean over the queries, which is what `F.cross_entropy` does by itself.",
        ),
        Mistake(
            "negatives detached",
            lambda q, p, n, scale: functional.multiple_negatives_ranking(q, p, n.detach(), scale),
            "The value is right, but no gradient reaches the hard negatives: nothing pushes them away.",
            "Leave them in the graph: no `detach`, no `no_grad`.",
        ),
    ],
    [
        "Put positives and negatives below each other: 2B candidates for every query. Which one is right for query i?",
        "Rows of length 1 make `queries @ candidates.T` the cosines, (B, 2B); multiply them by `scale`.",
        "`F.cross_entropy(scores, torch.arange(B))`: the positive of query i is candidate i.",
    ],
    """
    def my_ranking_loss(queries, positives, negatives, scale):
        candidates = torch.cat([positives, negatives])
        scores = F.normalize(queries, dim=-1) @ F.normalize(candidates, dim=-1).T * scale
        return F.cross_entropy(scores, torch.arange(len(queries)))
    """,
    "Every query has to find its own passage among all passages of the batch and all hard negatives.",
)

# --------------------------------------------------------------------------- duplicates


def _generated():
    """Words as the generator writes them."""
    return {
        "a passage with two queries, a query of two passages, and both in a chain": (
            ["sort an array", "order values", "sort an array", "plot a line"],
            ["Returns a sorted copy.", "Returns a sorted copy.", "Sorts in place.", "Draws lines."],
        ),
        "a query of two passages": (
            ["join tables", "merge frames", "join tables"],
            ["Database join.", "Pandas merge.", "Concatenates."],
        ),
        "texts that are part of another one": (
            ["sort", "sort an array", "an array", "plot", "Plot"],
            ["Sorts.", "Sorts. In place.", "Makes an array.", "Draws lines.", "Draws"],
        ),
    }


def _no_negatives(queries, positives):
    return ranking.duplicates(queries, positives, positives)


def _same(texts):
    return torch.tensor([[a == b for b in texts] for a in texts])


def _reachable(queries, positives):
    linked = _no_negatives(queries, positives).float()
    return torch.linalg.matrix_power(linked, len(queries)) > 0


duplicates = Exercise(
    "genq.duplicates",
    "What is no negative",
    "easy",
    7,
    _no_negatives,
    _generated,
    [
        Mistake(
            "passages alone",
            lambda queries, positives: _same(positives),
            "Only equal passages are found; two passages of one query are taken for negatives of it.",
            "Compare the queries too: where query i equals query j, the passage of j answers i.",
        ),
        Mistake(
            "queries alone",
            lambda queries, positives: _same(queries),
            "Only equal queries are found; a passage with two queries is taken for a negative of itself.",
            "Compare the passages too: where they are equal, j's passage is i's own.",
        ),
        Mistake(
            "both must be equal",
            lambda queries, positives: _same(queries) & _same(positives),
            "Only where query *and* passage are equal is a pair found.",
            "One of the two is enough: `|`, not `&`.",
        ),
        Mistake(
            "part of the other",
            lambda queries, positives: torch.tensor(
                [
                    [q in other or p in passage for other, passage in zip(queries, positives)]
                    for q, p in zip(queries, positives)
                ]
            ),
            "A text that is *part* of another one counts as equal to it: `in` looks for a part.",
            "Compare with `==`.",
        ),
        Mistake(
            "itself left out",
            lambda queries, positives: _no_negatives(queries, positives) & ~torch.eye(len(queries)).bool(),
            "A query's own passage, on the diagonal, is taken for a negative of it.",
            "It is the positive: the diagonal is true.",
        ),
        Mistake(
            "query and passage compared",
            lambda queries, positives: torch.tensor([[q == p for p in positives] for q in queries]),
            "Queries are compared with passages, which are never equal.",
            "Compare queries with queries and passages with passages.",
        ),
        Mistake(
            "chains",
            _reachable,
            "Chains are followed too: i shares a passage with j, and j a query with k, so i loses k's passage.",
            "Nobody has said that k's passage answers i. Only direct equality counts.",
        ),
    ],
    [
        "Row i is a query, column j the passage of query j. When would pushing the two apart be wrong?",
        "Two cases: the passages of i and j are the same text, or the queries of i and j are.",
    ],
    """
    def my_duplicates(queries, positives):
        B = len(queries)
        return torch.tensor([[queries[i] == queries[j] or positives[i] == positives[j] for j in range(B)]
                             for i in range(B)])
    """,
    "Where query or passage are the same text, the passage does answer the query, and pushing it away would be wrong.",
)
