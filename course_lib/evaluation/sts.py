"""Semantic textual similarity: do cosines order sentence pairs as people do?"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from course_lib.search.exact import Encoder, unit_embeddings
from course_lib.texts.checks import check_texts


def sts_similarities(
    encoder: Encoder, sentences1: list[str], sentences2: list[str], batch_size: int = 64
) -> np.ndarray:
    """Cosine of each pair of sentences, whatever the encoder's own similarity; encodes each distinct sentence once.

    encoder: anything with `.encode(texts, batch_size=…)`.
    sentences1, sentences2: N texts each; sentence i of one is compared with sentence i of the other.
    batch_size: texts per batch while encoding.
    Returns (N,) float32.
    Raises ValueError for lists of different lengths, TypeError for a sentence that is not a string.
    """
    _check_pairs(sentences1, sentences2)
    rows, row_of = unit_embeddings(encoder, [*sentences1, *sentences2], batch_size)
    first, second = rows[row_of[: len(sentences1)]], rows[row_of[len(sentences1) :]]
    return (first * second).sum(-1)


def evaluate_sts(
    encoder: Encoder, sentences1: list[str], sentences2: list[str], scores: ArrayLike, batch_size: int = 64
) -> dict[str, float]:
    """Correlate the cosines of sentence pairs with human scores.

    encoder, sentences1, sentences2, batch_size: as in `sts_similarities`.
    scores: (N,), on any scale, higher for more similar.
    Returns {"spearman", "pearson"}, each between −1 and 1, over all pairs at once; NaN for an encoder that gives every
        pair the same cosine, because then there is no order to compare.
    Raises ValueError for lists of different lengths, fewer than two pairs, and scores that are all the same.
    """
    _check_pairs(sentences1, sentences2)
    scores = check_scores(scores)
    if len(sentences1) != len(scores):
        raise ValueError(f"`scores` holds {len(scores)} values for {len(sentences1)} sentence pairs; pass one per pair")
    similarities = sts_similarities(encoder, sentences1, sentences2, batch_size)
    if np.ptp(similarities) == 0:
        return {"spearman": float("nan"), "pearson": float("nan")}
    return {
        "spearman": float(stats.spearmanr(similarities, scores).statistic),
        "pearson": float(stats.pearsonr(similarities.astype(np.float64), scores).statistic),
    }


def _check_pairs(sentences1, sentences2):
    check_texts(sentences1, "sentences1")
    check_texts(sentences2, "sentences2")
    if len(sentences1) != len(sentences2):
        counts = f"`sentences1` holds {len(sentences1)} sentences and `sentences2` {len(sentences2)}"
        raise ValueError(f"{counts}; sentence i of one is compared with sentence i of the other, so pass equally many")


def check_scores(scores: ArrayLike) -> np.ndarray:
    """The scores as (N,) float64. Raises ValueError where they cannot be correlated with anything."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(f"`scores` has shape {scores.shape}; pass one value per pair, for at least 2 pairs")
    if not np.isfinite(scores).all():
        first = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"`scores`[{first}] is {scores[first]}; leave out the pairs that nobody scored")
    if np.ptp(scores) == 0:
        raise ValueError(f"`scores` are all {scores[0]:g}; a correlation needs pairs that people scored differently")
    return scores
