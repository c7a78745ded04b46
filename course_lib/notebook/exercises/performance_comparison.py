"""Exercises of notebook 11: what an interval allows to say, whitening, and which methods are worth their cost."""

import numpy as np

from course_lib.experiments import baselines
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "11_performance_comparison"

# --------------------------------------------------------------------------- what an interval says


def _intervals():
    return {
        "an interval above 0": (0.02, 0.06, 0.03),
        "an interval below 0": (-0.05, -0.01, 0.03),
        "a wide interval around 0": (-0.04, 0.05, 0.03),
        "a narrow interval around 0": (-0.02, 0.02, 0.03),
        "a very narrow interval around 0": (-0.005, 0.01, 0.03),
        "an interval that is above 0, but small": (0.005, 0.02, 0.03),
        "an interval that is below 0, but small": (-0.02, -0.005, 0.03),
        "an interval that reaches too far up": (-0.01, 0.04, 0.03),
        "an interval that reaches too far down": (-0.04, 0.01, 0.03),
        "another smallest difference that matters": (-0.01, 0.02, 0.01),
    }


def _conclusion(low, high, smallest):
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "no difference that matters" if -smallest < low and high < smallest else "cannot tell"


def _small_first(low, high, smallest):
    if -smallest < low and high < smallest:
        return "no difference that matters"
    return _conclusion(low, high, smallest)


def _zero_means_equal(low, high, smallest):
    return "better" if low > 0 else "worse" if high < 0 else "no difference that matters"


def _never_equal(low, high, smallest):
    return "better" if low > 0 else "worse" if high < 0 else "cannot tell"


def _middle(low, high, smallest):
    middle = (low + high) / 2
    return "no difference that matters" if abs(middle) < smallest else "better" if middle > 0 else "worse"


def _width(low, high, smallest):
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "no difference that matters" if high - low < smallest else "cannot tell"


def _upper_end_only(low, high, smallest):
    if low > 0 or high < 0:
        return "better" if low > 0 else "worse"
    return "no difference that matters" if high < smallest else "cannot tell"


conclusion = Exercise(
    "performance_comparison.conclusion",
    "What an interval says",
    "easy",
    8,
    _conclusion,
    _intervals,
    [
        Mistake(
            "0 inside means equal",
            _zero_means_equal,
            "Every interval that contains 0 counts as no difference, also a wide one.",
            "A wide interval contains large differences too. Ask whether *both* ends are closer to 0 than `smallest`.",
        ),
        Mistake(
            "never equal",
            _never_equal,
            "An interval that contains 0 is always “cannot tell” here.",
            "If both ends are closer to 0 than `smallest`, no difference that matters is possible any more.",
        ),
        Mistake(
            "size before sign",
            _small_first,
            "A small interval beside 0 counts as no difference.",
            "First ask whether 0 lies outside of the interval; only then whether the interval is narrow.",
        ),
        Mistake(
            "only the middle",
            _middle,
            "Only the middle of the interval is used; how wide it is makes no difference.",
            "Use both ends: “better” needs `low > 0`.",
        ),
        Mistake(
            "width instead of ends",
            _width,
            "The width of the interval is compared with `smallest`.",
            "Each end must be closer to 0 than `smallest`; the width can then be up to twice as much.",
        ),
        Mistake(
            "one end only",
            _upper_end_only,
            "Only the upper end is compared with `smallest`.",
            "The lower end must be above `-smallest`, too.",
        ),
    ],
    [
        "Two questions, in this order: is 0 outside of the interval? Are both ends close to 0?",
        "“better” is `low > 0`, “worse” is `high < 0`.",
        "“no difference that matters” is `-smallest < low and high < smallest`, where 0 is inside.",
    ],
    """
    def my_conclusion(low, high, smallest):
        if low > 0:
            return "better"
        if high < 0:
            return "worse"
        return "no difference that matters" if -smallest < low and high < smallest else "cannot tell"
    """,
    "An interval holds the differences that the data allow; the answer must be true of all of them.",
)

# --------------------------------------------------------------------------- whitening


def _vectors():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(200, 4)) @ np.array([[2.0, 1, 0, 0.5], [0, 1, 1, 0], [0, 0, 0.5, 1], [0.3, 0, 0, 0.2]])
    return {
        "vectors around 0, with correlated numbers": (mixed - mixed.mean(0),),
        "vectors that share a direction": (mixed + np.array([5.0, -3.0, 1.0, 0.0]),),
        "vectors on another scale": (20 * mixed + 7.0,),
    }


def _whitened(call, x):
    """What is left of the vectors' mean and covariance. W may be turned, so its entries are not compared."""
    mean, matrix = call(x)
    white = (np.asarray(x) - np.asarray(mean)) @ np.asarray(matrix)
    return {"mean of the whitened vectors": white.mean(0), "covariance of the whitened vectors": np.cov(white.T)}


def _parts(x):
    values, vectors = np.linalg.eigh(np.cov(x.T))
    return x.mean(0), values, vectors


def _mistaken_whitening(make):
    return lambda x: (lambda mean, values, vectors: make(x, mean, values, vectors))(*_parts(x))


