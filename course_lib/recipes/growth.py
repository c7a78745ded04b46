"""How the cost of each part of the course grows with the text: CPU seconds at 1, 3, 10 and 30 times the text.

    python -m course_lib.recipes.growth [PART …]

Prints a table and keeps what notebook 13 shows. The exponent is the slope of the logarithm of the seconds over that of
the number of texts: 1 where the cost is proportional to the text, 2 where every text meets every other. It is fitted
to the three larger sizes, because the smallest shows what a part costs at its start.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from course_lib.evaluation import evaluate_retrieval
from course_lib.experiments.records import machine, versions
from course_lib.models import SentenceEncoder
from course_lib.objectives import SimCSE
from course_lib.recipes import kept
from course_lib.recipes.search_at_scale import Known, a_million
from course_lib.search import ApproximateSearch, BM25Search, ExactSearch, mine_hard_negatives
from course_lib.storage import DATA
from course_lib.texts import harvest, own_text, python_docs
from course_lib.training import TrainingConfig, train

RECORD = DATA / "recorded-runs" / "growth.json"
TIMES = (1, 3, 10, 30)
DIMENSION = 384
SHORT = 5  # CPU seconds; what takes less is measured three times, and the fewest count
LIBRARIES = (["networkx"], ["networkx", "sklearn"], ["networkx", "sklearn", "pandas", "scipy"], list(harvest.LIBRARIES))


def random_vectors(texts):
    """An encoder that knows a random vector per text: what a search costs does not depend on their meaning."""
    rows = np.random.default_rng(0).normal(size=(len(texts), DIMENSION)).astype(np.float32)
    return Known(texts, rows / np.linalg.norm(rows, axis=1, keepdims=True))


def base_encoder():
    """The course's base encoder, on the CPU."""
    return SentenceEncoder.from_pretrained(str(DATA / "base-encoder"), device="cpu")


def harvesting(libraries):
    """The documents of some libraries."""
    return lambda: harvest.harvest(libraries, progress=False, processes=1)


def reading(texts):
    """A folder with twenty texts per file; it is removed together with what is returned."""
    folder = tempfile.TemporaryDirectory()
    for start in range(0, len(texts), 20):
        (Path(folder.name) / f"{start}.txt").write_text("\n\n".join(texts[start : start + 20]), encoding="utf-8")
    return lambda: list(own_text.load(folder.name, progress=False))


def encoding(texts):
    """Six layers, batches of 64."""
    encoder = base_encoder()
    return lambda: encoder.encode(texts)


def training(texts):
    """One pass of SimCSE, batch 64."""
    objective = SimCSE(base_encoder())
    return lambda: train(objective, texts, TrainingConfig(epochs=1, precision="fp32"), progress=False)


def evaluating(texts):
    """200 queries."""
    encoder, corpus = random_vectors(texts), dict(enumerate(texts))
    queries = {n: corpus[n] for n in range(200)}
    return lambda: evaluate_retrieval(encoder, queries, corpus, {n: {n: 1} for n in queries})


def indexing_words(texts):
    """BM25's index."""
    return lambda: BM25Search(texts)


def searching_words(texts):
    """200 queries in BM25's index."""
    search = BM25Search(texts)
    return lambda: search.search(texts[:200], 10)


def searching(texts):
    """200 queries in vectors."""
    search = ExactSearch(random_vectors(texts), texts)
    return lambda: search.search(texts[:200], 10)


def mining(texts):
    """A query for every text."""
    corpus = dict(enumerate(texts))
    retrievers = {"vectors": ExactSearch(random_vectors(texts), corpus)}
    return lambda: mine_hard_negatives(corpus, corpus, {n: {n: 1} for n in corpus}, retrievers, 10)


def building(index):
    """The index of an approximate search."""

    def prepare(texts):
        encoder = random_vectors(texts)
        return lambda: ApproximateSearch(encoder, texts, index=index)

    return prepare


# part: its smallest number of texts (for harvesting, libraries), how it is prepared, and why it may grow faster than 1
PARTS: dict[str, tuple[int, Callable, str]] = {
    "harvesting, per line of source": (0, harvesting, ""),
    "reading a folder": (1000, reading, ""),
    "encoding": (300, encoding, ""),
    "training, one pass": (128, training, ""),
    "evaluation, 200 queries": (10_000, evaluating, "each query sorts all texts, for MAP"),
    "BM25, index": (10_000, indexing_words, ""),
    "BM25, 200 queries": (
        10_000,
        searching_words,
        "each query partitions all scores; a cache holds fewer",
    ),
    "exact search, 200 queries": (33_000, searching, "memory is bounded: fewer queries share a pass over more vectors"),
    "mining, a query per text": (600, mining, "every text meets every other"),
    "HNSW, index": (1000, building("hnsw"), "each text is placed by a search in the graph so far"),
    "IVF, index": (1000, building("ivf"), "4 √N centres, compared with every text"),
}


def source_lines(libraries: Sequence[str]) -> int:
    """How many lines of Python a harvest reads."""
    files = (path for library in libraries for path, *_ in harvest.source_files(library))
    return sum(Path(path).read_bytes().count(b"\n") for path in files)


def timed(work: Callable) -> float:
    """CPU seconds of a call, with an empty cache."""
    with own_cache():
        began = time.process_time()
        work()
        return time.process_time() - began


def measure(part: str, sentences: Sequence[str]) -> dict:
    """{"texts": how many, "seconds": of CPU, "exponent"}."""
    smallest, prepare, _ = PARTS[part]
    texts, seconds = [], []
    for number, times in enumerate(TIMES):
        given = LIBRARIES[number] if prepare is harvesting else spread(sentences, smallest * times)
        work = prepare(given)
        took = timed(work)
        seconds.append(min([took, *(timed(work) for _ in range(2 if took < SHORT else 0))]))
        texts.append(source_lines(given) if prepare is harvesting else len(given))
    slope = np.polyfit(np.log(texts[1:]), np.log(seconds[1:]), 1)[0]
    return {"texts": texts, "seconds": [round(s, 3) for s in seconds], "exponent": round(float(slope), 2)}


def spread(sentences, count):
    """So many texts, spread over all sentences, so that every size has the same mean length."""
    texts = a_million(sentences, max(count, len(sentences)))
    return [texts[n] for n in np.linspace(0, len(texts) - 1, count).astype(int)]


@contextmanager
def own_cache():
    """A cache of its own, so that an index is built and not read."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["COURSE_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def main(parts: Sequence[str] = tuple(PARTS)) -> None:
    """Measure the parts, and write each into the record."""
    sentences = list(dict.fromkeys(python_docs.load().sentences))
    for part in parts:
        found = measure(part, sentences)
        record = kept.load(RECORD) | {"machine": machine(), "versions": versions()}
        record.setdefault("parts", {})[part] = found
        kept.write(RECORD, record)
        print(f"{part:28} {found['texts']} {found['seconds']} {found['exponent']}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or tuple(PARTS))
