"""Exact search: the score of the query with every text, nothing approximated."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from course_lib.texts.checks import check_texts

SCORES_HELD = 2**24  # how many scores are in memory at once: 64 MB of float32


class Hit(NamedTuple):
    """One result: the text's id (its key, or its position in the list), its score (higher is better) and itself."""

    id: object
    score: float
    text: str


class ExactSearch:
    """Finds the texts whose embeddings have the largest cosine, or dot product, with the query's.

    encoder: whatever has `.encode(texts, batch_size=…)` → (len(texts), d). texts: a list, or a dict of id → text.
    progress: show a bar while encoding; the encoder must take `progress`. similarity: "cosine", or "dot" for an encoder
    that MarginMSE trained. Memory: one float32 row a distinct text.
    Raises ValueError where there is no text and for another similarity, TypeError where a text is not a string.
    """

    def __init__(self, encoder, texts, batch_size=64, progress=False, similarity="cosine"):
        if similarity not in EMBEDDINGS:
            raise ValueError(f"similarity is {similarity!r}; choose one of {', '.join(EMBEDDINGS)}")
        self.encoder, self.batch_size, self.similarity = encoder, batch_size, similarity
        self.ids, self.texts = ids_and_texts(texts)
        self.rows, self.row_of = EMBEDDINGS[similarity](encoder, self.texts, batch_size, progress)

    def __len__(self):
        return len(self.texts)

    def search(self, query, k=10):
        """The k best Hits, best first; equal scores in the order of the texts. A list of queries gives a list of lists.

        Fewer than k where there are fewer texts. Raises ValueError where k < 1.
        """
        check_k(k)
        if isinstance(query, str):
            return self.search([query], k)[0]
        rows, row_of = EMBEDDINGS[self.similarity](self.encoder, query, self.batch_size, name="query")
        return [self._hits(scores, k) for scores in cosine_scores(rows[row_of], self.rows, self.row_of)]

    def _hits(self, scores, k):
        return [Hit(self.ids[i], float(scores[i]), self.texts[i]) for i in top(scores, k)]


def unit_embeddings(encoder, texts, batch_size=64, progress=False, name="texts"):
    """L2-normalised embeddings of the distinct texts, as `distinct_embeddings`; a zero embedding stays zero."""
    rows, row_of = distinct_embeddings(encoder, texts, batch_size, progress, name)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), row_of


def distinct_embeddings(encoder, texts, batch_size=64, progress=False, name="texts"):
    """Embeddings of the distinct texts, each encoded once.

    Returns rows (U, d) float32 and row_of (len(texts),): the embedding of text i is rows[row_of[i]]. Equal texts share
    a row, so their scores are equal to the last bit. `name` is what errors call the texts.
    Raises TypeError where a text is not a string, ValueError where the encoder gives NaN, infinity or another shape.
    """
    check_texts(texts, name)
    if not len(texts):
        return np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    shown = {"progress": True} if progress else {}  # other libraries' encoders do not know the argument
    rows = np.asarray(encoder.encode(list(row_of), batch_size=batch_size, **shown), dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(row_of):
        raise ValueError(f"the encoder gives shape {rows.shape} for {len(row_of)} texts; it must give one row a text")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(broken):
        raise ValueError(
            f"the encoder gives NaN or infinite embeddings for {len(broken)} of {len(rows)} texts, first "
            f"{list(row_of)[broken[0]][:80]!r}; if its training diverged, lower the learning rate"
        )
    return rows, np.array([row_of[text] for text in texts], dtype=np.int64)


EMBEDDINGS = {"cosine": unit_embeddings, "dot": distinct_embeddings}  # a dot product of unit vectors is their cosine


def cosine_scores(queries, rows, row_of):
    """Yield for each query, (Q, d), its scores with all N texts, (N,); only SCORES_HELD of them are in memory at once.

    rows (U, d) and row_of (N,) are what `unit_embeddings` gives; queries are such rows too.
    """
    step = max(1, SCORES_HELD // max(1, len(rows)))
    for start in range(0, len(queries), step):
        for scores in queries[start : start + step] @ rows.T:
            yield scores[row_of]


def top(scores, k=None):
    """Positions of the k highest of the scores (N,), best first; equal scores stay in order. k=None means all."""
    candidates = np.arange(len(scores))
    if k is not None and k < len(scores):
        candidates = np.flatnonzero(scores >= np.partition(scores, -k)[-k])  # with ties, more than k
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


def ids_and_texts(texts):
    """The ids and the texts of a list or of a dict of id → text. Raises as `ExactSearch` does."""
    ids, texts = (list(texts), list(texts.values())) if isinstance(texts, Mapping) else (None, texts)
    check_texts(texts, "texts", ids)
    if not len(texts):
        raise ValueError("`texts` is empty; pass at least one text to search in")
    return ids or list(range(len(texts))), list(texts)


def check_k(k):
    """Raise ValueError unless k counts something."""
    if k < 1:
        raise ValueError(f"`k` is {k}; it says how many results count and must be at least 1")
