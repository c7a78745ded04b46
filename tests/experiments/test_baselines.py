"""Static vectors and whitening: what they compute, and that nothing can be trained from them."""

import numpy as np
import pytest

from course_lib.experiments import PROFILES, as_run, baselines, load_shipped
from course_lib.experiments.starts import BASELINES

TEXTS = ["Sort an array in place.", "Join two tables on a column.", ""]


def test_static_vectors_are_means_of_input_embeddings(shallow):
    encoder = shallow()
    vectors = baselines.StaticVectors(encoder).encode(TEXTS)
    table = encoder.transformer.get_input_embeddings().weight.detach().numpy()
    ids = encoder.token_ids(TEXTS)
    assert vectors.dtype == np.float32 and np.allclose(vectors[0], table[ids[0][1:-1]].mean(0), atol=1e-6)
    assert np.allclose(vectors[2], table[ids[2]].mean(0), atol=1e-6)  # nothing between [CLS] and [SEP]
    swapped = baselines.StaticVectors(encoder).encode(["array an sort place in."])
    assert np.allclose(swapped[0], vectors[0], atol=1e-6)  # the order of words is nothing to them
    assert baselines.StaticVectors(encoder).encode([]).shape == (0, encoder.dimension)


def test_whitened_vectors_have_no_mean_and_no_correlation(shallow, docs):
    encoder = shallow()
    texts = docs.train.sentences[:800]
    white = baselines.Whitened(encoder, texts).encode(texts)
    covariance = np.cov(white.T)
    # the layer norm at the end leaves one direction without variance, and nothing can be made of it
    kept = covariance.diagonal() > 0.1
    assert kept.sum() >= len(kept) - 1 and np.allclose(covariance[kept][:, kept], np.eye(kept.sum()), atol=2e-2)
    assert np.allclose(white.mean(0), 0, atol=1e-2) and np.abs(covariance[~kept]).max(initial=0) < 2e-2


def test_whitening_needs_more_texts_than_numbers():
    with pytest.raises(ValueError, match=r"`x` has shape \(4, 8\)"):
        baselines.whitening(np.ones((4, 8)))


@pytest.mark.parametrize("start", BASELINES)
def test_they_are_recorded_and_cannot_be_trained(start):
    run = as_run(start, PROFILES["cpu"])
    (record,) = load_shipped(start)
    assert record.title == run.title and set(record.results) == set(load_shipped("base")[0].results)
    with pytest.raises(ValueError, match="cannot be trained; start from base or minilm"):
        as_run((start, "mlm"), PROFILES["cpu"])
