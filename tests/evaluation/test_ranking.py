import random
from math import log2

import numpy as np
import pytest
import torch

from course_lib.evaluation import (
    average_precision,
    evaluate_reranking,
    evaluate_retrieval,
    evaluate_sts,
    ndcg_at_k,
    ndcg_of_pairs,
    rank,
    recall_at_k,
    reciprocal_rank,
    score_rankings,
)
from course_lib.search import rank_bm25

METRICS = {"ndcg@10", "map", "mrr@10", "recall@100"}


def graded(seed):
    """A random ranking of 150 documents and grades 0 to 3 for 20 of them."""
    rng = random.Random(seed)
    ranked = [f"d{i}" for i in range(150)]
    rng.shuffle(ranked)
    return ranked, {i: rng.randint(0, 3) for i in rng.sample(ranked, 20)} | {ranked[75]: 1}


def all_metrics(ranked, grades):
    return [
        ndcg_at_k(ranked, grades),
        average_precision(ranked, grades),
        reciprocal_rank(ranked, grades),
        recall_at_k(ranked, grades),
    ]


# --------------------------------------------------------------------------- one query


def test_metrics_by_hand():
    ranked, grades = ["a", "b", "c", "d"], {"b": 2, "d": 1, "e": 1, "a": 0}
    assert ndcg_at_k(ranked, grades) == pytest.approx((2 / log2(3) + 1 / log2(5)) / (2 + 1 / log2(3) + 1 / log2(4)))
    assert ndcg_at_k(ranked, grades, k=1) == 0
    assert average_precision(ranked, grades) == pytest.approx((1 / 2 + 2 / 4 + 0) / 3)
    assert reciprocal_rank(ranked, grades) == 1 / 2
    assert reciprocal_rank(ranked, grades, k=1) == 0
    assert recall_at_k(ranked, grades) == pytest.approx(2 / 3)
    assert recall_at_k(ranked, grades, k=2) == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_ranking_is_1(seed):
    ranked, grades = graded(seed)
    perfect = sorted(ranked, key=lambda i: -grades.get(i, 0))
    assert all_metrics(perfect, grades) == pytest.approx([1, 1, 1, 1])
    assert all(value < 1 for value in all_metrics(perfect[::-1], grades))


@pytest.mark.parametrize("seed", range(5))
def test_moving_a_better_document_up_never_hurts(seed):
    ranked, grades = graded(seed)
    for upper in range(100):
        if grades.get(ranked[upper + 1], 0) > grades.get(ranked[upper], 0):
            before = all_metrics(ranked, grades)
            ranked[upper], ranked[upper + 1] = ranked[upper + 1], ranked[upper]
            assert all(new >= old - 1e-12 for new, old in zip(all_metrics(ranked, grades), before))


@pytest.mark.parametrize("k", [3, 10])
def test_pairs_are_ranked_like_any_other_queries(k):
    queries, noise = np.random.default_rng(0).normal(size=(2, 40, 8)).astype(np.float32)
    texts = queries + noise
    by_hand = [ndcg_at_k(np.argsort(-(texts @ query)).tolist(), {row: 1}, k) for row, query in enumerate(queries)]
    assert ndcg_of_pairs(queries, torch.tensor(texts), k) == pytest.approx(by_hand, abs=1e-6)
    assert 0 in by_hand and max(by_hand) == 1


def test_a_tie_counts_against_a_pair():
    collapsed = np.ones((5, 2), dtype=np.float32)
    assert ndcg_of_pairs(collapsed, collapsed) == pytest.approx([1 / log2(6)] * 5)
    assert not ndcg_of_pairs(collapsed, collapsed, k=4).any()


def test_nothing_relevant_is_0():
    assert all_metrics(["a", "b"], {"a": 0, "b": -1}) == [0, 0, 0, 0]


@pytest.mark.parametrize("metric", [ndcg_at_k, reciprocal_rank, recall_at_k])
def test_k_counts_something(metric):
    with pytest.raises(ValueError, match="`k` is 0"):
        metric(["a"], {"a": 1}, k=0)


# --------------------------------------------------------------------------- many queries


