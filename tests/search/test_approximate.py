import subprocess
import sys

import numpy as np
import pytest

from course_lib.search import ApproximateSearch, ExactSearch, approximate, choose_search, encode_to_file
from course_lib.search.approximate import BREADTH
from course_lib.storage import fingerprint


class Spread:
    """An encoder of 24 numbers per text: around one of twenty centres, as texts about some subjects."""

    similarity = "cosine"

    def encode(self, texts, batch_size=64, normalize=False, progress=False):
        self.asked = len(texts)
        centres = np.random.default_rng(0).normal(size=(20, 24))
        seeds = [int(fingerprint(text)[:8], 16) for text in texts]
        rows = [centres[seed % 20] + 0.7 * np.random.default_rng(seed).normal(size=24) for seed in seeds]
        rows = np.array(rows, dtype=np.float32).reshape(-1, 24)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize else rows

    def cache_key(self):
        return "spread"


TEXTS = {f"id {n}": f"text {n}" for n in range(3000)}
QUERIES = [f"query {n}" for n in range(50)]


@pytest.fixture(scope="module")
def exact():
    return ExactSearch(Spread(), TEXTS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path_factory.getbasetemp() / "approximate"))


def recall(search, exact, k=10):
    pairs = zip(search.search(QUERIES, k), exact.search(QUERIES, k))
    return np.mean([len({h.id for h in found} & {h.id for h in right}) / k for found, right in pairs])


@pytest.mark.parametrize("index", BREADTH)
def test_finds_nearly_what_exact_search_finds(index, exact):
    search = ApproximateSearch(Spread(), TEXTS, index=index)
    assert recall(search, exact) >= 0.9
    # everything is found by an index that looks at everything
    assert recall(ApproximateSearch(Spread(), TEXTS, index=index, breadth=3000), exact) >= 0.999


@pytest.mark.parametrize("index", BREADTH)
def test_scores_are_exact_and_hits_are_in_their_order(index, exact):
    right = {hit.id: hit.score for hit in exact.search(QUERIES[0], 3000)}
    hits = ApproximateSearch(Spread(), TEXTS, index=index).search(QUERIES[0], 20)
    assert [hit.score for hit in hits] == pytest.approx([right[hit.id] for hit in hits], abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(TEXTS[hit.id] == hit.text for hit in hits)


@pytest.mark.parametrize("index", BREADTH)
def test_a_narrow_search_finds_less(index, exact):
    found = [recall(ApproximateSearch(Spread(), TEXTS, index=index, breadth=b), exact) for b in (1, BREADTH[index])]
    assert found[0] < found[1]


@pytest.mark.parametrize("index", BREADTH)
def test_few_texts_and_equal_texts(index):
    texts = ["a", "b", "a", "c", "a"]
    hits = ApproximateSearch(Spread(), texts, index=index).search("a", 10)
    assert sorted(hit.id for hit in hits) == [0, 1, 2, 3, 4] and [hit.id for hit in hits[:3]] == [0, 2, 4]
    assert len(ApproximateSearch(Spread(), texts, index=index).search("a", 2)) == 2
    assert ApproximateSearch(Spread(), texts, index=index).search([]) == []


def test_dot_products_are_ranked_by_length_too(exact):
    search = ApproximateSearch(Spread(), TEXTS, similarity="dot", breadth=3000)
    right = ExactSearch(Spread(), TEXTS, similarity="dot").search(QUERIES[0], 5)
    assert [hit.id for hit in search.search(QUERIES[0], 5)] == [hit.id for hit in right]


def test_an_index_is_built_once(monkeypatch):
    first = ApproximateSearch(Spread(), TEXTS).search(QUERIES[0])
    monkeypatch.setattr(approximate, "_BUILD", {})
    assert ApproximateSearch(Spread(), TEXTS).search(QUERIES[0]) == first
    with pytest.raises(KeyError):  # other texts are another index
        ApproximateSearch(Spread(), {**TEXTS, "id 7": "other"})


def test_bad_arguments():
    with pytest.raises(ValueError, match="'tree'.*hnsw"):
        ApproximateSearch(Spread(), TEXTS, index="tree")
    with pytest.raises(ValueError, match="must be at least 1"):
        ApproximateSearch(Spread(), TEXTS, breadth=0)
    with pytest.raises(ValueError, match="one row per text"):
        ApproximateSearch(Spread(), TEXTS, vectors=np.ones((3, 24), dtype=np.float32))
    with pytest.raises(ValueError, match="not of length 1"):
        ExactSearch(Spread(), ["a"], vectors=np.ones((1, 24), dtype=np.float32))


def test_without_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="pip install faiss-cpu"):
        ApproximateSearch(Spread(), TEXTS, index="ivf", breadth=2)


def test_faiss_is_imported_by_who_needs_it():
    code = "import sys, course_lib.search; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_search_is_chosen_by_the_number_of_texts(monkeypatch):
    assert type(choose_search(Spread(), TEXTS)) is ExactSearch
    monkeypatch.setattr(approximate, "EXACT_UP_TO", 2999)
    assert type(choose_search(Spread(), TEXTS)) is ApproximateSearch


# ---------------------------------------------------------------------- vectors in a file


def test_vectors_in_a_file_are_those_of_encode(tmp_path, exact):
    texts = list(TEXTS.values())
    vectors = encode_to_file(Spread(), texts, tmp_path, chunk=700, progress=False)
    assert isinstance(vectors, np.memmap) and not vectors.flags.writeable
    np.testing.assert_array_equal(vectors, Spread().encode(texts, normalize=True))
    assert [str(path) for path in tmp_path.iterdir()] == [str(vectors.filename)]
    for make in (ExactSearch, ApproximateSearch):
        found, right = make(Spread(), TEXTS, vectors=vectors).search(QUERIES), make(Spread(), TEXTS).search(QUERIES)
        assert [[h.id for h in hits] for hits in found] == [[h.id for h in hits] for hits in right]


def test_an_interrupted_encoding_goes_on(tmp_path):
    class Stops(Spread):
        calls = 0

        def encode(self, *arguments, **options):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().encode(*arguments, **options)

    texts = list(TEXTS.values())[:100]
    with pytest.raises(KeyboardInterrupt):
        encode_to_file(Stops(), texts, tmp_path, chunk=30, progress=False)
    again = Stops()
    vectors = encode_to_file(again, texts, tmp_path, chunk=30, progress=False)
    assert again.calls == 2  # of four chunks, two were there
    np.testing.assert_array_equal(vectors, Spread().encode(texts, normalize=True))
    encode_to_file(again, texts, tmp_path, chunk=30, progress=False)
    assert again.calls == 2


def test_other_texts_have_another_file(tmp_path):
    first = encode_to_file(Spread(), ["a", "b"], tmp_path, progress=False)
    second = encode_to_file(Spread(), ["a", "c"], tmp_path, progress=False)
    assert first.filename != second.filename and not np.array_equal(first, second)
    with pytest.raises(ValueError, match="0 texts"):
        encode_to_file(Spread(), [], tmp_path)
