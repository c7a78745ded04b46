"""Exact search: the score of the query with every text, nothing approximated."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from course_lib.texts.checks import check_texts

SCORES_HELD = 2**24  # how many scores are in memory at once: 64 MB of float32

Texts = Sequence[str] | Mapping[Any, str]  # a list, or a dict of id → text


class Hit(NamedTuple):
    """One result of a search.

    id: the text's key in the dict, or its position in the list.
    score: higher is better.
    text: the text itself.
    """

    id: Any
    score: float
    text: str


Hits = list[Hit] | list[list[Hit]]  # of one query, or of a list of queries


class Encoder(Protocol):
    """Anything that embeds texts: a SentenceEncoder, a SentenceTransformer or an object of your own."""

    def encode(self, texts: list[str], batch_size: int = 64) -> np.ndarray: ...


class Searcher(Protocol):
    """Anything that searches: ExactSearch, BM25Search, HybridSearch, Reranked or an object of your own."""

    def search(self, query: str | list[str], k: int = 10) -> Hits: ...


class ExactSearch:
    """Find the texts whose embeddings have the largest cosine or dot product with the query's embedding.

    encoder: anything with `.encode(texts, batch_size=…)` that returns (len(texts), d).
    texts: a list, or a dict of id → text.
    batch_size: texts per batch while encoding.
    progress: whether to show a bar while encoding; the encoder must then take `progress`.
    similarity: "cosine", "dot", or None for the encoder's own: its attribute `similarity` if it has one, else "cosine".
    vectors: (N, d) embeddings of the texts that exist already, as `encode_to_file` returns them; of length 1 for
        "cosine". They are used where they are, so that those in a file stay on the disk.
    Memory: one float32 row per distinct text, and SCORES_HELD scores while searching.
    Raises ValueError for no texts, for another similarity and for vectors that do not fit, TypeError for a text that is
        not a string.
    """

    def __init__(
        self,
        encoder: Encoder,
        texts: Texts,
        batch_size: int = 64,
        progress: bool = False,
        similarity: str | None = None,
        vectors: np.ndarray | None = None,
    ):
        self.encoder, self.batch_size, self.similarity = encoder, batch_size, similarity_of(encoder, similarity)
        self.ids, self.texts = ids_and_texts(texts)
        if vectors is None:
            self.rows, self.row_of = EMBEDDINGS[self.similarity](encoder, self.texts, batch_size, progress)
        else:
            _check_vectors(vectors, len(self.texts), self.similarity)
            self.rows, self.row_of = vectors, np.arange(len(vectors))

    def __len__(self) -> int:
        return len(self.texts)

    def search(self, query: str | list[str], k: int = 10) -> Hits:
        """Find the best texts for a query, or for each of several.

        query: a text, or a list of texts.
        k: how many Hits to return; fewer where there are fewer texts.
        Returns a list of Hits, best first, equal scores in the order of the texts; for a list of queries a list of such
            lists.
        Raises ValueError for k < 1.
        """
        check_k(k)
        if isinstance(query, str):
            return self.search([query], k)[0]
        rows, row_of = EMBEDDINGS[self.similarity](self.encoder, query, self.batch_size, name="query")
        found = self._best(rows[row_of], k) if len(query) else []
        return [[Hit(self.ids[i], float(score), self.texts[i]) for i, score in best] for best in found]

    def _best(self, queries, k):
        """For each embedding of a query, (Q, d), the positions of its k best texts with their scores."""
        for scores in score_texts(queries, self.rows, self.row_of):
            yield [(i, scores[i]) for i in top(scores, k)]

    def cache_key(self) -> dict[str, Any]:
        """What the results depend on, for `storage.fingerprint`.

        The embeddings are left out: their last bits differ with the number of threads.
        """
        return {"ids": self.ids, "texts": self.texts, "similarity": self.similarity, "encoder": self.encoder}


def _check_vectors(vectors, count, similarity):
    """Raise ValueError for another shape, and for cosines of vectors that are not of length 1."""
    if vectors.ndim != 2 or len(vectors) != count:
        raise ValueError(f"vectors has shape {vectors.shape} for {count} texts; it must have one row per text")
    lengths = np.linalg.norm(vectors[:: max(1, count // 1000)], axis=1)
    if similarity == "cosine" and np.abs(lengths - 1).max() > 1e-3:
        raise ValueError("vectors are not of length 1, as cosines need; make them with encode_to_file(normalize=True)")


def similarity_of(encoder: Encoder, similarity: str | None = None) -> str:
    """The similarity to rank an encoder's embeddings by.

    encoder: may say its own in an attribute `similarity`, or in `similarity_fn_name` as a SentenceTransformer does.
    similarity: "cosine" or "dot"; None for the encoder's own, or "cosine" where it has none.
    Returns "cosine" or "dot".
    Raises ValueError for another similarity.
    """
    if similarity is None:
        # `similarity` of a SentenceTransformer is a function
        similarity = getattr(encoder, "similarity_fn_name", None) or getattr(encoder, "similarity", "cosine")
    if similarity not in EMBEDDINGS:
        raise ValueError(f"similarity is {similarity!r}; choose one of {', '.join(EMBEDDINGS)}")
    return similarity


def unit_embeddings(
    encoder: Encoder, texts: Sequence[str], batch_size: int = 64, progress: bool = False, name: str = "texts"
) -> tuple[np.ndarray, np.ndarray]:
    """L2-normalised embeddings of the distinct texts; arguments and results as in `distinct_embeddings`.

    An embedding of zeros stays zero.
    """
    rows, row_of = distinct_embeddings(encoder, texts, batch_size, progress, name)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), row_of


def distinct_embeddings(
    encoder: Encoder, texts: Sequence[str], batch_size: int = 64, progress: bool = False, name: str = "texts"
) -> tuple[np.ndarray, np.ndarray]:
    """Embed each distinct text once, so that equal texts have exactly equal scores.

    encoder, batch_size, progress: as in `ExactSearch`.
    texts: a list of N texts, U of them distinct.
    name: what error messages call the texts.
    Returns rows, (U, d) float32, and row_of, (N,) int64: the embedding of text i is rows[row_of[i]].
    Raises TypeError for a text that is not a string, ValueError where the encoder gives NaN, infinity or another shape.
    """
    check_texts(texts, name)
    if not len(texts):
        return np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    shown = {"progress": True} if progress else {}  # other libraries' encoders do not know the argument
    rows = np.asarray(encoder.encode(list(row_of), batch_size=batch_size, **shown), dtype=np.float32)
    if rows.ndim != 2 or len(rows) != len(row_of):
        raise ValueError(f"the encoder gives shape {rows.shape} for {len(row_of)} texts; it must give one row per text")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(broken):
        which = f"{len(broken)} of {len(rows)} texts, first {list(row_of)[broken[0]][:80]!r}"
        fix = "if its training diverged, lower the learning rate"
        raise ValueError(f"the encoder gives NaN or infinite embeddings for {which}; {fix}")
    return rows, np.array([row_of[text] for text in texts], dtype=np.int64)


EMBEDDINGS = {"cosine": unit_embeddings, "dot": distinct_embeddings}  # a dot product of unit vectors is their cosine


def score_texts(queries: np.ndarray, rows: np.ndarray, row_of: np.ndarray) -> Iterator[np.ndarray]:
    """Compute the dot products of each query with all N texts, at most SCORES_HELD of them at a time.

    queries: (Q, d).
    rows, row_of: (U, d) and (N,), from `unit_embeddings` or `distinct_embeddings`.
    Returns an iterator over the queries that gives (N,) scores for each.
    """
    step = max(1, SCORES_HELD // max(1, len(rows)))
    for start in range(0, len(queries), step):
        for scores in queries[start : start + step] @ rows.T:
            yield scores[row_of]


def top(scores: np.ndarray, k: int | None = None) -> np.ndarray:
    """Positions of the highest scores, best first; equal scores stay in their order.

    scores: (N,).
    k: how many positions; None for all.
    Returns (k,), or (N,) where there are fewer.
    """
    candidates = np.arange(len(scores))
    if k is not None and k < len(scores):
        candidates = np.flatnonzero(scores >= np.partition(scores, -k)[-k])  # with ties, more than k
    return candidates[np.argsort(-scores[candidates], kind="stable")][:k]


def ids_and_texts(texts: Texts) -> tuple[list, list[str]]:
    """Split a list or a dict of id → text into ids and texts; the ids of a list are its positions.

    Raises TypeError for a text that is not a string, ValueError for no texts.
    """
    ids, texts = (list(texts), list(texts.values())) if isinstance(texts, Mapping) else (None, texts)
    check_texts(texts, "texts", ids)
    if not len(texts):
        raise ValueError("`texts` is empty; pass at least one text to search in")
    return ids or list(range(len(texts))), list(texts)


def check_k(k: int) -> None:
    """Raise ValueError for k below 1."""
    if k < 1:
        raise ValueError(f"`k` is {k}; it says how many results count and must be at least 1")