def test_score_rankings_keeps_the_queries_apart():
    rankings = dict(enumerate(graded(seed)[0] for seed in range(3)))
    relevant = dict(enumerate(graded(seed)[1] for seed in range(3)))
    values = score_rankings(rankings, relevant)
    assert set(values) == METRICS
    for query in rankings:
        assert [values[m][query] for m in ("ndcg@10", "map", "mrr@10", "recall@100")] == pytest.approx(
            all_metrics(rankings[query], relevant[query])
        )


def test_queries_without_relevant_documents_are_left_out():
    rankings = {"q": ["a"], "unjudged": ["a"], "nothing": ["a"]}
    values = score_rankings(rankings, {"q": {"a": 1}, "nothing": {"a": 0}}, k=5)
    assert values == {"ndcg@5": {"q": 1}, "map": {"q": 1}, "mrr@5": {"q": 1}, "recall@100": {"q": 1}}


def test_an_empty_ranking_is_0_and_a_missing_one_an_error():
    relevant = {"q": {"a": 1}, "r": {"a": 1}}
    assert score_rankings({"q": [], "r": ["a"]}, relevant)["map"] == {"q": 0, "r": 1}
    with pytest.raises(ValueError, match="lacks 1 judged queries, first 'r'"):
        score_rankings({"q": []}, relevant)


def test_a_document_cannot_be_ranked_twice():
    with pytest.raises(ValueError, match="names an id twice"):
        score_rankings({"q": ["a", "a"]}, {"q": {"a": 1}})


# --------------------------------------------------------------------------- retrieval


def test_an_encoder_is_better_than_chance_and_worse_than_perfect(lsa, task):
    result = evaluate_retrieval(lsa, *task)
    assert set(result) == METRICS | {"per_query"}
    chance = 1 / len(task[1]) * sum(1 / log2(r + 1) for r in range(1, 11))
    assert 4 * chance < result["ndcg@10"] < 0.95
    for metric in METRICS:
        assert set(result["per_query"][metric]) == set(task[0])
        assert result[metric] == pytest.approx(np.mean(list(result["per_query"][metric].values())))


def test_encoder_function_and_object_are_measured_alike(lsa, task):
    class Ranker:
        def rank(self, queries, corpus):
            return rank(lsa, queries, corpus)

    expected = evaluate_retrieval(lsa, *task)
    assert evaluate_retrieval(lambda queries, corpus: rank(lsa, queries, corpus), *task) == expected
    assert evaluate_retrieval(Ranker(), *task) == expected


def test_bm25_is_measured_like_an_encoder(lsa, task):
    assert evaluate_retrieval(rank_bm25, *task)["ndcg@10"] > evaluate_retrieval(lsa, *task)["ndcg@10"]


@pytest.mark.parametrize("system", ["lsa", "bm25"])
def test_the_order_of_queries_and_corpus_changes_nothing(lsa, task, system):
    queries, corpus, relevant = task
    ranker = lsa if system == "lsa" else rank_bm25
    shuffled = random.Random(0).sample(list(corpus.items()), len(corpus))
    turned = evaluate_retrieval(ranker, dict(reversed(queries.items())), dict(shuffled), relevant)
    expected = evaluate_retrieval(ranker, *task)
    for metric in METRICS:
        assert turned["per_query"][metric] == pytest.approx(expected["per_query"][metric])


def test_a_collapsed_encoder_gets_nothing_from_answers_that_come_first(task):
    class Collapsed:
        def encode(self, texts, batch_size=64):
            return np.ones((len(texts), 8), dtype=np.float32)

    result = evaluate_retrieval(Collapsed(), *task)
    assert result["ndcg@10"] < 0.1  # 0.45 of the answers would be found if ties kept the corpus's order
    assert 0.25 < result["recall@100"] < 0.75  # a random order of 200 finds half


