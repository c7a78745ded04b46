"""Ranking metrics, by hand, and the evaluation of anything that ranks: an encoder, or a function such as BM25's."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import log2
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike

from course_lib.search.exact import EMBEDDINGS, Encoder, check_k, score_texts, similarity_of, top, unit_embeddings
from course_lib.texts.checks import check_texts

Texts = dict[str, str]  # {id: text}
Grades = dict[str, int]  # {corpus id: grade}
Rankings = dict[str, list[str]]  # {query id: [corpus ids, best first]}

# --------------------------------------------------------------------------- one query


def ndcg_at_k(ranked: Sequence[str], grades: Grades, k: int = 10) -> float:
    """Normalised discounted cumulative gain: each grade divided by log2(rank + 1), relative to the best order.

    Linear gain, as trec_eval and BEIR compute it (Järvelin and Kekäläinen, 2002).

    ranked: ids, best first, each at most once.
    grades: {id: grade}; ids with a grade above 0 are relevant, and ids without a grade are not.
    k: how many ranks count.
    Returns a value from 0 to 1; 0 where nothing is relevant.
    Raises ValueError for k < 1.
    """
    check_k(k)
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    ideal = _discounted(best[:k])
    return _discounted(max(grades.get(i, 0), 0) for i in ranked[:k]) / ideal if ideal else 0.0


def _discounted(gains):
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, 1))


def ndcg_of_pairs(queries: ArrayLike, texts: ArrayLike, k: int = 10) -> np.ndarray:
    """nDCG@k of every query among all texts, where its only answer is the text of the same row: 1 / log2(1 + its rank).

    queries, texts: (N, d), compared by dot product; pass rows of length 1 for cosines. A tie counts against the query.
    k: how many ranks count.
    Returns (N,) float32, 0 for an answer after rank k.
    Raises ValueError for k < 1.
    """
    check_k(k)
    scores = np.asarray(queries) @ np.asarray(texts).T
    ranks = (scores >= scores.diagonal()[:, None]).sum(1)
    return np.where(ranks <= k, 1 / np.log2(1.0 + ranks), 0.0).astype(np.float32)


def average_precision(ranked: Sequence[str], grades: Grades) -> float:
    """Mean over the relevant ids of the precision at their rank; an id that is not ranked counts 0.

    ranked, grades: as in `ndcg_at_k`. Returns a value from 0 to 1.
    """
    relevant = _relevant(grades)
    found = [rank for rank, i in enumerate(ranked, 1) if i in relevant]
    return sum(count / rank for count, rank in enumerate(found, 1)) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranked: Sequence[str], grades: Grades, k: int = 10) -> float:
    """1 / rank of the first relevant id; 0 where none is among the first k.

    ranked, grades, k: as in `ndcg_at_k`. Returns a value from 0 to 1.
    """
    check_k(k)
    relevant = _relevant(grades)
    return next((1 / rank for rank, i in enumerate(ranked[:k], 1) if i in relevant), 0.0)


def recall_at_k(ranked: Sequence[str], grades: Grades, k: int = 100) -> float:
    """Share of the relevant ids that are among the first k; 0 where nothing is relevant.

    ranked, grades, k: as in `ndcg_at_k`. Returns a value from 0 to 1.
    """
    check_k(k)
    relevant = _relevant(grades)
    return len(relevant.intersection(ranked[:k])) / len(relevant) if relevant else 0.0


def _relevant(grades):
    return {i for i, grade in grades.items() if grade > 0}


# --------------------------------------------------------------------------- many queries


def score_rankings(
    rankings: Rankings | Iterable[tuple[str, list[str]]], relevant: dict[str, Grades], k: int = 10
) -> dict[str, dict[str, float]]:
    """Compute every metric for every query that has a relevant document.

    rankings: {query id: [corpus ids, best first]}, or pairs of the two.
    relevant: {query id: {corpus id: grade}}.
    k: how many ranks count in nDCG and MRR.
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
        values[f"ndcg@{k}"][query] = ndcg_at_k(ranked, grades, k)
        values["map"][query] = average_precision(ranked, grades)
        values[f"mrr@{k}"][query] = reciprocal_rank(ranked, grades, k)
        values["recall@100"][query] = recall_at_k(ranked, grades, 100)
    if judged:
        which = f"{len(judged)} judged queries, first {next(iter(judged))!r}"
        raise ValueError(f"`rankings` lacks {which}; pass an empty list where nothing was found")
    return values


def rank(encoder: Encoder, queries: Texts, corpus: Texts, depth: int | None = None, batch_size: int = 64) -> Rankings:
    """Order a corpus for each query by the encoder's similarity; encodes each distinct text once.

    encoder: anything with `.encode(texts, batch_size=…)`; ranked by its own `similarity` if it has one, else by cosine.
    queries, corpus: {id: text}.
    depth: how many ids to keep per query; None for all.
    batch_size: texts per batch while encoding.
    Returns {query id: [corpus ids, best first]}; equal scores are in the order of the corpus.
    Raises ValueError for an encoder whose similarity is neither "cosine" nor "dot".
    """
    return dict(_rank_each(encoder, queries, corpus, depth, batch_size))


