"""Reciprocal rank fusion, by hand and on real documents."""

import pandas
import pytest

from course_lib.search import BM25Search, Hit, HybridSearch


class Fixed:
    """A search that finds what it is told to, in this order."""

    def __init__(self, *ids):
        self.ids = ids

    def __len__(self):
        return len(self.ids)

    def search(self, queries, k=10):
        return [[Hit(i, -float(rank), f"text {i}") for rank, i in enumerate(self.ids[:k])] for _ in queries]


@pytest.fixture(scope="module")
def corpus(docs):
    return {d.name: d.text for d in docs.validation.documents if d.library == "networkx"}


@pytest.fixture(scope="module")
def two(corpus):
    """Two searches that disagree: as usual, and one that neither counts repeated words nor holds long texts back."""
    return [BM25Search(corpus), BM25Search(corpus, k1=0.1, b=0.0)]


def test_by_hand():
    hybrid = HybridSearch([Fixed("a", "b", "c"), Fixed("c", "a", "d")])
    hits = hybrid.search("anything")
    expected = {"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62, "d": 1 / 63}
    assert [h.id for h in hits] == ["a", "c", "b", "d"]
    assert {h.id: h.score for h in hits} == pytest.approx(expected)
    assert all(h.text == f"text {h.id}" for h in hits)
    assert [h.id for h in hybrid.search("anything", k=2)] == ["a", "c"]


def test_what_two_searches_have_third_beats_what_one_has_first():
    searchers = [Fixed("x", "1", "b"), Fixed("y", "2", "b")]
    assert HybridSearch(searchers).search("q", 1)[0].id == "b"
    assert HybridSearch(searchers, constant=0.1).search("q", 1)[0].id == "x"  # unless first ranks count almost alone
    assert [h.id for h in HybridSearch(searchers, depth=1).search("q", 1)] == ["x"]  # or nobody looks so deep


def test_of_real_rankings(two, corpus):
    """Every text that one of the searches found, with the ranks that pandas gives it, NaN where it was not found."""
    queries = ["shortest path between two nodes", "random graph", "is it connected"]
    for query, hits in zip(queries, HybridSearch(two, depth=8).search(queries, 8)):
        scores = pandas.DataFrame(
            {
                n: {h.id: h.score - i * 1e-9 for i, h in enumerate(searcher.search(query, 8))}
                for n, searcher in enumerate(two)
            }
        )
        expected = (1 / (60 + scores.rank(ascending=False))).sum(axis=1)
        assert scores.isna().any().all(), query  # each found what the other did not
        assert [h.score for h in hits] == pytest.approx(sorted(expected, reverse=True)[:8])
        assert [h.score for h in hits] == pytest.approx([expected[h.id] for h in hits])


def test_several_queries_at_once(two):
    hybrid, queries = HybridSearch(two), ["shortest path", "zzzz", "random graph"]
    assert hybrid.search(queries, 5) == [hybrid.search(q, 5) for q in queries]
    assert hybrid.search("zzzz") == [] and hybrid.search([]) == [] and len(hybrid) == len(two[0])


def test_the_cache_key_holds_searchers_and_settings(two):
    assert HybridSearch(two, 30, 8).cache_key() == {"searchers": two, "constant": 30, "depth": 8}


def test_errors(two):
    for options, message in (
        ({"searchers": two[:1]}, "`searchers` holds 1; a hybrid merges at least two"),
        ({"searchers": two, "constant": 0}, "constant is 0"),
        ({"searchers": two, "depth": 0}, "`k` is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            HybridSearch(**options)
    with pytest.raises(ValueError, match="`k` is 0"):
        HybridSearch(two).search("q", 0)
    with pytest.raises(TypeError, match="every text must be a string"):
        HybridSearch(two).search([None])
