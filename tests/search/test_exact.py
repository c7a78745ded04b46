import numpy as np
import pytest

from course_lib.models.encoder import SentenceEncoder
from course_lib.models.minilm import minilm_folder
from course_lib.search import ExactSearch, Hit
from course_lib.search.exact import top
from course_lib.storage import fingerprint


@pytest.fixture(scope="module")
def encoder():
    return SentenceEncoder.from_pretrained(minilm_folder(), max_length=32)


@pytest.fixture(scope="module")
def texts(docs):
    return {d.name: d.summary for d in docs.validation.documents if d.library == "pandas" and d.summary}


@pytest.fixture(scope="module")
def search(encoder, texts):
    return ExactSearch(encoder, dict(list(texts.items())[:100]))


def test_a_question_finds_its_answer_without_sharing_words(encoder):
    answers = {
        "merge": "Join columns of another DataFrame.",
        "sort": "Return the indices that would order an array.",
        "pi": "Ratio of a circle's circumference to its diameter.",
    }
    search = ExactSearch(encoder, answers)
    for query, answer in (("combine two tables", "merge"), ("sorting numbers", "sort"), ("how round is a wheel", "pi")):
        assert search.search(query, k=1)[0].id == answer


def test_hits_are_the_highest_cosines(encoder, search):
    hits = search.search("Is this value missing?", k=7)
    vectors = encoder.encode([*search.texts, "Is this value missing?"], normalize=True)
    cosines = vectors[:-1] @ vectors[-1]
    best = np.argsort(-cosines, kind="stable")[:7]
    assert [h.id for h in hits] == [search.ids[i] for i in best]
    np.testing.assert_allclose([h.score for h in hits], cosines[best], atol=1e-5)
    assert all(isinstance(h, Hit) and search.texts[search.ids.index(h.id)] == h.text for h in hits)


def test_a_text_finds_itself(search):
    for hits, text in zip(search.search(search.texts[:10], k=1), search.texts):
        assert hits[0].text == text and hits[0].score == pytest.approx(1, abs=1e-5)


def test_several_queries_at_once(search, monkeypatch):
    queries = ["missing values", "time zones", "missing values"]
    together = search.search(queries, k=5)
    monkeypatch.setattr("course_lib.search.exact.SCORES_HELD", 1)
    for hits, query in zip(together, queries):
        alone = search.search(query, k=5)
        assert [h.id for h in hits] == [h.id for h in alone]
        assert [h.score for h in hits] == pytest.approx([h.score for h in alone], abs=1e-5)
    assert search.search([]) == []


def test_equal_texts_stay_in_order_and_share_their_score(encoder):
    search = ExactSearch(encoder, ["Sort an array.", "Merge tables.", "Sort an array.", "Sort an array."])
    hits = search.search("How do I sort?", k=4)
    assert [h.id for h in hits] == [0, 2, 3, 1]
    assert hits[0].score == hits[1].score == hits[2].score
    assert search.rows.shape[0] == 2


def test_more_hits_than_texts(search):
    assert sorted(h.id for h in search.search("array", k=1000)) == sorted(search.ids)


def test_an_empty_query_and_a_very_long_one_are_texts_too(search):
    assert len(search.search("", k=3)) == 3
    assert len(search.search("array " * 20_000, k=3)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_top_is_a_stable_sort(seed):
    scores = np.random.default_rng(seed).integers(6, size=40).astype(np.float32)  # many ties
    for k in (1, 2, 7, 39, 40, 50, None):
        assert top(scores, k).tolist() == sorted(range(40), key=lambda i: -scores[i])[:k]


@pytest.mark.parametrize(
    "bad, error, message",
    [
        ([], ValueError, "`texts` is empty"),
        ({}, ValueError, "`texts` is empty"),
        ("a text", TypeError, "pass a list"),
        ({"a", "b"}, TypeError, "`texts` is a set"),
        (["a", 3], TypeError, r"`texts`\[1\] is 3, a int"),
        ({"name": None}, TypeError, r"`texts`\['name'\] is None"),
    ],
)
def test_bad_texts_are_named(encoder, bad, error, message):
    with pytest.raises(error, match=message):
        ExactSearch(encoder, bad)


def test_bad_queries_are_named(search):
    with pytest.raises(ValueError, match="`k` is 0"):
        search.search("array", k=0)
    with pytest.raises(TypeError, match=r"`query`\[1\] is None"):
        search.search(["array", None])
    with pytest.raises(TypeError, match="`query` is a int"):
        search.search(3)


def test_an_encoder_of_another_shape_is_named():
    class Flat:
        def encode(self, texts, batch_size=64):
            return np.ones(len(texts), dtype=np.float32)

    with pytest.raises(ValueError, match=r"gives shape \(2,\) for 2 texts"):
        ExactSearch(Flat(), ["a", "b"])


def test_dot_products_count_lengths_and_cosines_do_not(encoder):
    texts = ["Sort an array.", "Read a table from a file, one row a line.", "Draw a line."]
    lengths = np.linalg.norm(encoder.encode(texts), axis=1)
    query = encoder.encode(["sort"])[0]
    expected = {"dot": encoder.encode(texts) @ query}
    expected["cosine"] = expected["dot"] / lengths / np.linalg.norm(query)
    for similarity, scores in expected.items():
        hits = ExactSearch(encoder, texts, similarity=similarity).search("sort", k=3)
        np.testing.assert_allclose([h.score for h in hits], [scores[h.id] for h in hits], rtol=1e-5)
        assert [h.id for h in hits] == np.argsort(-scores, kind="stable").tolist()
    with pytest.raises(ValueError, match="similarity is 'euclid'; choose one of cosine, dot"):
        ExactSearch(encoder, texts, similarity="euclid")


def test_an_encoder_is_searched_by_its_own_similarity(shallow, texts):
    encoder, some = shallow(), list(texts.values())[:60]
    ranked = {s: ExactSearch(encoder, some, similarity=s).search("sort an array", 60) for s in ("cosine", "dot")}
    assert [h.id for h in ranked["cosine"]] != [h.id for h in ranked["dot"]]
    assert ExactSearch(encoder, some).search("sort an array", 60) == ranked["cosine"]
    encoder.similarity = "dot"
    search = ExactSearch(encoder, some)
    assert search.similarity == "dot" and search.search("sort an array", 60) == ranked["dot"]
    assert ExactSearch(encoder, some, similarity="cosine").search("sort an array", 60) == ranked["cosine"]
    encoder.similarity = "euclid"
    with pytest.raises(ValueError, match="similarity is 'euclid'; choose one of cosine, dot"):
        ExactSearch(encoder, some)


def test_the_cache_key_holds_texts_similarity_and_encoder(shallow):
    encoder, texts = shallow(max_length=16), {"a": "Sort an array.", "b": "Join tables."}
    key = ExactSearch(encoder, texts).cache_key()
    assert key == {"ids": ["a", "b"], "texts": list(texts.values()), "similarity": "cosine", "encoder": encoder}
    keys = [
        ExactSearch(encoder, texts).cache_key(),
        ExactSearch(encoder, list(texts.values())).cache_key(),
        ExactSearch(encoder, texts, similarity="dot").cache_key(),
        ExactSearch(shallow(2, max_length=16), texts).cache_key(),
    ]
    assert len(set(map(fingerprint, keys))) == 4
    assert fingerprint(keys[0]) == fingerprint(ExactSearch(encoder, texts, batch_size=1).cache_key())