def _rank_each(encoder, queries, corpus, depth, batch_size):
    """Yield the rankings of `rank` query by query, so that a large corpus is never ranked for all queries at once."""
    ids = list(corpus)
    rows, row_of = EMBEDDINGS[similarity_of(encoder)](encoder, [*queries.values(), *corpus.values()], batch_size)
    of_queries, of_corpus = row_of[: len(queries)], row_of[len(queries) :]
    for query, scores in zip(queries, score_texts(rows[of_queries], rows, of_corpus)):
        yield query, [ids[i] for i in top(scores, depth).tolist()]


def neutral_order(ids: Iterable) -> list:
    """Sort ids by their hash, which is the same in every process.

    Where scores are equal, rankers keep the order of the corpus. Corpora often begin with the answers, and an encoder
    that gives every text the same vector would then seem perfect.
    """
    return sorted(ids, key=_hash)


def _hash(i):
    return blake2b(str(i).encode(errors="replace"), digest_size=8).digest()


# --------------------------------------------------------------------------- evaluation


def evaluate_retrieval(
    encoder: Encoder | Callable[[Texts, Texts], Rankings],
    queries: Texts,
    corpus: Texts,
    relevant: dict[str, Grades],
    k: int = 10,
    drop_identical: bool = False,
    batch_size: int = 64,
) -> dict:
    """Measure how well an encoder or another ranker finds the relevant documents among all.

    encoder: anything with `.encode(texts, batch_size=…)`, which ranks as in `rank`; or a function of (queries, corpus),
        or an object with such a `.rank`, that returns {query id: [corpus ids, best first]}.
    queries, corpus: {id: text}.
    relevant: {query id: {corpus id: grade}}; queries without a grade above 0 are left out.
    k: how many ranks count in nDCG and MRR.
    drop_identical: whether to leave a document out of the candidates of the query with the same id, as BEIR does.
    batch_size: texts per batch while encoding.
    Returns the means over queries, ndcg@k, map, mrr@k and recall@100, each 0 to 1, and per_query, as `score_rankings`.
        Equal scores are ordered by `neutral_order`, so the order of the corpus changes nothing.
    Raises ValueError for empty arguments, k < 1, and ids in `relevant` that are not in `queries` or `corpus`; TypeError
        for arguments of another type.
    """
    check_k(k)
    _check_judgements(queries, corpus, relevant)
    if drop_identical:
        relevant = {query: {i: g for i, g in grades.items() if i != query} for query, grades in relevant.items()}
    judged = {query: text for query, text in queries.items() if _relevant(relevant.get(query, {}))}
    if not judged:
        raise ValueError(f"`relevant` has no grade above 0 for any of the {len(queries)} `queries`; grade at least one")
    rankings = _rankings(encoder, judged, {i: corpus[i] for i in neutral_order(corpus)}, batch_size)
    if drop_identical:
        rankings = ((query, [i for i in ranked if i != query]) for query, ranked in rankings)
    return _with_means(score_rankings(rankings, relevant, k))


def _rankings(encoder, queries, corpus, batch_size):
    if hasattr(encoder, "encode"):
        return _rank_each(encoder, queries, corpus, None, batch_size)
    ranker = getattr(encoder, "rank", encoder)
    if not callable(ranker):
        expected = "an encoder, or a function of (queries, corpus) that returns {query id: [corpus ids, best first]}"
        raise TypeError(f"`encoder` is a {type(encoder).__name__}; pass {expected}")
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
            kind = type(grades).__name__
            raise TypeError(f"`relevant`[{query!r}] is a {kind}; pass {{corpus id: grade}}, with grade 1 for relevant")
    unknown_queries = [query for query in relevant if query not in queries]
    unknown_texts = [i for grades in relevant.values() for i in grades if i not in corpus]
    for kind, unknown in (("query", unknown_queries), ("corpus", unknown_texts)):
        if unknown:
            which = f"{len(unknown)} {kind} ids that are not there, first {unknown[0]!r}"
            raise ValueError(f"`relevant` names {which}; drop them, or give ids the same type everywhere")


def evaluate_reranking(encoder: Encoder, samples: Sequence[dict], k: int = 10, batch_size: int = 64) -> dict:
    """Measure how well an encoder orders each query's own candidates by cosine, as Sentence Transformers does.

    encoder: anything with `.encode(texts, batch_size=…)`.
    samples: dicts of "query" (a text), "positive" and "negative" (a text or several each). A sample without a positive
        or without a negative has no order to measure and is left out, as in Sentence Transformers' RerankingEvaluator.
    k: how many ranks count in nDCG and MRR.
    batch_size: texts per batch while encoding.
    Returns the means map, mrr@k and ndcg@k, each 0 to 1, and per_query: {metric: {position in samples: value}}. Equal
        scores are ordered by a hash of the texts.
    Raises ValueError where no sample is left, TypeError for a text that is not a string.
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
