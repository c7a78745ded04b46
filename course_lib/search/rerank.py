"""Retrieve and re-rank: a fast search finds candidates, a cross-encoder that reads each with the query orders them."""

import numpy as np

from course_lib.search.exact import Hit, check_k
from course_lib.texts.checks import check_texts
from course_lib.texts.prose import split_sentences


class Reranked:
    """Orders what another search finds by a cross-encoder's scores.

    searcher: whatever has `.search(queries, k)`. cross_encoder: whatever has `.predict(pairs)` → one score a pair.
    depth: how many candidates are read, for each query.
    """

    def __init__(self, searcher, cross_encoder, depth=50):
        check_k(depth)
        self.searcher, self.cross_encoder, self.depth = searcher, cross_encoder, depth

    def __len__(self):
        return len(self.searcher)

    def search(self, query, k=10):
        """The k best Hits, best first, scores from the cross-encoder; equal ones in the searcher's order. A list of
        queries gives a list of lists."""
        check_k(k)
        if isinstance(query, str):
            return self.search([query], k)[0]
        check_texts(query, "query")
        found = self.searcher.search(query, max(k, self.depth))
        pairs = [(q, hit.text) for q, hits in zip(query, found) for hit in hits]
        scores = iter(np.asarray(self.cross_encoder.predict(pairs), dtype=float).tolist() if pairs else ())
        judged = [[Hit(hit.id, next(scores), hit.text) for hit in hits] for hits in found]
        return [sorted(hits, key=lambda hit: -hit.score)[:k] for hits in judged]


def rank_with(make, depth=1000):
    """A ranker for `evaluate_retrieval` made of a search.

    make: a function of a corpus {id: text} that returns a searcher over it. depth: how many are ranked; metrics count
    what is not as not found. Returns a function of (queries, corpus) → {query id: [corpus ids, best first]}.
    """

    def rank(queries, corpus):
        hits = make(corpus).search(list(queries.values()), min(depth, len(corpus)))
        return {query: [hit.id for hit in found] for query, found in zip(queries, hits)}

    return rank


def nearest_sentence(encoder, query, text):
    """The sentence of a text whose embedding is nearest to the query's by cosine: why a hit was found, at a glance.

    encoder: whatever has `.encode(texts)`. A text without sentences is returned as it is.
    """
    check_texts([query], "query")
    check_texts([text], "text")
    sentences = split_sentences(text)
    if len(sentences) < 2:
        return text
    vectors = np.asarray(encoder.encode([query, *sentences]), dtype=np.float32)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return sentences[int((vectors[1:] @ vectors[0]).argmax())]
