"""Ranking metrics, by hand, and the evaluation of whatever ranks: an encoder, or a function such as BM25's."""

from collections.abc import Mapping
from hashlib import blake2b
from math import log2
from statistics import fmean

import numpy as np

from course_lib.search.exact import check_k, cosine_scores, top, unit_embeddings
from course_lib.texts.checks import check_texts

# --------------------------------------------------------------------------- one query
#
# ranked: ids, best first, none twice. grades: {id: grade}; a grade above 0 is relevant, an id without one is not.


def ndcg_at_k(ranked, grades, k=10):
    """Normalised discounted cumulative gain: each grade divided by log2(rank + 1), relative to the best order; 0 to 1.

    Linear gain, as trec_eval and BEIR compute it (Järvelin and Kekäläinen, 2002). 0 where nothing is relevant.
    """
    check_k(k)
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    ideal = _discounted(best[:k])
    return _discounted(max(grades.get(i, 0), 0) for i in ranked[:k]) / ideal if ideal else 0.0


def _discounted(gains):
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, 1))


def ndcg_of_pairs(queries, texts, k=10):
    """nDCG@k of every query among all texts, where its one answer is the text of its own row: 1 / log2(1 + rank of it).

    queries, texts: (N, d), compared by dot product; give them length 1 for cosines. Returns float32 (N,), 0 below rank k. A tie
    counts against the query.
    """
    check_k(k)
    scores = np.asarray(queries) @ np.asarray(texts).T
    ranks = (scores >= scores.diagonal()[:, None]).sum(1)
    return np.where(ranks <= k, 1 / np.log2(1.0 + ranks), 0.0).astype(np.float32)


def average_precision(ranked, grades):
    """Mean over the relevant ids of the precision at their rank; one that is not ranked counts 0. 0 to 1."""
    relevant = _relevant(grades)
    found = [rank for rank, i in enumerate(ranked, 1) if i in relevant]
    return sum(count / rank for count, rank in enumerate(found, 1)) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranked, grades, k=10):
    """1 / rank of the first relevant id; 0 where none is among the first k."""
    check_k(k)
    relevant = _relevant(grades)
    return next((1 / rank for rank, i in enumerate(ranked[:k], 1) if i in relevant), 0.0)


def recall_at_k(ranked, grades, k=100):
    """Share of the relevant ids that are among the first k; 0 where nothing is relevant."""
    check_k(k)
    relevant = _relevant(grades)
    return len(relevant.intersection(ranked[:k])) / len(relevant) if relevant else 0.0


def _relevant(grades):
    return {i for i, grade in grades.items() if grade > 0}


# --------------------------------------------------------------------------- many queries


def score_rankings(rankings, relevant, k=10):
    """Every metric of every query that has a relevant document.

    rankings: {query id: [corpus ids, best first]}, or pairs of the two. relevant: {query id: {corpus id: grade}}.
    Returns {metric: {query id: value}}; the metrics are ndcg@k, map (over the complete ranking), mrr@k and recall@100.
    Raises ValueError where a judged query has no ranking (an empty one scores 0) or a ranking names an id twice.
    """
    check_k(k)
    judged = {query: grades for query, grades in relevant.items() if _relevant(grades)}
    values = {f"ndcg@{k}": {}, "map": {}, f"mrr@{k}": {}, "recall@100": {}}
    for query, ranked in rankings.items() if isinstance(rankings, Mapping) else rankings:
        grades = judged.pop(query, None)
        if grades is None:
            continue
        if len(set(ranked)) < len(ranked):
            raise ValueError(f"the ranking of query {query!r} names an id twice; every document has one rank")
        scores = (
            ndcg_at_k(ranked, grades, k),
            average_precision(ranked, grades),
            reciprocal_rank(ranked, grades, k),
            recall_at_k(ranked, grades, 100),
        )
        for of_query, score in zip(values.values(), scores):
            of_query[query] = score
    if judged:
        raise ValueError(
            f"`rankings` lacks {len(judged)} judged queries, first {next(iter(judged))!r}; "
            "give a query for which nothing was found an empty list"
        )
    return values


def rank(encoder, queries, corpus, depth=None, batch_size=64):
    """Order a corpus for each query by cosine.

    queries, corpus: {id: text}. depth: how many to keep, None for all. Returns {query id: [corpus ids]}, best first;
    equal scores in the order of the corpus. Each distinct text is encoded once.
    """
    return dict(_rank_each(encoder, queries, corpus, depth, batch_size))


def _rank_each(encoder, queries, corpus, depth, batch_size):
    """Yield what `rank` returns query by query, so that a large corpus is never ranked for all queries at once."""
    ids = list(corpus)
    rows, row_of = unit_embeddings(encoder, [*queries.values(), *corpus.values()], batch_size)
    of_queries, of_corpus = row_of[: len(queries)], row_of[len(queries) :]
    for query, scores in zip(queries, cosine_scores(rows[of_queries], rows, of_corpus)):
        yield query, [ids[i] for i in top(scores, depth).tolist()]


def neutral_order(ids):
    """The ids in an order that nobody chose: by hash, the same in every process.

    Where scores are equal, rankers keep the order they are given. Corpora often come with the answers first, and an
    encoder that gives every text one vector would then seem perfect.
    """
    return sorted(ids, key=_hash)


def _hash(i):
    return blake2b(str(i).encode(errors="replace"), digest_size=8).digest()


# --------------------------------------------------------------------------- evaluation


