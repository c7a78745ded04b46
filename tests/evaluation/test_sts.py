import math

import numpy as np
import pytest
from scipy import stats

from course_lib.evaluation import evaluate_sts, sts_similarities


@pytest.fixture(scope="module")
def pairs(docs):
    """Sentences that follow each other in a document, and sentences of unrelated documents; a fraction says which."""
    rng = np.random.default_rng(0)
    paragraphs = [p for d in docs.validation.documents for p in d.paragraphs if len(p) > 1][:60]
    first = [p[0] for p in paragraphs]
    second = [p[1] if i % 2 else paragraphs[i - 7][1] for i, p in enumerate(paragraphs)]
    return first, second, (np.arange(60) % 2 + rng.random(60) / 10).tolist()


def test_neighbouring_sentences_are_more_similar_than_strangers(lsa, pairs):
    result = evaluate_sts(lsa, *pairs)
    assert set(result) == {"spearman", "pearson"}
    assert 0.3 < result["spearman"] < 1 and 0.3 < result["pearson"] < 1


def test_the_similarities_are_cosines(lsa, pairs):
    first, second, _ = pairs
    similarities = sts_similarities(lsa, first, second)
    a, b = lsa.encode(first).astype(float), lsa.encode(second).astype(float)
    expected = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert similarities.shape == (60,)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)


def test_a_sentence_is_exactly_as_similar_to_itself_as_any_other(lsa, pairs):
    first, _, _ = pairs
    np.testing.assert_allclose(sts_similarities(lsa, first, first), 1, atol=1e-6)


def test_no_sentence_is_encoded_twice(lsa, pairs):
    first, second, scores = pairs
    lsa.encoded.clear()
    evaluate_sts(lsa, first + first, second + first, scores + [2.0] * len(first))
    assert sorted(lsa.encoded) == sorted({*first, *second})


def test_any_increasing_scale_of_scores_gives_the_same_spearman(lsa, pairs):
    first, second, scores = pairs
    stretched = evaluate_sts(lsa, first, second, np.exp(scores) * 5)
    assert stretched["spearman"] == pytest.approx(evaluate_sts(lsa, *pairs)["spearman"])
    assert stretched["pearson"] != pytest.approx(evaluate_sts(lsa, *pairs)["pearson"], abs=1e-6)


def test_reversed_scores_reverse_the_sign(lsa, pairs):
    first, second, scores = pairs
    forward, backward = evaluate_sts(lsa, *pairs), evaluate_sts(lsa, first, second, [-s for s in scores])
    assert backward == pytest.approx({k: -v for k, v in forward.items()})


def test_the_order_of_pairs_and_of_sides_changes_nothing(lsa, pairs):
    first, second, scores = pairs
    turned = evaluate_sts(lsa, second[::-1], first[::-1], scores[::-1])
    assert turned == pytest.approx(evaluate_sts(lsa, *pairs), abs=1e-5)


def test_a_collapsed_encoder_has_no_correlation(pairs):
    class Collapsed:  # what an encoder becomes when contrastive training fails
        def encode(self, texts, batch_size=64):
            return np.ones((len(texts), 8), dtype=np.float32)

    assert all(math.isnan(v) for v in evaluate_sts(Collapsed(), *pairs).values())


def test_texts_without_known_words_count_as_unrelated(lsa):
    similarities = sts_similarities(lsa, ["", "zzyzx"], ["Merge two tables.", "Merge two tables."])
    assert similarities.tolist() == [0, 0]


@pytest.mark.parametrize(
    "first, second, scores, message",
    [
        (["a", "b"], ["a"], [1, 2], "`sentences1` holds 2 sentences and `sentences2` 1"),
        (["a", "b"], ["a", "b"], [1, 2, 3], "`scores` holds 3 values for 2 sentence pairs"),
        (["a"], ["b"], [1], "at least 2 pairs"),
        ([], [], [], "at least 2 pairs"),
        (["a", "b"], ["a", "b"], [0.5, 0.5], "`scores` are all 0.5"),
        (["a", "b"], ["a", "b"], [0.5, math.nan], r"`scores`\[1\] is nan"),
        (["a", "b"], ["a", "b"], [[0.5, 1]], "shape"),
    ],
)
def test_pairs_that_cannot_be_correlated(lsa, first, second, scores, message):
    with pytest.raises(ValueError, match=message):
        evaluate_sts(lsa, first, second, scores)


@pytest.mark.parametrize(
    "first, message", [("ab", "pass a list"), (["a", None], r"`sentences1`\[1\] is None"), ({"a", "b"}, "is a set")]
)
def test_sentences_that_are_none(lsa, first, message):
    with pytest.raises(TypeError, match=message):
        evaluate_sts(lsa, first, ["a", "b"], [1, 2])


def test_a_diverged_encoder_is_named(lsa):
    class Diverged:
        def encode(self, texts, batch_size=64):
            vectors = lsa.encode(texts)
            vectors[1] = np.nan
            return vectors

    with pytest.raises(ValueError, match="NaN or infinite embeddings for 1 of 3 texts, first 'two tables'"):
        evaluate_sts(Diverged(), ["a table", "two tables"], ["a table", "three tables"], [1, 2])


def test_spearman_is_scipys(lsa, pairs):
    first, second, scores = pairs
    similarities = sts_similarities(lsa, first, second)
    assert evaluate_sts(lsa, *pairs)["spearman"] == pytest.approx(stats.spearmanr(similarities, scores).statistic)
