"""Approximate search: an index proposes candidates, and their exact scores decide."""

import hashlib
from typing import Any

import numpy as np

from course_lib.search.exact import Encoder, ExactSearch, Texts, check_k, top
from course_lib.storage import cache_folder, fingerprint, replacing

EXACT_UP_TO = 500_000  # texts; exact search takes about 90 ms per query there (notebook 13), and misses nothing
# index: how many neighbours it keeps on its way (hnsw), lists it reads (ivf), candidates that are scored exactly
BREADTH = {"hnsw": 64, "ivf": 32, "int8": 30, "binary": 200}


class ApproximateSearch(ExactSearch):
    """Search as ExactSearch does, without a look at every vector. The index is made with faiss and kept in the cache.

    encoder, texts, options: as in `ExactSearch`.
    index: what proposes candidates. "hnsw": a graph of near neighbours, through which the search walks (Malkov and
        Yashunin, 2018). "ivf": lists of the vectors around 4 √N centres, of which the nearest are read. "int8" and
        "binary": every vector, with one byte or one bit per dimension.
    breadth: the larger, the more is found and the longer it takes; by default BREADTH. Neighbours that hnsw keeps on
        its way (efSearch), lists that ivf reads (nprobe), candidates whose exact scores are computed (int8, binary).
    Memory: the index; the vectors too, unless they are mapped from a file.
    Raises as ExactSearch; ValueError for another index and for a breadth below 1; ImportError without faiss.
    """

    def __init__(
        self, encoder: Encoder, texts: Texts, *options, index: str = "hnsw", breadth: int | None = None, **named_options
    ):
        if index not in BREADTH:
            raise ValueError(f"index is {index!r}; choose one of {', '.join(BREADTH)}")
        self.kind, self.breadth = index, BREADTH[index] if breadth is None else breadth
        check_k(self.breadth)
        super().__init__(encoder, texts, *options, **named_options)
        self.index = _kept_index(index, self.rows)
        self._order = np.argsort(self.row_of, kind="stable")  # the texts of row 0, then those of row 1, …
        self._ends = np.cumsum(np.bincount(self.row_of, minlength=len(self.rows)))  # where those of each row end

    def candidates(self, queries: np.ndarray, k: int) -> np.ndarray:
        """What the index proposes: (Q, d) embeddings → (Q, at least k where there are so many) rows, -1 for none."""
        count = min(len(self.rows), k if self.kind == "ivf" else max(k, self.breadth))
        if self.kind == "binary":
            return self.index.search(_bits(queries), count)[1]
        if self.kind == "hnsw":
            self.index.hnsw.efSearch = count
        if self.kind == "ivf":
            self.index.nprobe = min(self.breadth, self.index.nlist)
        return self.index.search(np.ascontiguousarray(queries, dtype=np.float32), count)[1]

    def bytes_per_vector(self) -> float:
        """Memory that the index takes per distinct text; vectors that are mapped from a file take disk beside it."""
        return _of_faiss("serialize_index", self.kind)(self.index).nbytes / len(self.rows)

    def _best(self, queries, k):
        for query, candidates in zip(queries, self.candidates(queries, k)):
            rows = np.sort(candidates[candidates >= 0])
            scores = self.rows[rows] @ query
            yield [(i, scores[n]) for n in top(scores, k) for i in self._texts_of(rows[n])][:k]

    def _texts_of(self, row):
        """The positions of the texts with this row: several, where they are equal."""
        return self._order[self._ends[row - 1] if row else 0 : self._ends[row]].tolist()

    def cache_key(self) -> dict[str, Any]:
        """What the results depend on, for `storage.fingerprint`."""
        return super().cache_key() | {"index": self.kind, "breadth": self.breadth}


def choose_search(encoder: Encoder, texts: Texts, **options) -> ExactSearch:
    """The search for a number of texts: ExactSearch for up to EXACT_UP_TO, ApproximateSearch with HNSW for more.

    encoder, texts, options: as `ExactSearch` takes them.
    """
    return (ExactSearch if len(texts) <= EXACT_UP_TO else ApproximateSearch)(encoder, texts, **options)


def _kept_index(kind, rows):
    """The faiss index over rows, (N, d), from the cache or built and kept there."""
    faiss = _library()
    digest = hashlib.sha256()
    for start in range(0, len(rows), 2**16):
        digest.update(np.ascontiguousarray(rows[start : start + 2**16]))
    path = (
        cache_folder() / "indexes" / f"{fingerprint([kind, rows.shape, digest.hexdigest(), faiss.__version__])}.faiss"
    )
    if path.is_file():
        return _of_faiss("read_index", kind)(str(path))
    index = _BUILD[kind](faiss, rows)
    with replacing(path) as temporary:
        _of_faiss("write_index", kind)(index, str(temporary))
    return index


def _of_faiss(name, kind):
    """A function of faiss, which has each twice: for indexes of numbers, and of bits."""
    return getattr(_library(), f"{name}_binary" if kind == "binary" else name)


def _hnsw(faiss, rows):
    # 32 neighbours per vector: faiss's own default and the middle of the range that the paper recommends (5 to 48)
    index = faiss.IndexHNSWFlat(rows.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    return _filled(index, rows)


def _ivf(faiss, rows):
    # 4 √N lists: the low end of faiss's own guidelines (4 √N to 16 √N); at least 39 vectors per list to learn a centre
    lists = max(1, min(int(4 * len(rows) ** 0.5), len(rows) // 39))
    centres = faiss.IndexFlatIP(rows.shape[1])
    index = faiss.IndexIVFFlat(centres, rows.shape[1], lists, faiss.METRIC_INNER_PRODUCT)
    index.own_fields, _ = True, centres.this.disown()  # the index outlives this function, so it must own its part
    return _filled(index, rows, 64 * lists)


def _int8(faiss, rows):
    index = faiss.IndexScalarQuantizer(rows.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    return _filled(index, rows, 100_000)


def _binary(faiss, rows):
    return _filled(faiss.IndexBinaryFlat(8 * -(-rows.shape[1] // 8)), rows, convert=_bits)


def _filled(index, rows, sample=0, convert=lambda rows: np.ascontiguousarray(rows, dtype=np.float32)):
    """The index with all rows, added in blocks, after it has learned from at most `sample` of them."""
    if sample:
        index.train(convert(rows[:: max(1, len(rows) // sample)]))
    for start in range(0, len(rows), 2**16):
        index.add(convert(rows[start : start + 2**16]))
    return index


def _bits(rows):
    """One bit per dimension, set where it is above 0: (N, d) → (N, d / 8) uint8."""
    return np.packbits(rows > 0, axis=1)


_BUILD = {"hnsw": _hnsw, "ivf": _ivf, "int8": _int8, "binary": _binary}


def _library():
    """faiss, which is imported by who needs it; a search in few texts does not."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError("an approximate search needs faiss; pip install faiss-cpu") from error
    return faiss
