"""Hybrid search: several rankings merged into one by reciprocal rank fusion."""

from collections.abc import Sequence
from typing import Any

from course_lib.search.exact import Hit, Hits, Searcher, check_k
from course_lib.texts.checks import check_texts


class HybridSearch:
    """Merge the rankings of several searches over the same texts (Cormack et al., 2009).

    The score of a text is the sum of 1 / (constant + rank) over the searches that found it. Only ranks count, so scores
    of different kinds, such as those of BM25 and cosines, need no common scale.

    searchers: two or more, each with `.search(queries, k)`.
    constant: > 0; the larger, the less the first ranks count. 60 as in the paper.
    depth: how many hits of each search are merged.
    Raises ValueError for fewer than two searchers, for a constant of 0 or less and for depth < 1.
    """

    def __init__(self, searchers: Sequence[Searcher], constant: float = 60, depth: int = 100):
        self.searchers = list(searchers)
        if len(self.searchers) < 2:
            raise ValueError(f"`searchers` holds {len(self.searchers)}; a hybrid merges at least two")
        if not constant > 0:
            raise ValueError(f"constant is {constant}; it is added to ranks and must be above 0")
        check_k(depth)
        self.constant, self.depth = constant, depth

    def __len__(self) -> int:
        return max(map(len, self.searchers))

    def search(self, query: str | list[str], k: int = 10) -> Hits:
        """Find the best texts for a query, or for each of several.

        query: a text, or a list of texts.
        k: how many Hits to return; fewer where the searches have fewer texts among their first `depth`.
        Returns a list of Hits, best first, equal scores in the order of the searchers; for a list of queries a list of
            such lists.
        Raises ValueError for k < 1.
        """
        check_k(k)
        if isinstance(query, str):
            return self.search([query], k)[0]
        check_texts(query, "query")
        found = [searcher.search(query, max(k, self.depth)) for searcher in self.searchers]
        return [self._merge(rankings)[:k] for rankings in zip(*found)]

    def _merge(self, rankings):
        scores, texts = {}, {}
        for hits in rankings:
            for rank, hit in enumerate(hits, 1):
                scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (self.constant + rank)
                texts[hit.id] = hit.text
        return [Hit(i, scores[i], texts[i]) for i in sorted(scores, key=lambda i: -scores[i])]

    def cache_key(self) -> dict[str, Any]:
        """What the results depend on, for `storage.fingerprint`."""
        return {"searchers": self.searchers, "constant": self.constant, "depth": self.depth}