def test_rank_orders_by_cosine_and_breaks_ties_by_the_corpus(lsa, task):
    queries, corpus, _ = task
    twice = corpus | {f"{i} again": text for i, text in corpus.items()}
    rankings = rank(lsa, queries, twice)
    q, c = (lsa.encode(list(texts.values())).astype(float) for texts in (queries, corpus))
    cosines = q @ c.T / np.maximum(np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(c, axis=1), 1e-12)
    ids = list(twice)
    for query, of_query in zip(queries, cosines):
        positions = [ids.index(i) for i in rankings[query]]
        assert sorted(positions) == list(range(len(twice)))
        ranked = np.concatenate([of_query, of_query])[positions]
        np.testing.assert_allclose(ranked, sorted(ranked, reverse=True), atol=1e-6)
        for i in range(len(corpus)):  # the copy of a text follows the text
            assert positions.index(i) < positions.index(i + len(corpus))


def test_an_encoder_is_ranked_by_its_own_similarity(shallow, task):
    queries, corpus, relevant = task
    encoder, ids = shallow(max_length=32), list(corpus)
    by_cosine, measured = rank(encoder, queries, corpus), evaluate_retrieval(encoder, *task)
    sts = evaluate_sts(encoder, ids[:20], ids[20:40], range(20))
    encoder.similarity = "dot"
    by_dot = rank(encoder, queries, corpus)
    assert by_dot != by_cosine
    q, c = (encoder.encode(list(texts.values())).astype(float) for texts in (queries, corpus))
    for query, scores in zip(queries, q @ c.T):
        ranked = scores[[ids.index(i) for i in by_dot[query]]]
        np.testing.assert_allclose(ranked, sorted(ranked, reverse=True), atol=1e-4)
    assert evaluate_retrieval(encoder, *task) == evaluate_retrieval(lambda q, c: rank(encoder, q, c), *task) != measured
    assert evaluate_sts(encoder, ids[:20], ids[20:40], range(20)) == sts  # cosines whatever the encoder says
    encoder.similarity = "euclid"
    with pytest.raises(ValueError, match="similarity is 'euclid'; choose one of cosine, dot"):
        evaluate_retrieval(encoder, *task)


def test_depth_is_the_head_of_the_whole_ranking(lsa, task):
    queries, corpus, _ = task
    whole = rank(lsa, queries, corpus)
    assert rank(lsa, queries, corpus, depth=7) == {q: ranked[:7] for q, ranked in whole.items()}


def test_scores_held_in_memory_change_nothing(lsa, task, monkeypatch):
    expected = evaluate_retrieval(lsa, *task)
    monkeypatch.setattr("course_lib.search.exact.SCORES_HELD", 1)  # one query at a time
    result = evaluate_retrieval(lsa, *task)
    for metric in METRICS:
        assert result["per_query"][metric] == pytest.approx(expected["per_query"][metric])


def test_each_distinct_text_is_encoded_once(lsa, task):
    queries, corpus, relevant = task
    lsa.encoded.clear()
    evaluate_retrieval(
        lsa,
        queries | {"asked again": next(iter(corpus.values()))},
        corpus | {f"{i} again": text for i, text in corpus.items()},
        relevant | {"asked again": {next(iter(corpus)): 1}},
    )
    assert sorted(lsa.encoded) == sorted({*queries.values(), *corpus.values()})


