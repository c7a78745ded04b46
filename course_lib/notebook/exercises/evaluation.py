"""Exercises of notebook 02: rank correlation, ranking metrics and the paired bootstrap, on lists and NumPy arrays."""

import numpy as np
from scipy import stats

from course_lib import evaluation as library
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "02_evaluation"

# --------------------------------------------------------------------------- Spearman


def _spearman(x, y):
    return float(stats.spearmanr(x, y).statistic)


def _scored_pairs():
    return {
        "an outlier": (np.array([0.1, 0.4, 0.3, 0.9, 0.6]), np.array([0.0, 2.0, 1.0, 50.0, 1.5])),
        "ties on one side": (np.array([0.2, 0.5, 0.1, 0.8, 0.7, 0.3]), np.array([1.0, 3.0, 1.0, 5.0, 3.0, 3.0])),
        "ties on both sides": (np.array([0.5, 0.5, 0.1, 0.9]), np.array([2.0, 2.0, 2.0, 4.0])),
        "the reverse order": (np.array([0.9, 0.5, 0.1]), np.array([1.0, 2.0, 3.0])),
        "negative numbers": (
            np.array([-0.5, 0.1, 0.3, -0.2, 0.9, 0.1, -0.7, 0.4, 0.2]),
            np.array([-3.0, 0.5, -1.0, 2.0, 4.0, 1.0, 0.5, -2.0, 3.0]),
        ),
    }


def _pearson(x, y):
    return float(np.corrcoef(x, y)[0, 1])


def _of_ranks(method):
    return lambda x, y: _pearson(stats.rankdata(x, method), stats.rankdata(y, method))


def _by_differences(x, y):
    d = stats.rankdata(x) - stats.rankdata(y)
    return float(1 - 6 * (d**2).sum() / (len(d) * (len(d) ** 2 - 1)))


def _positions(values):
    return np.argsort(values, kind="stable")


spearman = Exercise(
    "evaluation.spearman",
    "Spearman's rank correlation",
    "medium",
    10,
    _spearman,
    _scored_pairs,
    [
        Mistake(
            "Pearson",
            _pearson,
            "This is Pearson's correlation of the values, which one outlier can buy.",
            "Replace the values by their ranks first: `stats.rankdata`.",
        ),
        Mistake(
            "ties in order of appearance",
            _of_ranks("ordinal"),
            "Equal values get different ranks, in the order in which they stand.",
            "Equal values share the mean of their ranks; `stats.rankdata` does that.",
        ),
        Mistake(
            "ties share the smallest rank",
            _of_ranks("min"),
            "Equal values share the smallest of their ranks.",
            "They share the *mean* of their ranks: of places 1 and 2, both get 1.5.",
        ),
        Mistake(
            "ranks without gaps",
            _of_ranks("dense"),
            "After equal values the ranks go on without a gap.",
            "Equal values share the mean of their ranks: two first places get 1.5, the next gets 3.",
        ),
        Mistake(
            "sorted once",
            lambda x, y: _pearson(_positions(x), _positions(y)),
            "These are correlations of what `argsort` gives: positions in the array, not ranks.",
            "`argsort` says which element comes first; `stats.rankdata` says which place an element has.",
        ),
        Mistake(
            "one side ranked",
            lambda x, y: _pearson(stats.rankdata(x), y),
            "Only the first side is ranked.",
            "Rank both, then take Pearson's correlation of the ranks.",
        ),
        Mistake(
            "formula for no ties",
            _by_differences,
            "The formula with 6 Σd² is exact only where no two values are equal.",
            "Take Pearson's correlation of the ranks, which always holds.",
        ),
        Mistake(
            "covariance",
            lambda x, y: float(np.cov(stats.rankdata(x), stats.rankdata(y))[0, 1]),
            "This is the covariance of the ranks, which grows with their number.",
            "Divide by both standard deviations: `np.corrcoef(…)[0, 1]`.",
        ),
        Mistake(
            "Kendall",
            lambda x, y: float(stats.kendalltau(x, y).statistic),
            "This is Kendall's τ, which counts pairs in the same order.",
            "Spearman's is Pearson's correlation of the ranks.",
        ),
        Mistake(
            "one order turned",
            lambda x, y: _spearman(x, -np.asarray(y)),
            "The sign is turned: one side is ranked from large to small, the other from small to large.",
            "Rank both sides in the same direction.",
        ),
    ],
    [
        "Spearman is Pearson's correlation of something simpler than the values.",
        "`stats.rankdata(x)` gives ranks, with the mean rank for equal values.",
        "`np.corrcoef(ranks_x, ranks_y)[0, 1]` is Pearson's correlation of the ranks.",
    ],
    """
    from scipy import stats

    def my_spearman(x, y):
        return np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1]
    """,
    "Only the order counts: an outlier is one place like any other, and equal values share their mean place.",
)

