"""What search costs and what it misses at 10,000, 100,000 and 1,000,000 texts: the record that notebook 13 shows.

    python -m course_lib.recipes.search_at_scale [SIZE …]

Encodes a million texts with all-MiniLM-L6-v2 first (about an hour on one core; a stopped encoding continues), then
measures each search; what is measured already is kept. Queries come one by one.
"""

import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from course_lib.experiments.records import machine, versions
from course_lib.models import SentenceEncoder
from course_lib.models.minilm import minilm_folder
from course_lib.models.precision import autocast, choose_precision
from course_lib.recipes import kept
from course_lib.search import ApproximateSearch, ExactSearch, encode_to_file
from course_lib.storage import DATA
from course_lib.texts import python_docs
from course_lib.training.record import peak_of_process

RECORD = DATA / "recorded-runs" / "search-at-scale.json"
SIZES = (10_000, 100_000, 1_000_000)
QUERIES, K = 200, 10
# what notebook 13 draws: of each index several breadths, the default of `ApproximateSearch` among them
BREADTHS = {
    "hnsw": (16, 32, 64, 128, 256),
    "ivf": (4, 8, 16, 32, 64),
    "int8": (10, 30, 100),
    "binary": (10, 50, 200, 1000),
}


def a_million(sentences: Sequence[str], count: int = max(SIZES)) -> list[str]:
    """The course's sentences, then texts of two halves: the first half of one and the second half of another.

    sentences: S texts of distinct content.
    count: how many texts. Text n has its first half from sentence n mod S, its second from the one n // S × 997 places
        later, so that no two texts have the same halves; the first S are the sentences as they are.
    """
    words = [text.split() for text in sentences]
    halves = [(" ".join(of[: (len(of) + 1) // 2]), " ".join(of[(len(of) + 1) // 2 :])) for of in words]
    size = len(sentences)
    return [
        sentences[n] if n < size else f"{halves[n % size][0]} {halves[(n + n // size * 997) % size][1]}"
        for n in range(count)
    ]


def new_summaries(docs: python_docs.PythonDocs, sentences: Sequence[str], count: int = QUERIES) -> list[str]:
    """The first summaries that are not among the sentences: queries whose answer is another text."""
    known = set(sentences)
    return [d.summary for d in docs.documents if d.summary and d.summary not in known][:count]


def ask(search: ExactSearch, queries: list[str], vectors: np.ndarray) -> tuple[list[list], float]:
    """The ids that a search finds for each query, and its milliseconds per query: their median, of queries embedded."""
    search.encoder = Known(queries, vectors)
    search.search(queries[0], K)  # the first reads the vectors from the disk
    found, times = [], []
    for query in queries:
        began = time.perf_counter()
        found.append([hit.id for hit in search.search(query, K)])
        times.append(time.perf_counter() - began)
    return found, float(np.median(times)) * 1e3


class Known:
    """An encoder of texts whose embeddings are known."""

    def __init__(self, texts, vectors):
        self.of = dict(zip(texts, vectors))

    def encode(self, texts, batch_size=64):
        """(len(texts), d) float32."""
        return np.stack([self.of[text] for text in texts])


def measure(size: int, texts: list[str], vectors: np.ndarray, queries: list[str], asked: np.ndarray) -> list[dict]:
    """Recall, milliseconds per query, bytes per vector and seconds of building, of every index and breadth.

    size: how many of the texts and vectors.
    """
    texts, vectors = texts[:size], vectors[:size]
    right, took = ask(ExactSearch(Known([], []), texts, similarity="cosine", vectors=vectors), queries, asked)
    rows = [{"index": "exact", "breadth": None, "recall": 1.0, "ms": took, "bytes": 4 * vectors.shape[1], "build": 0.0}]
    for index, breadths in BREADTHS.items():
        began = time.perf_counter()
        search = ApproximateSearch(Known([], []), texts, similarity="cosine", vectors=vectors, index=index)
        build = time.perf_counter() - began
        for breadth in breadths:
            search.breadth = breadth
            found, took = ask(search, queries, asked)
            recall = np.mean([len({*a} & {*b}) / K for a, b in zip(found, right)])
            rows.append({"index": index, "breadth": breadth, "recall": float(recall), "ms": took, "build": build})
            rows[-1]["bytes"] = search.bytes_per_vector()
    return [{name: round(v, 4) if isinstance(v, float) else v for name, v in row.items()} for row in rows]


def main(sizes: Sequence[int] = SIZES) -> None:
    """Measure the sizes that have no record yet."""
    docs = python_docs.load()
    encoder = SentenceEncoder.from_pretrained(minilm_folder())
    sentences = list(dict.fromkeys(docs.sentences))
    queries = new_summaries(docs.test, sentences)
    asked = encoder.encode(queries, normalize=True)
    texts = a_million(sentences, max(sizes))
    began, before = time.perf_counter(), peak_of_process()
    with autocast(encoder.device, choose_precision("auto", encoder.device)):
        vectors = encode_to_file(encoder, texts)
    peaks = f"{before / 1e9:.2f} → {peak_of_process() / 1e9:.2f} GB"
    print(f"encoded in {time.perf_counter() - began:.0f} s; peak of memory {peaks}", flush=True)
    for size in sizes:
        record = kept.load(RECORD)
        if str(size) not in record.get("sizes", {}):
            rows = measure(size, texts, vectors, queries, asked)
            record |= {"machine": machine(), "versions": versions(), "threads": os.environ.get("OMP_NUM_THREADS")}
            record.setdefault("sizes", {})[str(size)] = rows
            kept.write(RECORD, record)
            for row in rows:
                print(size, row, flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or SIZES)
