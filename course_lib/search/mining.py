"""Hard negatives: texts that a search finds for a query although they do not answer it."""

from collections.abc import Mapping

from tqdm.auto import tqdm

from course_lib.search.exact import Searcher, check_k

QUERIES_AT_ONCE = 256


def mine_hard_negatives(
    queries: dict[str, str],
    corpus: dict[str, str],
    relevant: dict[str, dict[str, int]],
    retrievers: dict[str, Searcher],
    per_retriever: int = 50,
    progress: bool = False,
) -> dict[str, dict[str, dict[str, int]]]:
    """Collect the texts that each retriever finds for each query and that do not answer it.

    Left out are the relevant texts, every text equal to one of them or to the query, and all but the first of equal
    negatives. Texts are compared as lower-case words.

    queries, corpus: {id: text}.
    relevant: {query id: {corpus id: grade}}, as for `evaluate_retrieval`.
    retrievers: {name: searcher over the corpus}, best of different kinds, such as BM25Search and ExactSearch: one finds
        texts that share words with the query, the other texts that share its meaning.
    per_retriever: the most negatives from each retriever; 50 as in GPL (Wang et al., 2022).
    progress: whether to show a bar.
    Returns {query id: {corpus id: {retriever: rank}}}. Ranks count from 1 among the negatives that are left. The first
        negatives of all retrievers come before the second of any.
    Raises ValueError where a query has no relevant text or a retriever searches another corpus, TypeError for
        retrievers that are not a dict.
    """
    check_k(per_retriever)
    if not isinstance(retrievers, Mapping) or not retrievers:
        raise TypeError("`retrievers` must be a dict of name → searcher, such as {'bm25': BM25Search(corpus)}")
    by_text = {}
    for i, text in corpus.items():
        by_text.setdefault(_words(text), []).append(i)
    answers = {query: _answers(query, text, corpus, relevant, by_text) for query, text in queries.items()}
    mined, ids = {}, list(queries)
    with tqdm(total=len(ids), desc="Mining", unit="query", disable=not progress) as bar:
        for start in range(0, len(ids), QUERIES_AT_ONCE):
            chunk = ids[start : start + QUERIES_AT_ONCE]
            k = per_retriever + max(len(answers[query]) for query in chunk)
            texts = [queries[query] for query in chunk]
            found = {name: searcher.search(texts, k) for name, searcher in retrievers.items()}
            for place, query in enumerate(chunk):
                left = {name: _negatives(hits[place], answers[query], corpus, name) for name, hits in found.items()}
                mined[query] = _union({name: ids[:per_retriever] for name, ids in left.items()}, corpus)
            bar.update(len(chunk))
    return mined


def _answers(query, text, corpus, relevant, by_text):
    """The corpus ids that must not be negatives of a query."""
    positives = [i for i, grade in relevant.get(query, {}).items() if grade > 0]
    if not positives:
        raise ValueError(f"`relevant` names nothing for query {query!r}; pass at least one text that answers it")
    texts = [text, *(corpus[i] for i in positives if i in corpus)]
    return {*positives, *(i for t in texts for i in by_text.get(_words(t), ()))}


def _negatives(hits, answers, corpus, name):
    unknown = next((hit.id for hit in hits if hit.id not in corpus), None)
    if unknown is not None:
        raise ValueError(f"retriever {name!r} found {unknown!r}, which is not in `corpus`; build it on the same texts")
    return [hit.id for hit in hits if hit.id not in answers]


def _union(ranked, corpus):
    """{corpus id: {retriever: rank}} of several rankings, merged rank by rank; of equal texts the first."""
    union, first = {}, {}
    for rank in range(max(map(len, ranked.values()), default=0)):
        for name, ids in ranked.items():
            if rank < len(ids):
                i = first.setdefault(_words(corpus[ids[rank]]), ids[rank])
                union.setdefault(i, {}).setdefault(name, rank + 1)
    return union


def _words(text):
    return " ".join(text.lower().split())
