import math
import time

import numpy as np
import pytest
from scipy import stats

from course_lib.evaluation import (
    Difference,
    bootstrap_interval,
    bootstrap_spearman,
    evaluate_retrieval,
    paired_bootstrap,
    rank,
    verdict,
)
from course_lib.search import rank_bm25


@pytest.fixture(scope="module")
def systems(lsa, task):
    """The nDCG@10 of every query, of BM25 and of a real encoder."""
    return [evaluate_retrieval(ranker, *task)["per_query"]["ndcg@10"] for ranker in (rank_bm25, lsa)]


@pytest.fixture(scope="module")
def correlated():
    """300 pairs: human scores in steps of 0.2 with many ties, and similarities of a good and a worse system."""
    rng = np.random.default_rng(0)
    scores = rng.integers(26, size=300) / 5
    return scores, scores + rng.normal(size=300), scores + 3 * rng.normal(size=300)


# --------------------------------------------------------------------------- a mean


def test_the_interval_holds_the_mean_and_is_the_one_of_the_normal_distribution(systems):
    values = list(systems[0].values())
    mean, low, high = bootstrap_interval(values)
    assert mean == pytest.approx(np.mean(values))
    error = stats.sem(values, ddof=0)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.15 * error)


def test_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    draws = rng.beta(0.4, 0.6, size=(300, 80))  # lopsided, as per-query scores are; the mean is 0.4
    intervals = [bootstrap_interval(values, samples=500, seed=i) for i, values in enumerate(draws)]
    assert 0.91 <= np.mean([low <= 0.4 <= high for _, low, high in intervals]) <= 0.98


def test_more_confidence_is_wider_and_more_queries_narrower():
    values = np.random.default_rng(0).random(400)

    def width(values, confidence=0.95):
        _, low, high = bootstrap_interval(values, confidence)
        return high - low

    assert width(values, 0.99) > width(values) > width(values, 0.8)
    assert width(values[:100]) > 1.5 * width(values)


def test_the_seed_decides(systems):
    assert bootstrap_interval(systems[0]) == bootstrap_interval(systems[0])
    assert bootstrap_interval(systems[0], seed=1) != bootstrap_interval(systems[0])
    assert paired_bootstrap(*systems) == paired_bootstrap(*systems)


def test_equal_values_have_no_width():
    assert bootstrap_interval([0.5] * 10) == pytest.approx((0.5, 0.5, 0.5))


def test_seeds_that_differ_widen_the_interval():
    queries = np.random.default_rng(0).random(200)
    same = [dict(enumerate(queries))] * 3
    different = [dict(enumerate(queries + shift)) for shift in (-0.1, 0, 0.1)]
    assert bootstrap_interval(same) == pytest.approx(bootstrap_interval(same[0]), abs=2e-3)
    assert bootstrap_interval(different).value == pytest.approx(queries.mean())
    assert bootstrap_interval(different).high - bootstrap_interval(different).low > 0.15


# --------------------------------------------------------------------------- a difference


def test_a_real_difference_is_found(systems):
    bm25, encoder = systems
    result = paired_bootstrap(bm25, encoder)
    assert result.difference == pytest.approx(np.mean(list(bm25.values())) - np.mean(list(encoder.values())))
    assert 0 < result.low < result.difference < result.high and result.p < 0.01


def test_a_system_does_not_differ_from_itself(systems):
    assert paired_bootstrap(systems[0], systems[0]) == (0, 0, 0, 1)


def test_exchanging_the_systems_turns_the_sign(systems):
    forward, backward = paired_bootstrap(*systems), paired_bootstrap(*systems[::-1])
    assert (backward.difference, backward.low, backward.high) == pytest.approx(
        (-forward.difference, -forward.high, -forward.low)
    )
    assert backward.p == forward.p


def test_pairing_finds_what_unpaired_intervals_hide():
    rng = np.random.default_rng(0)
    hard = rng.random(200)  # queries differ far more than systems do
    a, b = dict(enumerate(hard + 0.02 + 0.02 * rng.normal(size=200))), dict(enumerate(hard))
    assert bootstrap_interval(a).low < bootstrap_interval(b).value
    assert paired_bootstrap(a, b).low > 0


def test_queries_are_matched_by_id_not_by_order(systems):
    bm25, encoder = systems
    assert paired_bootstrap(bm25, dict(reversed(encoder.items()))) == paired_bootstrap(bm25, encoder)


def test_no_difference_is_called_real_one_time_in_twenty():
    rng = np.random.default_rng(0)
    results = [
        paired_bootstrap(dict(enumerate(a)), dict(enumerate(b)), samples=500, seed=i)
        for i, (a, b) in enumerate(rng.random((300, 2, 60)))
    ]
    assert 0.02 <= np.mean([r.p < 0.05 for r in results]) <= 0.09
    excluded = [not r.low <= 0 <= r.high for r in results]
    assert np.mean([e == (r.p < 0.05) for e, r in zip(excluded, results)]) > 0.98  # interval and p agree


def test_seeds_are_resampled_on_both_sides():
    queries = np.random.default_rng(0).random(100)
    a = [dict(enumerate(queries + shift)) for shift in (0.0, 0.02, 0.04)]
    b = [dict(enumerate(queries + shift)) for shift in (-0.02, 0.02)]
    one, many = paired_bootstrap(a[1], b[0]), paired_bootstrap(a, b)
    assert one.high - one.low == pytest.approx(0, abs=1e-9)  # every query gains the same
    assert many.difference == pytest.approx(0.02)
    assert many.low < many.difference < many.high
    assert paired_bootstrap(a, b[0]).difference == pytest.approx(0.04)  # a system without seeds, such as BM25