# --------------------------------------------------------------------------- average precision


def _judged_rankings():
    return {
        "a document with grade 0": (list("abcde"), {"a": 2, "c": 1, "e": 0, "d": 1}),
        "a relevant document that the ranking missed": (list("abcd"), {"b": 1, "z": 1}),
        "a perfect ranking": (list("abc"), {"a": 2, "c": 1, "b": 1}),
        "an irrelevant document between two relevant ones": (list("abc"), {"a": 2, "c": 1}),
        "the relevant document in last place": (list("dcba"), {"a": 1}),
        "more relevant documents than places": (list("ab"), {"a": 1, "b": 2, "c": 1, "d": 3}),
        "nothing relevant in the ranking": (list("ab"), {"z": 1}),
        "nothing that is relevant": (list("ab"), {"a": 0}),
        "no grades": (list("ab"), {}),
    }


def _hits(ranked, grades):
    return [grades.get(i, 0) > 0 for i in ranked]


def _precisions(hits):
    return [sum(hits[:k]) / k for k in range(1, len(hits) + 1)]


def _relevant(grades):
    return sum(grade > 0 for grade in grades.values()) or 1


def _at_hits(ranked, grades):
    hits = _hits(ranked, grades)
    return [p for p, hit in zip(_precisions(hits), hits) if hit]


def _reciprocal_ranks(ranked, grades):
    return [1 / rank for rank, hit in enumerate(_hits(ranked, grades), 1) if hit]


average_precision = Exercise(
    "evaluation.average_precision",
    "Average precision",
    "medium",
    10,
    library.average_precision,
    _judged_rankings,
    [
        Mistake(
            "divided by those found",
            lambda ranked, grades: sum(_at_hits(ranked, grades)) / max(len(_at_hits(ranked, grades)), 1),
            "The sum is divided by the relevant documents that were *found*.",
            "Divide by all that there are, so that a missed one costs something.",
        ),
        Mistake(
            "divided by the places at most",
            lambda ranked, grades: sum(_at_hits(ranked, grades)) / min(_relevant(grades), len(ranked)),
            "The sum is divided by the length of the ranking where more documents are relevant.",
            "Divide by all that are relevant: a short ranking misses some, and that costs something.",
        ),
        Mistake(
            "every rank counts",
            lambda ranked, grades: float(np.mean(_precisions(_hits(ranked, grades)))),
            "The precision is averaged over every rank.",
            "Only the ranks with a relevant document count.",
        ),
        Mistake(
            "divided by the length",
            lambda ranked, grades: sum(_at_hits(ranked, grades)) / len(ranked),
            "The sum is divided by the length of the ranking.",
            "Divide by the number of relevant documents there are.",
        ),
        Mistake(
            "not divided",
            lambda ranked, grades: float(sum(_at_hits(ranked, grades))),
            "The precisions are added up, and the division is missing.",
            "Divide by the number of relevant documents there are; a perfect ranking then has 1.",
        ),
        Mistake(
            "reciprocal ranks",
            lambda ranked, grades: sum(_reciprocal_ranks(ranked, grades)) / _relevant(grades),
            "Each relevant document adds 1 / rank.",
            "It adds the precision there: relevant documents so far / rank.",
        ),
        Mistake(
            "grade 0 is relevant",
            lambda ranked, grades: library.average_precision(ranked, {i: 1 for i in grades}),
            "A document with grade 0 counts as relevant.",
            "Having a grade is not enough; it must be above 0.",
        ),
        Mistake(
            "precision",
            lambda ranked, grades: sum(_hits(ranked, grades)) / len(ranked),
            "This is the precision of the whole ranking, which does not see the order.",
            "Take the precision at the rank of each relevant document.",
        ),
        Mistake(
            "first hit only",
            lambda ranked, grades: max(_reciprocal_ranks(ranked, grades), default=0.0),
            "Only the first relevant document counts: this is the reciprocal rank.",
            "Go on after the first one, and add the precision at each.",
        ),
    ],
    [
        "Walk down the ranking with a counter. At a relevant document, raise it.",
        "There, add counter / rank to a sum. What is left is one division.",
        "Divide by the number of relevant documents there are, ranked or not. And if there is none?",
    ],
    """
    def my_average_precision(ranked, grades):
        relevant = {i for i, grade in grades.items() if grade > 0}
        found, total = 0, 0.0
        for rank, i in enumerate(ranked, 1):
            if i in relevant:
                found += 1
                total += found / rank
        return total / len(relevant) if relevant else 0.0
    """,
    "It adds the precision at each relevant document and divides by all relevant ones, so that a missed one counts 0.",
)

