"""Trials on real collections: every hit is judged once, whoever found it, and without a name beside it."""

import random

import pytest

from course_lib.recipes import own_text_trials as trials
from course_lib.search import BM25Search
from course_lib.texts.own_text import Passage

TEXTS = [
    Passage(f"boiler {word}", "a.md", line=n) for n, word in enumerate(("hot", "cold", "old", "new", "red", "big"))
]


@pytest.fixture
def trial():
    searches = {"before": BM25Search(TEXTS), "after": BM25Search(dict(reversed([*enumerate(TEXTS)])))}
    return {"name": "man", "queries": [trials.asked("boiler", searches, random.Random(0))]}


def test_every_collection_has_ten_queries():
    assert set(trials.QUERIES) == set(trials.COLLECTIONS)
    assert all(len(set(queries)) == 10 for queries in trials.QUERIES.values())


def test_hits_are_judged_once_and_counted_per_search(trial):
    (query,) = trial["queries"]
    ids = [hit["id"] for hit in query["hits"]]
    assert len(ids) == len(set(ids)) == 6 and ids != sorted(ids)
    assert all(set(hit) == {"id", "place", "text", "good"} for hit in query["hits"])
    with pytest.raises(ValueError, match="'boiler': 6 hits have not been judged"):
        trials.judged(trial)
    for hit in query["hits"]:
        hit["good"] = int(hit["id"] == 0)
    assert trials.judged(trial)["queries"] == [{"query": "boiler", "before": [1, 0, 0, 0, 0], "after": [0, 0, 0, 0, 0]}]
