"""Is a difference real? Bootstrap intervals over queries, over sentence pairs and over training seeds."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from course_lib.evaluation.sts import check_scores

DRAWS_HELD = 2**22  # resampled values in memory at once: 32 MB of float64


class Interval(NamedTuple):
    """A value with the bootstrap interval around it."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """A difference between two systems with its bootstrap interval, and its two-sided p value."""

    difference: float
    low: float
    high: float
    p: float


def verdict(difference):
    """What a Difference says of the first of two systems: "better", "worse", or "cannot tell" where its interval holds 0."""
    return "cannot tell" if difference.low <= 0 <= difference.high else "better" if difference.low > 0 else "worse"


def bootstrap_interval(values, confidence=0.95, samples=10_000, seed=0):
    """Interval of the mean over queries: queries are drawn with replacement, again and again (Efron, 1979).

    values: one value a query, a list or {query id: value}; or a list of such dicts, one a training seed, and then seeds
    are drawn too. Returns Interval(mean, low, high), percentiles. The same `seed` gives the same interval.
    Raises ValueError for fewer than two queries, for NaN, and for seeds measured on different queries.
    """
    table, _ = _table(values, "values")
    means = _resampled_means([table], samples, np.random.default_rng(seed))[0]
    return Interval(float(table.mean()), *_percentiles(means, confidence))


def paired_bootstrap(a, b, confidence=0.95, samples=10_000, seed=0):
    """Is the mean of system `a` really different from that of `b`, measured on the same queries?

    a, b: {query id: value}, or a list of such dicts, one a training seed. Each resample draws queries, the same for
    both systems, and from each system's seeds. Returns Difference(mean(a) − mean(b), low, high, p); p is twice the
    share of resamples on the rarer side of 0, at least 2 / (samples + 1).
    Three seeds say little about seeds: where they differ twice as much as queries make means differ, a 95 % interval
    from three holds the truth in 90 % of simulated cases; where they differ less, in 94 to 95 %.
    Raises ValueError where the systems were measured on different queries, and as `bootstrap_interval`; TypeError for
    values without query ids.
    """
    table_a, keys_a = _table(a, "a")
    table_b, keys_b = _table(b, "b", keys_a)
    if keys_a is None or keys_b is None:
        raise TypeError(
            "`a` and `b` must be {query id: value}, or lists of such dicts; a paired test matches queries by their ids"
        )
    means = _resampled_means([table_a, table_b], samples, np.random.default_rng(seed))
    return _difference(table_a.mean() - table_b.mean(), means[0] - means[1], confidence)


def bootstrap_spearman(similarities_a, scores, similarities_b=None, confidence=0.95, samples=2000, seed=0):
    """Interval of the Spearman correlation with human scores, resampling sentence pairs.

    similarities_a, similarities_b: (N,), or (seeds, N); with several seeds the correlations are averaged, never the
    similarities, which would measure an ensemble. scores: (N,).
    Returns Interval(Spearman of a, low, high); with `similarities_b` the Difference a − b on the same resampled pairs.
    NaN for an encoder that gives every pair the same. A second for three seeds against three on STS-B's 1,379 pairs.
    Raises ValueError for other shapes, for NaN and for scores that are all the same.
    """
    scores = check_scores(scores)
    tables = [_similarities(similarities_a, scores, "similarities_a")]
    if similarities_b is not None:
        tables.append(_similarities(similarities_b, scores, "similarities_b"))
    rng = np.random.default_rng(seed)
    values = [_spearman(np.ones((1, len(scores))), table, scores).mean() for table in tables]
    resampled = [[] for _ in tables]
    for counts in _resampled_counts(len(scores), samples, rng):
        for table, found in zip(tables, resampled):
            found.append(_mean_over_drawn_seeds(_spearman(counts, table, scores), rng))
    resampled = [np.concatenate(found) for found in resampled]
    if similarities_b is None:
        return Interval(float(values[0]), *_percentiles(resampled[0], confidence))
    return _difference(values[0] - values[1], resampled[0] - resampled[1], confidence)


# --------------------------------------------------------------------------- reading the arguments


def _table(values, name, keys=None):
    """(seeds, queries) float64 and the query ids in the order of the columns, None for plain values."""
    seeds = values if isinstance(values, (list, tuple)) and values and isinstance(values[0], Mapping) else [values]
    if isinstance(seeds[0], Mapping):
        keys = keys if keys is not None else list(seeds[0])
        for one in seeds:
            _check_same_queries(one, keys, name)
        table = [[one[key] for key in keys] for one in seeds]
    else:
        keys, table = None, seeds
    table = np.asarray(table, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(
            f"`{name}` holds {table.shape[-1] if table.ndim == 2 else 'nested'} values; "
            "pass one value a query, for at least 2 queries"
        )
    if not np.isfinite(table).all():
        raise ValueError(
            f"`{name}` holds {np.count_nonzero(~np.isfinite(table))} values that are NaN or infinite; "
            "leave out queries that were not measured"
        )
    return table, keys


def _check_same_queries(values, keys, name):
    different = set(values).symmetric_difference(keys)
    if different:
        raise ValueError(
            f"`{name}`: {len(different)} queries are measured on one side only, first "
            f"{min(different, key=str)!r}; compare systems and seeds on the same queries"
        )


def _similarities(values, scores, name):
    table = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if table.shape[1:] != scores.shape:
        raise ValueError(f"`{name}` has shape {np.shape(values)} for {len(scores)} `scores`; pass one value a pair")
    if not np.isfinite(table).all():
        raise ValueError(f"`{name}` holds {np.count_nonzero(~np.isfinite(table))} values that are NaN or infinite")
    return table


def _check_samples(samples):
    if samples < 1:
        raise ValueError(f"`samples` is {samples}; it says how often to resample: 1,000 or more for a stable interval")


# --------------------------------------------------------------------------- resampling


def _resampled_means(tables, samples, rng):
    """Means of resampled tables, (samples,) each; all tables (seeds, queries) see the same queries."""
    _check_samples(samples)
    queries = tables[0].shape[1]
    step = max(1, DRAWS_HELD // queries)
    means = [[] for _ in tables]
    for start in range(0, samples, step):
        drawn = rng.integers(queries, size=(min(step, samples - start), queries))
        for table, found in zip(tables, means):
            found.append(_mean_over_drawn_seeds(np.stack([of_seed[drawn].mean(1) for of_seed in table], axis=1), rng))
    return [np.concatenate(found) for found in means]


def _mean_over_drawn_seeds(values, rng):
    """(samples, seeds) → (samples,): in each sample as many seeds as there are, drawn with replacement."""
    seeds = values.shape[1]
    if seeds == 1:
        return values[:, 0]
    return np.take_along_axis(values, rng.integers(seeds, size=values.shape), axis=1).mean(1)


def _resampled_counts(n, samples, rng):
    """Yield (chunk, n): how often each of n pairs is drawn."""
    _check_samples(samples)
    step = max(1, DRAWS_HELD // n)
    for start in range(0, samples, step):
        rows = min(step, samples - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _spearman(counts, table, scores):
    """Spearman of each row of the table with the scores when pair i occurs counts[·, i] times: (samples, seeds).

    NaN where a resample holds one value only, which has no order.
    """
    ours = _centred_ranks(counts, scores)
    return np.stack([_correlation(counts, _centred_ranks(counts, of_seed), ours) for of_seed in table], axis=1)


def _centred_ranks(counts, values):
    """Average ranks within each resample, minus their mean.

    The values are sorted once: in a resample, the rank of a value is the number of draws below it, plus the middle of
    the draws equal to it.
    """
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group))  # of each group of equal values, in sorted order
    below_or_equal = counts[:, order].cumsum(1)[:, ends - 1]
    below = np.concatenate([np.zeros((len(counts), 1)), below_or_equal[:, :-1]], axis=1)
    n = counts.shape[1]
    return ((below + below_or_equal + 1) / 2 - (n + 1) / 2)[:, group]


def _correlation(counts, x, y):
    weighted = counts * x
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weighted * y).sum(1) / np.sqrt((weighted * x).sum(1) * (counts * y * y).sum(1))


# --------------------------------------------------------------------------- reading off


def _percentiles(resampled, confidence):
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` is {confidence}; pass a share between 0 and 1, such as 0.95")
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):  # a collapsed encoder has no rank correlation in any resample
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _difference(value, resampled, confidence):
    defined = resampled[~np.isnan(resampled)]
    rarer = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    p = min(1.0, 2 * (rarer + 1) / (len(defined) + 1))
    return Difference(float(value), *_percentiles(defined, confidence), float(p))
