import numpy as np
import pytest

from course_lib.evaluation import embedding_geometry


def gaussian(n=4000, d=16, scales=None, shift=0.0, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x * (np.ones(d) if scales is None else scales) + shift


def test_a_sphere_of_directions_is_isotropic():
    result = embedding_geometry(gaussian())
    assert result["mean_cosine"] == pytest.approx(0, abs=0.002)
    assert result["effective_rank"] == pytest.approx(16, rel=0.01)
    assert result["participation_ratio"] == pytest.approx(16, rel=0.02)
    assert result["isoscore"] == pytest.approx(1, abs=0.02)


def test_a_line_has_one_direction():
    x = np.outer(np.random.default_rng(0).normal(size=500), np.arange(1, 9))
    result = embedding_geometry(x)
    assert result["effective_rank"] == pytest.approx(1)
    assert result["participation_ratio"] == pytest.approx(1)
    assert result["isoscore"] == pytest.approx(0, abs=1e-9)


def test_mean_cosine_is_the_mean_over_all_pairs(lsa, docs):
    x = lsa.encode(docs.validation.passages[:120]).astype(float)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(120, 1)]
    assert embedding_geometry(x)["mean_cosine"] == pytest.approx(pairs.mean())


def test_a_shift_makes_a_cone_but_changes_no_variance():
    still, shifted = embedding_geometry(gaussian()), embedding_geometry(gaussian(shift=2.0))
    assert shifted["mean_cosine"] == pytest.approx(0.8, abs=0.02)  # 2² / (2² + 1)
    assert shifted["participation_ratio"] == pytest.approx(still["participation_ratio"])
    assert shifted["isoscore"] == pytest.approx(still["isoscore"])


def test_participation_counts_the_directions_that_share_the_variance():
    result = embedding_geometry(gaussian(scales=[1] * 4 + [1e-4] * 12))
    assert result["participation_ratio"] == pytest.approx(4, rel=0.02)


def test_isoscore_of_equal_variances_in_k_of_n_directions():
    """It is linear in k: (k − 1) / (n − 1)."""
    for k in (1, 4, 8, 16):
        x = np.zeros((2 * k, 16))
        x[range(0, 2 * k, 2), range(k)], x[range(1, 2 * k, 2), range(k)] = 1, -1
        assert embedding_geometry(x)["isoscore"] == pytest.approx((k - 1) / 15, abs=1e-9)


def test_rotation_and_scale_change_nothing(lsa, docs):
    x = lsa.encode(docs.validation.passages[:200])
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))[0]
    assert embedding_geometry(3 * x @ rotation) == pytest.approx(embedding_geometry(x), rel=1e-4)


def test_full_collapse_is_seen():
    row = np.random.default_rng(0).normal(size=8).astype(np.float32)
    result = embedding_geometry(np.tile(row, (50, 1)) * np.float32(1 + 1e-7))
    assert result["mean_cosine"] == pytest.approx(1)
    assert result["effective_rank"] == pytest.approx(1, abs=1e-4)
    assert result["participation_ratio"] == result["isoscore"] == 0


def test_fewer_texts_than_dimensions():
    result = embedding_geometry(gaussian(n=5, d=64))
    assert 3 < result["participation_ratio"] <= 4 and 4 < result["effective_rank"] <= 5 and 0 < result["isoscore"] < 0.1


def test_zeros_are_no_error():
    assert embedding_geometry(np.zeros((3, 4))) == {
        "mean_cosine": 0,
        "effective_rank": 1,
        "participation_ratio": 0,
        "isoscore": 0,
    }


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros(4), r"shape \(4,\)"),
        (np.zeros((1, 4)), r"shape \(1, 4\)"),
        (np.zeros((4, 1)), r"shape \(4, 1\)"),
        (np.zeros((0, 4)), "shape"),
        ([[1, 2], [np.nan, 3]], "1 values that are NaN"),
    ],
)
def test_bad_input_is_named(x, message):
    with pytest.raises(ValueError, match=message):
        embedding_geometry(x)