# --------------------------------------------------------------------------- nDCG


def _graded_rankings():
    return {
        "four graded documents, of which one is missed": (list("abcde"), {"a": 1, "b": 3, "d": 2, "f": 2}, 5),
        "k = 2": (list("abcde"), {"a": 1, "b": 3, "d": 2, "f": 2}, 2),
        "documents without a grade": (list("xayb"), {"a": 3, "b": 1, "z": 2}, 3),
        "a ranking shorter than k": (list("ab"), {"a": 1, "c": 5}, 10),
        "a ranking shorter than the number of graded documents": (list("a"), {"a": 1, "b": 3, "c": 2}, 5),
        "nothing but grades of 0": (list("ab"), {"c": 0}, 10),
        "no grades": (list("ab"), {}, 3),
    }


def _dcg(gains, discount=lambda rank: np.log2(rank + 1)):
    return float(sum(gain / discount(rank) for rank, gain in enumerate(gains, 1)))


def _ndcg(gain=lambda grade: grade, discount=lambda rank: np.log2(rank + 1), cut=True, cut_ideal=True, ideal="graded"):
    """nDCG with one thing changed; ideal: of what the best order is made, None to leave it out."""

    def score(ranked, grades, k):
        found = [gain(grades.get(i, 0)) for i in (ranked[:k] if cut else ranked)]
        best = found if ideal == "found" else [gain(grade) for grade in grades.values()]
        best = sorted(best, reverse=True)
        best = _dcg(best[:k] if cut_ideal else best, discount) if ideal else 1.0
        return _dcg(found, discount) / best if best else 0.0

    return score