whitening = Exercise(
    "performance_comparison.whitening",
    "Whitening",
    "medium",
    12,
    baselines.whitening,
    _vectors,
    [
        Mistake(
            "rotated only",
            _mistaken_whitening(lambda x, mean, values, vectors: (mean, vectors)),
            "The numbers are uncorrelated, but their variances are still different.",
            "Divide each column of the eigenvectors by the square root of its eigenvalue.",
        ),
        Mistake(
            "divided by the eigenvalue",
            _mistaken_whitening(lambda x, mean, values, vectors: (mean, vectors / values)),
            "The columns are divided by the eigenvalues, which are variances.",
            "Divide by their square roots, the standard deviations.",
        ),
        Mistake(
            "multiplied",
            _mistaken_whitening(lambda x, mean, values, vectors: (mean, vectors * np.sqrt(values))),
            "The columns are multiplied by the standard deviations, so large variances become larger.",
            "Divide by them.",
        ),
        Mistake(
            "each number on its own",
            lambda x: (x.mean(0), np.diag(1 / x.std(0))),
            "Each number has variance 1, but the numbers are still correlated.",
            "Rotate first: `np.linalg.eigh(np.cov(x.T))` gives the directions in which nothing is correlated.",
        ),
        Mistake(
            "rows and columns exchanged",
            _mistaken_whitening(lambda x, mean, values, vectors: (mean, vectors.T / np.sqrt(values))),
            "The matrix of eigenvectors is transposed.",
            "`eigh` gives one eigenvector per *column*, which is what `(x - mean) @ W` needs.",
        ),
    ],
    [
        "`np.cov(x.T)` is the covariance of the columns, (d, d).",
        "`values, vectors = np.linalg.eigh(…)`: in the directions of the eigenvectors nothing is correlated, and the "
        "eigenvalues are the variances.",
        "W is `vectors / np.sqrt(values)`.",
    ],
    """
    def my_whitening(x):
        values, vectors = np.linalg.eigh(np.cov(x.T))
        return x.mean(0), vectors / np.sqrt(values)
    """,
    "Along the eigenvectors nothing is correlated, and dividing by the standard deviation makes each variance 1.",
    strict=False,
    shapes=False,
    gradients=False,
    measure=_whitened,
    tolerance=0.02,
)

# --------------------------------------------------------------------------- worth the cost


def _methods():
    return {
        "methods that trade cost for quality": ([1.0, 3.0, 2.0, 5.0], [0.2, 0.4, 0.3, 0.5]),
        "a method that costs more and finds less": ([1.0, 2.0, 3.0], [0.3, 0.2, 0.5]),
        "two methods with the same cost": ([2.0, 2.0, 1.0], [0.5, 0.4, 0.3]),
        "two methods with the same quality": ([3.0, 1.0, 2.0], [0.4, 0.4, 0.6]),
        "two methods that are equal in both": ([1.0, 1.0, 2.0], [0.4, 0.4, 0.5]),
        "a method that is beaten by one of the same cost, and a best one that is not the last": (
            [4.0, 2.0, 2.0, 5.0],
            [0.7, 0.3, 0.4, 0.6],
        ),
    }


def _worth(better):
    """A function that keeps each method for which `better` is true of no other."""
    return lambda costs, values: [
        not any(better(c, v, cost, value) for c, v in zip(costs, values)) for cost, value in zip(costs, values)
    ]


worth_it = Exercise(
    "performance_comparison.worth_it",
    "Worth its cost",
    "medium",
    10,
    _worth(lambda c, v, cost, value: c <= cost and v >= value and (c < cost or v > value)),
    _methods,
    [
        Mistake(
            "equal methods exclude each other",
            lambda costs, values: [
                sum(c <= cost and v >= value for c, v in zip(costs, values)) == 1 for cost, value in zip(costs, values)
            ],
            "Two methods with equal cost and equal value exclude each other.",
            "The other one must be better in at least one of the two: cheaper, or of a higher value.",
        ),
        Mistake(
            "must be better in both",
            _worth(lambda c, v, cost, value: c < cost and v > value),
            "A method counts as beaten only by one that is cheaper *and* better.",
            "One of the two may be equal: the same value for less cost is enough.",
        ),
        Mistake(
            "only the best",
            lambda costs, values: [value == max(values) for value in values],
            "Only the method with the highest value stays.",
            "A cheaper method stays, too, if none that costs as little reaches its value.",
        ),
        Mistake(
            "only the cheapest",
            lambda costs, values: [cost == min(costs) for cost in costs],
            "Only the cheapest method stays.",
            "A dearer method stays, too, if none that costs as little reaches its value.",
        ),
        Mistake(
            "dear is good",
            _worth(lambda c, v, cost, value: c >= cost and v >= value and (c > cost or v > value)),
            "The direction of the cost is turned: a method is beaten by one that costs more.",
            "A cost of another method that beats it is at most as high.",
        ),
        Mistake(
            "value per cost",
            lambda costs, values: [
                v / c >= max(v / c for c, v in zip(costs, values)) - 1e-12 for c, v in zip(costs, values)
            ],
            "Only the best ratio of value and cost stays.",
            "No ratio is needed: compare cost with cost and value with value.",
        ),
    ],
    [
        "For each method, look for another one that beats it.",
        "It is beaten by a method with `c <= cost and v >= value` that is strictly better in one of the two.",
        "`not any(… for c, v in zip(costs, values))`, for each method.",
    ],
    """
    def my_worth_it(costs, values):
        def beaten(cost, value):
            return any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in zip(costs, values))

        return [not beaten(cost, value) for cost, value in zip(costs, values)]
    """,
    "What nobody beats in one without losing in the other is a sensible choice for some budget.",
)
