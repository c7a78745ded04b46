"""What notebook 13 shows: the recipes on few texts, and what their records say."""

import numpy as np
import pytest

from course_lib.recipes import growth, kept, search_at_scale
from course_lib.search.approximate import BREADTH


def vectors_of(count, seed):
    rows = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_million_begins_with_the_sentences_and_repeats_nothing(docs):
    sentences = list(dict.fromkeys(docs.validation.sentences))[:1500]
    texts = search_at_scale.a_million(sentences, 4 * len(sentences))
    assert texts[: len(sentences)] == sentences
    assert len(set(texts)) > 0.99 * len(texts)  # halves of a word or two may be equal
    first, second = sentences[5].split(), sentences[5 + 997].split()
    mixed = [*first[: (len(first) + 1) // 2], *second[(len(second) + 1) // 2 :]]
    assert texts[len(sentences) + 5] == " ".join(mixed).strip()


def test_every_index_is_measured_against_exact_search(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    texts, queries = [f"text {n}" for n in range(400)], [f"query {n}" for n in range(12)]
    rows = search_at_scale.measure(300, texts, vectors_of(400, 0), queries, vectors_of(12, 1))
    assert [(r["index"], r["breadth"]) for r in rows[1:]] == [
        (index, breadth) for index, breadths in search_at_scale.BREADTHS.items() for breadth in breadths
    ]
    assert rows[0] | {"ms": 0} == {"index": "exact", "breadth": None, "recall": 1.0, "ms": 0, "bytes": 64, "build": 0.0}
    assert all(0 < r["recall"] <= 1 and r["ms"] > 0 and r["bytes"] > 0 for r in rows)
    assert all(r["recall"] == 1 for r in rows if r["index"] in ("int8", "binary") and r["breadth"] >= 1000)


def test_the_breadths_that_are_drawn_hold_the_defaults():
    assert all(BREADTH[index] in breadths for index, breadths in search_at_scale.BREADTHS.items())


def test_an_exponent_says_how_seconds_grow(monkeypatch):
    clock = iter(np.cumsum([0, 6, 0, 54, 0, 600, 0, 5400]))  # each part begins when the one before ended
    monkeypatch.setattr(growth.time, "process_time", lambda: float(next(clock)))
    monkeypatch.setitem(growth.PARTS, "toy", (10, lambda texts: lambda: texts, "every text meets every other"))
    found = growth.measure("toy", [f"one two three {n}" for n in range(50)])
    assert found["texts"] == [10, 30, 100, 300] and found["seconds"] == [6, 54, 600, 5400]
    assert found["exponent"] == pytest.approx(2, abs=0.01)


def test_what_is_recorded_grows_as_it_should():
    """Nothing grows faster than the text, but what says why."""
    recorded = kept.load(growth.RECORD)["parts"]
    assert list(recorded) == list(growth.PARTS)
    assert not [part for part, of in recorded.items() if of["exponent"] > LARGEST and not growth.PARTS[part][2]]
    assert recorded["mining, a query per text"]["exponent"] < 2.1


LARGEST = 1.05