ndcg_at_k = Exercise(
    "evaluation.ndcg_at_k",
    "nDCG@k",
    "medium",
    10,
    library.ndcg_at_k,
    _graded_rankings,
    [
        Mistake(
            "ideal missing",
            _ndcg(ideal=None),
            "This is DCG: it is not divided by the DCG of the best order.",
            "Sort all grades from large to small, take the DCG of that, and divide.",
        ),
        Mistake(
            "ideal of those found",
            _ndcg(ideal="found"),
            "The best order is made of the documents that this ranking found.",
            "It is made of all graded documents, also those that the ranking missed: `grades.values()`.",
        ),
        Mistake(
            "ideal as long as the ranking",
            lambda ranked, grades, k: _ndcg()(ranked, grades, min(k, len(ranked))),
            "The best order is cut at the length of the ranking.",
            "It is cut at k alone: a ranking that returns too few documents has missed some.",
        ),
        Mistake(
            "ideal not cut",
            _ndcg(cut_ideal=False),
            "The best order is not cut at k, so that a perfect ranking gets less than 1.",
            "`sorted(…, reverse=True)[:k]`.",
        ),
        Mistake("ranking not cut", _ndcg(cut=False), "The ranking is not cut at k.", "Only `ranked[:k]` counts."),
        Mistake(
            "exponential gain",
            _ndcg(gain=lambda grade: 2.0**grade - 1),
            "The gain is 2 to the power of the grade, minus 1.",
            "This course takes the grade itself, as trec_eval and BEIR do.",
        ),
        Mistake(
            "grades ignored",
            _ndcg(gain=lambda grade: float(grade > 0)),
            "Every relevant document counts the same, whatever its grade.",
            "The gain is the grade.",
        ),
        Mistake(
            "one rank too far",
            _ndcg(discount=lambda rank: np.log2(rank + 2)),
            "The discount is one rank too far: already the first document is discounted.",
            "Rank 1 is divided by log2(2) = 1. If you count from 1, the divisor is log2(rank + 1); from 0, it is "
            "log2(rank + 2).",
        ),
        Mistake(
            "first two alike",
            _ndcg(discount=lambda rank: np.log2(max(rank, 2))),
            "The discount begins at rank 3: the first two count the same.",
            "Divide by log2(rank + 1): rank 2 by log2(3).",
        ),
        Mistake(
            "divided by the rank",
            _ndcg(discount=lambda rank: rank),
            "The gain is divided by the rank itself.",
            "Divide by the logarithm, log2(rank + 1), which falls more gently.",
        ),
        Mistake(
            "no discount",
            _ndcg(discount=lambda rank: 1.0),
            "There is no discount: the order within the first k makes no difference.",
            "Divide each gain by log2(rank + 1).",
        ),
        Mistake(
            "root of the rank",
            _ndcg(discount=lambda rank: rank**0.5),
            "The gain is divided by the root of the rank.",
            "Divide by the logarithm, log2(rank + 1).",
        ),
    ],
    [
        "Write a function of a list of gains first, `sum(gain / log2(rank + 1) …)`, and call it twice.",
        "The second time for the best order: all grades, sorted from large to small, cut at k.",
        "The base of the logarithm cancels in the quotient. Where the best is 0, return 0.",
    ],
    """
    def my_ndcg_at_k(ranked, grades, k=10):
        def dcg(gains):
            return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
        ideal = dcg(sorted(grades.values(), reverse=True)[:k])
        return dcg(grades.get(i, 0) for i in ranked[:k]) / ideal if ideal else 0.0
    """,
    "The DCG of the ranking is divided by that of the best possible one, so that 1 means perfect for every query.",
)

# --------------------------------------------------------------------------- paired bootstrap


def _two_systems():
    """Two systems on the same queries, in points of 100; what a query costs both is most of the spread."""
    rng = np.random.default_rng(1)
    hard = rng.uniform(0, 60, 100)
    a, b = hard + rng.uniform(0, 20, 100) + 4, hard + rng.uniform(0, 20, 100)
    return {"100 queries": (a, b, 8_000, 0), "37 queries, and the second system is better": (b[:37], a[:37], 8_000, 5)}


def _paired_bootstrap(a, b, samples=5000, seed=0):
    found = library.paired_bootstrap(dict(enumerate(a)), dict(enumerate(b)), samples=samples, seed=seed)
    return found.low, found.high


def _interval(call, a, b, samples, seed):
    low, high = call(a, b, samples, seed)
    few, many = ([call(a, b, count, seed + n)[0] for n in range(1, 13)] for count in (100, 3000))
    again = [[float(end) for end in call(a, b, 100, seed)] for _ in range(2)]
    return {
        "middle of the interval": (low + high) / 2,
        "width of the interval": high - low,
        "the same interval for the same seed": again[0] == again[1],
        "another interval for another seed": float(np.ptp(few)) > 1e-6,
        "a steadier interval with more samples": bool(np.std(many) < 0.7 * np.std(few) + 1e-9),
    }


