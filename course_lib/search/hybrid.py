"""Hybrid search: several rankings merged into one by reciprocal rank fusion."""

from course_lib.search.exact import Hit, check_k
from course_lib.texts.checks import check_texts


class HybridSearch:
    """Merges what several searches over the same texts find: a text's score is the sum of 1 / (constant + rank).

    Only ranks count, so that scores of different kinds, such as BM25's and cosines, need no common scale.
    searchers: two or more with `.search(queries, k)`. constant: 60, as in Cormack et al. (2009); the larger, the less the
    first ranks count. depth: how many hits of each search are merged. Raises ValueError for fewer than two searchers.
    """

    def __init__(self, searchers, constant=60, depth=100):
        self.searchers = list(searchers)
        if len(self.searchers) < 2:
            raise ValueError(f"`searchers` holds {len(self.searchers)}; a hybrid merges at least two")
        if not constant > 0:
            raise ValueError(f"constant is {constant}; it is added to ranks and must be above 0")
        check_k(depth)
        self.constant, self.depth = constant, depth

    def __len__(self):
        return max(map(len, self.searchers))

    def search(self, query, k=10):
        """The k best Hits, best first; equal scores in the order of the searchers. A list of queries gives a list of lists.

        A text that no search has among its first `depth` is no hit, so there may be fewer than k.
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