# --------------------------------------------------------------------------- a rank correlation


def test_resampled_correlations_are_scipys(correlated):
    scores, good, _ = correlated
    from course_lib.evaluation.significance import _resampled_counts, _spearman

    (counts,) = _resampled_counts(300, 20, np.random.default_rng(0))
    assert counts.sum(1).tolist() == [300] * 20
    for row in counts:
        drawn = np.repeat(np.arange(300), row.astype(int))
        ours = _spearman(row[None], good.round(1)[None], scores)
        assert ours == pytest.approx(stats.spearmanr(good.round(1)[drawn], scores[drawn]).statistic)


def test_the_interval_of_spearman_is_scipys(correlated):
    scores, good, _ = correlated
    ours = bootstrap_spearman(good, scores)
    assert ours.value == pytest.approx(stats.spearmanr(good, scores).statistic)
    theirs = stats.bootstrap(
        (good, scores),
        lambda x, y: stats.spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    assert ours[1:] == pytest.approx(theirs.confidence_interval, abs=0.006)


def test_a_better_correlation_is_found(correlated):
    scores, good, worse = correlated
    result = bootstrap_spearman(good, scores, worse)
    assert result.difference == pytest.approx(
        stats.spearmanr(good, scores).statistic - stats.spearmanr(worse, scores).statistic
    )
    assert 0 < result.low < result.difference < result.high and result.p < 0.01
    assert bootstrap_spearman(good, scores, good) == (0, 0, 0, 1)


def test_correlations_of_seeds_are_averaged_not_their_similarities(correlated):
    scores, _, worse = correlated
    rng = np.random.default_rng(1)
    seeds = [scores + 3 * rng.normal(size=300) for _ in range(3)]
    single = [stats.spearmanr(s, scores).statistic for s in seeds]
    result = bootstrap_spearman(seeds, scores)
    assert result.value == pytest.approx(np.mean(single))
    assert result.value < stats.spearmanr(np.mean(seeds, 0), scores).statistic - 0.1  # the ensemble is another system
    assert result.high - result.low > 0
    assert abs(bootstrap_spearman(seeds, scores, [worse, worse]).difference) < 0.2


def test_spearman_of_sts_b_size_is_fast(correlated):
    rng = np.random.default_rng(0)
    scores = rng.integers(26, size=1379) / 5
    a, b = scores + rng.normal(size=(2, 1379))
    began = time.process_time()
    bootstrap_spearman(a, scores, b)
    assert time.process_time() - began < 3  # 0.4 on a free processor; ranking every resample with scipy takes 5


def test_a_collapsed_encoder_has_no_interval(correlated):
    scores, good, _ = correlated
    assert all(math.isnan(v) for v in bootstrap_spearman(np.ones(300), scores))
    result = bootstrap_spearman(np.ones(300), scores, good)
    assert math.isnan(result.difference) and result.p == 1


# --------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "values, message",
    [
        ([], "holds 0 values"),
        ([0.5], "holds 1 values"),
        ({"q": 1.0}, "holds 1 values"),
        ([0.5, math.nan], "NaN"),
        ([{"a": 1, "b": 1}, {"a": 1, "c": 1}], "2 queries are measured on one side only, first 'b'"),
    ],
)
def test_values_without_an_interval(values, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values)


def test_other_queries_cannot_be_paired(systems):
    bm25, encoder = systems
    first, *rest = encoder
    with pytest.raises(ValueError, match="`b`: 1 queries are measured on one side only, first"):
        paired_bootstrap(bm25, {q: encoder[q] for q in rest})
    with pytest.raises(TypeError, match="must be {query id: value}"):
        paired_bootstrap([0.1, 0.2], [0.1, 0.3])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"confidence": 95}, "`confidence` is 95"),
        ({"confidence": 0}, "`confidence` is 0"),
        ({"samples": 0}, "`samples` is 0"),
    ],
)
def test_impossible_settings(arguments, message):
    for call in (
        lambda: bootstrap_interval([0.1, 0.2, 0.3], **arguments),
        lambda: paired_bootstrap({1: 0.1, 2: 0.2}, {1: 0.1, 2: 0.3}, **arguments),
        lambda: bootstrap_spearman([0.1, 0.2, 0.3], [1, 2, 3], **arguments),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    "similarities, scores, message",
    [
        ([0.1, 0.2], [1, 2, 3], r"`similarities_a` has shape \(2,\) for 3 `scores`"),
        ([0.1, 0.2, 0.3], [2, 2, 2], "`scores` are all 2"),
        ([0.1, 0.2, math.inf], [1, 2, 3], "`similarities_a` holds 1 values that are NaN or infinite"),
    ],
)
def test_pairs_that_cannot_be_correlated(similarities, scores, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_spearman(similarities, scores)


def test_measured_on_a_real_task_two_depths_of_one_ranking_differ_in_nothing_but_the_tail(lsa, task):
    queries, corpus, relevant = task
    whole = evaluate_retrieval(lsa, *task)["per_query"]["ndcg@10"]
    cut = evaluate_retrieval(lambda q, c: rank(lsa, q, c, depth=10), *task)["per_query"]["ndcg@10"]
    assert paired_bootstrap(whole, cut) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    "low, high, said",
    [
        (0.01, 0.03, "better"),
        (-0.03, -0.01, "worse"),
        (-0.01, 0.03, "cannot tell"),
        (0.0, 0.03, "cannot tell"),
        (-0.03, 0.0, "cannot tell"),
    ],
)
def test_verdict(low, high, said):
    assert verdict(Difference((low + high) / 2, low, high, 0.5)) == said