def evaluate_retrieval(encoder, queries, corpus, relevant, k=10, drop_identical=False, batch_size=64):
    """How well a system finds the relevant documents among all.

    encoder: whatever has `.encode(texts, batch_size=…)`, ranked by cosine; or a ranker, a function of (queries, corpus)
    or an object with such a `.rank`, that returns {query id: [corpus ids, best first]}.
    queries, corpus: {id: text}. relevant: {query id: {corpus id: grade}}; queries without a grade above 0 are left out.
    drop_identical: a document is no candidate for the query of the same id (BEIR's custom).
    Returns the means over queries, ndcg@k, map, mrr@k and recall@100, each 0 to 1, and per_query, as `score_rankings`.
    Equal scores are ordered by `neutral_order`, so the order of the corpus changes nothing.
    Raises ValueError for empty arguments, k < 1, and `relevant` naming ids that are not there.
    """
    check_k(k)
    _check_judgements(queries, corpus, relevant)
    if drop_identical:
        relevant = {query: {i: g for i, g in grades.items() if i != query} for query, grades in relevant.items()}
    judged = {query: text for query, text in queries.items() if _relevant(relevant.get(query, {}))}
    if not judged:
        raise ValueError(
            f"`relevant` has no grade above 0 for any of the {len(queries)} `queries`; there is nothing to measure"
        )
    rankings = _rankings(encoder, judged, {i: corpus[i] for i in neutral_order(corpus)}, batch_size)
    if drop_identical:
        rankings = ((query, [i for i in ranked if i != query]) for query, ranked in rankings)
    return _with_means(score_rankings(rankings, relevant, k))


def _rankings(encoder, queries, corpus, batch_size):
    if hasattr(encoder, "encode"):
        return _rank_each(encoder, queries, corpus, None, batch_size)
    ranker = getattr(encoder, "rank", encoder)
    if not callable(ranker):
        raise TypeError(
            f"`encoder` is a {type(encoder).__name__}; pass something with `.encode(texts)`, or a function "
            "of (queries, corpus) that returns {query id: [corpus ids, best first]}"
        )
    return ranker(queries, corpus).items()


def _with_means(per_query):
    return {**{metric: fmean(values.values()) for metric, values in per_query.items()}, "per_query": per_query}


def _check_judgements(queries, corpus, relevant):
    for name, value in (("queries", queries), ("corpus", corpus), ("relevant", relevant)):
        if not isinstance(value, Mapping):
            raise TypeError(f"`{name}` is a {type(value).__name__}; pass a dict by id")
        if not value:
            raise ValueError(f"`{name}` is empty; there is nothing to measure")
    check_texts(list(queries.values()), "queries", list(queries))
    check_texts(list(corpus.values()), "corpus", list(corpus))
    for query, grades in relevant.items():
        if not isinstance(grades, Mapping):
            raise TypeError(
                f"`relevant`[{query!r}] is a {type(grades).__name__}; "
                "pass {corpus id: grade}, with grade 1 for relevant"
            )
    _check_known("query", [query for query in relevant if query not in queries])
    _check_known("corpus", [i for grades in relevant.values() for i in grades if i not in corpus])


def _check_known(kind, unknown):
    if unknown:
        raise ValueError(
            f"`relevant` names {len(unknown)} {kind} ids that are not there, first {unknown[0]!r}; "
            "drop them, or check that ids have the same type everywhere"
        )


def evaluate_reranking(encoder, samples, k=10, batch_size=64):
    """How well an encoder orders each query's own candidates by cosine.

    samples: dicts of "query" (a text), "positive" and "negative" (texts). A sample without a positive or without a
    negative says nothing about the order and is left out, as in Sentence Transformers' RerankingEvaluator.
    Returns the means map, mrr@k and ndcg@k, each 0 to 1, and per_query: {metric: {position in samples: value}}.
    Equal scores are ordered by a hash of the texts. Raises ValueError where no sample is left.
    """
    check_k(k)
    kept = {i: sample for i, sample in enumerate(map(_checked, samples, range(len(samples)))) if all(sample[1:])}
    if not kept:
        raise ValueError(f"none of the {len(samples)} `samples` has both a positive and a negative text to tell apart")
    texts = [text for query, positives, negatives in kept.values() for text in (query, *positives, *negatives)]
    rows, row_of = unit_embeddings(encoder, texts, batch_size)
    row_of = dict(zip(texts, row_of.tolist()))
    rankings, relevant = {}, {}
    for i, (query, positives, negatives) in kept.items():
        candidates = [*negatives, *positives]
        order = sorted(range(len(candidates)), key=lambda j: _hash(candidates[j]))
        scores = rows[[row_of[candidates[j]] for j in order]] @ rows[row_of[query]]
        rankings[i] = [order[j] for j in top(scores)]
        relevant[i] = dict.fromkeys(range(len(negatives), len(candidates)), 1)
    per_query = score_rankings(rankings, relevant, k)
    return _with_means({metric: per_query[metric] for metric in ("map", f"mrr@{k}", f"ndcg@{k}")})


def _checked(sample, position):
    """A sample as (query, positives, negatives), a single positive or negative put into a list."""
    missing = [key for key in ("query", "positive", "negative") if key not in sample]
    if missing:
        raise ValueError(f"`samples`[{position}] has no {missing[0]!r}; each needs 'query', 'positive' and 'negative'")
    sides = [[sample["query"]]]
    sides += [[sample[key]] if isinstance(sample[key], str) else list(sample[key]) for key in ("positive", "negative")]
    for name, texts in zip(("query", "positive", "negative"), sides):
        check_texts(texts, f"samples[{position}][{name}]")
    return sample["query"], *sides[1:]