def test_drop_identical_takes_the_query_itself_out(lsa, docs):
    see_also = docs.validation.tasks["see_also"]
    queries = dict(list(see_also.queries.items())[:20])
    corpus = queries | {i: see_also.corpus[i] for q in queries for i in see_also.relevant[q]}
    relevant = {q: see_also.relevant[q] for q in queries}
    kept = evaluate_retrieval(lsa, queries, corpus, relevant)
    dropped = evaluate_retrieval(lsa, queries, corpus, relevant, drop_identical=True)
    assert kept["mrr@10"] < 0.5  # nearly every query finds itself first
    assert dropped["mrr@10"] > kept["mrr@10"]
    with_itself = {q: {**grades, q: 1} for q, grades in relevant.items()}
    assert evaluate_retrieval(lsa, queries, corpus, with_itself, drop_identical=True) == dropped


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"queries": {}}, ValueError, "`queries` is empty"),
        ({"corpus": {}}, ValueError, "`corpus` is empty"),
        ({"relevant": {}}, ValueError, "`relevant` is empty"),
        ({"queries": ["a text"]}, TypeError, "`queries` is a list; pass a dict"),
        ({"queries": {"q": None}}, TypeError, r"`queries`\['q'\] is None"),
        ({"corpus": {"d": "a", "e": 3.0}}, TypeError, r"`corpus`\['e'\] is 3.0, a float"),
        ({"relevant": {"q": {"d": 1}, "x": {"d": 1}, "y": {"d": 1}}}, ValueError, "names 2 query ids .* first 'x'"),
        ({"relevant": {"q": {"d": 1, "z": 1}}}, ValueError, "names 1 corpus ids .* first 'z'"),
        ({"relevant": {"q": {"d"}}}, TypeError, r"`relevant`\['q'\] is a set"),
        ({"relevant": {"q": {"d": 0}}}, ValueError, "no grade above 0 for any of the 1 `queries`"),
        ({"k": 0}, ValueError, "`k` is 0"),
        ({"encoder": 3}, TypeError, "`encoder` is a int"),
        ({"encoder": lambda queries, corpus: {}}, ValueError, "lacks 1 judged queries"),
    ],
)
def test_bad_input_is_named(lsa, change, error, message):
    good = {
        "encoder": lsa,
        "queries": {"q": "an array"},
        "corpus": {"d": "the array", "e": "a class"},
        "relevant": {"q": {"d": 1}},
    }
    assert evaluate_retrieval(**good)["map"] == 1
    with pytest.raises(error, match=message):
        evaluate_retrieval(**good | change)


# --------------------------------------------------------------------------- re-ranking


@pytest.fixture(scope="module")
def samples(task):
    queries, corpus, relevant = task
    drawn = {q: random.Random(q).sample(list(corpus), 20) for q in queries}
    return [
        {
            "query": queries[q],
            "positive": [corpus[i] for i in relevant[q]],
            "negative": [corpus[i] for i in drawn[q] if i not in relevant[q]],
        }
        for q in queries
    ]


def test_reranking_is_retrieval_among_each_querys_own_candidates(lsa, samples):
    result = evaluate_reranking(lsa, samples)
    assert set(result) == {"map", "mrr@10", "ndcg@10", "per_query"}
    for i, s in enumerate(samples):
        corpus = dict(enumerate([*s["negative"], *s["positive"]]))
        alone = evaluate_retrieval(lsa, {"q": s["query"]}, corpus, {"q": {len(corpus) - 1: 1}})
        for metric in ("map", "mrr@10", "ndcg@10"):
            assert result["per_query"][metric][i] == pytest.approx(alone[metric])


def test_a_single_positive_needs_no_list(lsa, samples):
    bare = [s | {"positive": s["positive"][0]} for s in samples]
    assert evaluate_reranking(lsa, bare) == evaluate_reranking(lsa, samples)


def test_samples_that_cannot_be_ordered_are_left_out(lsa, samples):
    more = [samples[0] | {"negative": []}, *samples, samples[0] | {"positive": []}]
    result, expected = evaluate_reranking(lsa, more), evaluate_reranking(lsa, samples)
    assert result["map"] == pytest.approx(expected["map"])
    assert list(result["per_query"]["map"]) == list(range(1, 1 + len(samples)))


def test_a_collapsed_encoder_reranks_at_chance(samples):
    class Collapsed:
        def encode(self, texts, batch_size=64):
            return np.ones((len(texts), 8), dtype=np.float32)

    assert 0.05 < evaluate_reranking(Collapsed(), samples)["map"] < 0.35  # chance with 21 candidates: 0.17


@pytest.mark.parametrize(
    "samples, error, message",
    [
        ([], ValueError, "none of the 0 `samples`"),
        ([{"query": "a", "positive": ["b"], "negative": []}], ValueError, "none of the 1 `samples`"),
        ([{"query": "a", "positive": ["b"]}], ValueError, r"`samples`\[0\] has no 'negative'"),
        ([{"query": None, "positive": ["b"], "negative": ["c"]}], TypeError, r"samples\[0\]\[query\]"),
        ([{"query": "a", "positive": ["b", 3], "negative": ["c"]}], TypeError, r"samples\[0\]\[positive\]`\[1\] is 3"),
    ],
)
def test_bad_samples_are_named(lsa, samples, error, message):
    with pytest.raises(error, match=message):
        evaluate_reranking(lsa, samples)