def _drawn(values, samples, seed, size=None):
    """Means of resamples: (samples,)."""
    draws = np.random.default_rng(seed).integers(len(values), size=(samples, size or len(values)))
    return values[draws].mean(1)


def _percentiles(means, low=2.5, high=97.5):
    return tuple(np.percentile(means, [low, high]).tolist())


paired_bootstrap = Exercise(
    "evaluation.paired_bootstrap",
    "The paired bootstrap",
    "hard",
    10,
    _paired_bootstrap,
    _two_systems,
    [
        Mistake(
            "not paired",
            lambda a, b, samples, seed: _percentiles(_drawn(a, samples, seed) - _drawn(b, samples, seed + 1)),
            "The interval is far too wide: each system is resampled for itself, and what a query costs both stays in.",
            "Draw the same queries for both: one set of draws, or one difference per query.",
        ),
        Mistake(
            "single queries",
            lambda a, b, samples, seed: _percentiles(a - b),
            "This is the spread of single queries.",
            "Take the mean of each resample; the interval is that of the means.",
        ),
        Mistake(
            "without replacement",
            lambda a, b, samples, seed: ((a - b).mean(), (a - b).mean()),
            "The interval has no width: every resample holds the same queries.",
            "Draw *with* replacement: `rng.integers(n, size=(samples, n))` or `rng.choice(…)`.",
        ),
        Mistake(
            "b minus a",
            lambda a, b, samples, seed: _percentiles(_drawn(b - a, samples, seed)),
            "The interval is that of mean(b) − mean(a).",
            "It should be positive where `a` is better.",
        ),
        Mistake(
            "ends swapped",
            lambda a, b, samples, seed: _percentiles(_drawn(a - b, samples, seed), 97.5, 2.5),
            "The upper end stands first.",
            "Return (low, high).",
        ),
        Mistake(
            "90 percent",
            lambda a, b, samples, seed: _percentiles(_drawn(a - b, samples, seed), 5, 95),
            "This is the interval that holds 90 % of the resamples.",
            "95 % leaves 2.5 % on each side: the quantiles 0.025 and 0.975.",
        ),
        Mistake(
            "one standard error",
            lambda a, b, samples, seed: _percentiles(_drawn(a - b, samples, seed), 15.87, 84.13),
            "The interval is one standard error on each side, about 68 % of the resamples.",
            "Take the quantiles 0.025 and 0.975 of the means of the resamples.",
        ),
        Mistake(
            "half as many queries",
            lambda a, b, samples, seed: _percentiles(_drawn(a - b, samples, seed, size=len(a) // 2)),
            "Each resample holds half as many queries as there are, which makes the interval too wide.",
            "A resample is as large as the set: `size=(samples, len(a))`.",
        ),
        Mistake(
            "system a alone",
            lambda a, b, samples, seed: _percentiles(_drawn(a, samples, seed)),
            "This is the interval of the first system alone.",
            "Take the difference per query first, `a - b`.",
        ),
    ],
    [
        "What varies between resamples is which queries are drawn. Both systems answer the same ones.",
        "`d = a - b` is one number per query. From here on it is the bootstrap of one mean.",
        "`draws` of shape (samples, N), `d[draws].mean(1)`, then the quantiles 0.025 and 0.975.",
    ],
    """
    def my_paired_bootstrap(a, b, samples=5000, seed=0):
        d = a - b
        draws = np.random.default_rng(seed).integers(len(d), size=(samples, len(d)))
        return tuple(np.quantile(d[draws].mean(1), [0.025, 0.975]))
    """,
    "Both systems answer the same drawn queries, so that what makes a query hard for both cancels.",
    measure=_interval,
    tolerance={"middle of the interval": 0.06, "width of the interval": 0.07},
)
