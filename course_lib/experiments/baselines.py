"""Two cheap baselines made of the base encoder: nothing is trained, and both are measured as an encoder is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from course_lib.models import SentenceEncoder

WHITENED_BY = 5000  # texts; far more than the vectors have numbers


class StaticVectors:
    """A text as the mean of its word pieces' input embeddings, without any layer on top of them.

    encoder: whose tokenizer and embeddings are used.
    """

    similarity = "cosine"

    def __init__(self, encoder: SentenceEncoder):
        self.encoder = encoder
        self.vectors = encoder.transformer.get_input_embeddings().weight.detach().float().cpu().numpy()

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Embed texts: (len(texts), d). [CLS] and [SEP] are left out where there is any other token."""
        found = np.zeros((len(texts), self.vectors.shape[1]), np.float32)
        for row, ids in enumerate(self.encoder.token_ids(texts)):
            found[row] = self.vectors[ids[1:-1] or ids].mean(0)
        return found


class Whitened:
    """An encoder's vectors with mean 0, variance 1 and no correlation between their numbers (Su et al., 2021).

    encoder: whose vectors are whitened.
    texts: of the domain, without labels; mean and covariance are measured on at most WHITENED_BY of them, at equal
        distances.
    """

    similarity = "cosine"

    def __init__(self, encoder: SentenceEncoder, texts: Sequence[str]):
        self.encoder = encoder
        few = texts[:: max(1, len(texts) // WHITENED_BY)][:WHITENED_BY]
        self.mean, self.matrix = whitening(encoder.encode(few))

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Embed texts: (len(texts), d)."""
        vectors = self.encoder.encode(texts, batch_size=batch_size)
        return ((vectors - self.mean) @ self.matrix).astype(np.float32)


def whitening(x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The mean, (d,), and the matrix W, (d, d), for which the rows of (x − mean) W are white.

    x: (N, d), of more rows than columns.
    W is U Λ^(−1/2), with the eigenvectors U and eigenvalues Λ of the covariance of x (Su et al., 2021, algorithm 1).
    Raises ValueError for other shapes.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) <= x.shape[1]:
        raise ValueError(f"`x` has shape {x.shape}; pass one row per text, and more texts than a vector has numbers")
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
    return x.mean(0), vectors / np.sqrt(np.maximum(values, 1e-12))


def make_baseline(start: str, encoder: SentenceEncoder, texts: Sequence[str]) -> StaticVectors | Whitened:
    """The baseline of a key of STARTS, "static" or "whitened".

    encoder: the base encoder.
    texts: of the domain.
    """
    return StaticVectors(encoder) if start == "static" else Whitened(encoder, texts)
