"""Hard negatives: texts that a search finds for a query although they are not its answer."""

from collections.abc import Mapping

from tqdm.auto import tqdm

from course_lib.search.exact import check_k

QUERIES_AT_ONCE = 256


def mine_hard_negatives(queries, corpus, relevant, retrievers, per_retriever=50, progress=False):
    """What each retriever finds for each query, without what answers it.

    queries, corpus: {id: text}. relevant: {query id: {corpus id: grade}}, as for `evaluate_retrieval`. retrievers:
    {name: searcher over the corpus}, best of different kinds, such as BM25Search and ExactSearch: one finds what shares
    words, the other what shares meaning. per_retriever: at most so many from each; 50 as in GPL (Wang et al., 2022).
    Left out are the relevant texts, every text equal to one of them or to the query, and all but the first of equal
    negatives; texts are compared as lower-case words.
    Returns {query id: {corpus id: {retriever: rank}}}, the ranks from 1 among what is left, in the order in which the
    retrievers found them, the first of each before the second of any. Raises ValueError where a query has nothing
    relevant, or a retriever searches in another corpus.
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
            found = {
                name: searcher.search([queries[query] for query in chunk], k) for name, searcher in retrievers.items()
            }
            for place, query in enumerate(chunk):
                ranked = {
                    name: _negatives(hits[place], answers[query], corpus, name)[:per_retriever]
                    for name, hits in found.items()
                }
                mined[query] = _union(ranked, corpus)
            bar.update(len(chunk))
    return mined


def _answers(query, text, corpus, relevant, by_text):
    """The corpus ids that are no negatives of a query."""
    positives = [i for i, grade in relevant.get(query, {}).items() if grade > 0]
    if not positives:
        raise ValueError(f"`relevant` names nothing for query {query!r}; what is no negative must be known")
    texts = [text, *(corpus[i] for i in positives if i in corpus)]
    return {*positives, *(i for t in texts for i in by_text.get(_words(t), ()))}


def _negatives(hits, answers, corpus, name):
    strange = next((hit.id for hit in hits if hit.id not in corpus), None)
    if strange is not None:
        raise ValueError(
            f"retriever {name!r} found {strange!r}, which is not in `corpus`; build it from the same texts"
        )
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
