"""Retrieve and re-rank: a fast search finds candidates, a cross-encoder reads each with the query and orders them."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from course_lib.search.exact import Encoder, Hit, Hits, Searcher, check_k, unit_embeddings
from course_lib.texts.checks import check_texts
from course_lib.texts.prose import split_sentences


class Scorer(Protocol):
    """Anything that scores pairs of texts: a CrossEncoder or an object of your own."""

    def predict(self, pairs: list[tuple[str, str]]) -> Sequence[float]: ...


class Reranked:
    """Order what another search finds by the scores of a cross-encoder.

    searcher: anything with `.search(queries, k)`.
    cross_encoder: anything with `.predict(pairs)` that returns one score per pair.
    depth: how many candidates the cross-encoder reads per query, or k where more are asked for.
    Raises ValueError for depth < 1.
    """

    def __init__(self, searcher: Searcher, cross_encoder: Scorer, depth: int = 50):
        check_k(depth)
        self.searcher, self.cross_encoder, self.depth = searcher, cross_encoder, depth

    def __len__(self) -> int:
        return len(self.searcher)

    def search(self, query: str | list[str], k: int = 10) -> Hits:
        """Find the best texts for a query, or for each of several.

        query: a text, or a list of texts.
        k: how many Hits to return; fewer where the searcher finds fewer.
        Returns a list of Hits with the cross-encoder's scores, best first, equal scores in the searcher's order; for a
            list of queries a list of such lists.
        Raises ValueError for k < 1.
        """
        check_k(k)
        if isinstance(query, str):
            return self.search([query], k)[0]
        check_texts(query, "query")
        found = self.searcher.search(query, max(k, self.depth))
        pairs = [(q, hit.text) for q, hits in zip(query, found) for hit in hits]
        scores = iter(np.asarray(self.cross_encoder.predict(pairs), dtype=float).tolist() if pairs else ())
        scored = [[Hit(hit.id, next(scores), hit.text) for hit in hits] for hits in found]
        return [sorted(hits, key=lambda hit: -hit.score)[:k] for hits in scored]

    def cache_key(self) -> dict[str, Any]:
        """What the results depend on, for `storage.fingerprint`."""
        return {"searcher": self.searcher, "cross_encoder": self.cross_encoder, "depth": self.depth}


def rank_with(make: Callable[[dict[str, str]], Searcher], depth: int = 1000) -> Callable:
    """Make a search measurable: a function that ranks, for `evaluate_retrieval`.

    make: a function of a corpus {id: text} that returns a searcher over it, such as `BM25Search`.
    depth: how many texts are ranked per query; metrics count the rest as not found.
    Returns a function of (queries, corpus) that returns {query id: [corpus ids, best first]}.
    """

    def rank(queries, corpus):
        hits = make(corpus).search(list(queries.values()), min(depth, len(corpus)))
        return {query: [hit.id for hit in found] for query, found in zip(queries, hits)}

    return rank


def nearest_sentence(encoder: Encoder, query: str, text: str) -> str:
    """The sentence of a text that is nearest to the query by cosine, to show why the text was found.

    encoder: as in `ExactSearch`.
    query, text: one string each.
    Returns the sentence; the whole text where it has fewer than two.
    """
    check_texts([query], "query")
    check_texts([text], "text")
    sentences = split_sentences(text)
    if len(sentences) < 2:
        return text
    rows, row_of = unit_embeddings(encoder, [query, *sentences])
    return sentences[int((rows[row_of[1:]] @ rows[row_of[0]]).argmax())]
