"""The record of a run: what it is known by, what it did, and how it was measured."""

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
import torch

from course_lib.evaluation import bootstrap_spearman, evaluate_retrieval, sts_similarities
from course_lib.search.exact import similarity_of
from course_lib.storage import DATA, write_atomically

RECORDED = DATA / "recorded-runs"
PACKAGES = ("torch", "transformers", "datasets", "numpy", "scipy", "accelerate", "bm25s")
STS = "stsb"


@dataclass
class RunRecord:
    """Everything that a row of a table needs, and everything needed to run it again.

    method: the name of the Run, such as "simcse" or "target-source-gpl".
    title: in tables.
    profile, seed: of the Run.
    configuration: start, stages with their recipes, domain, search, queries and split.
    data: fingerprints of the corpus and of the weights that it used.
    versions, machine: what it ran on.
    results: {task: {"title", "metric", "value", "per_query": {query id: value}}}; for STS-B "per_query" holds
        the cosine of every pair, and "scores" the human ones.
    training: the TrainingRecord of the last stage as a dict; None where nothing was trained.
    seconds: of that training.
    evaluation_seconds: of the measurement.
    texts_per_second: of the training.
    peak_memory: in bytes.
    note: "recorded" for a record that ships with the course.
    """

    method: str
    title: str
    profile: str
    seed: int
    configuration: dict
    data: dict
    versions: dict
    machine: dict
    results: dict = field(default_factory=dict)
    training: dict | None = None
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    texts_per_second: float = 0.0
    peak_memory: int = 0
    note: str = ""

    @property
    def recipe(self) -> dict | None:
        """The recipe of the last stage as a dict; None where nothing was trained."""
        stages = self.configuration["stages"]
        return stages[-1]["recipe"] if stages else None

    def save(self, path: str | Path):
        """Write the record as JSON, whole or not at all."""
        write_atomically(path, json.dumps(asdict(self), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "RunRecord":
        """Read what `save` wrote. Raises ValueError for anything else."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a run record ({error}); delete it and run again") from error


def load_shipped(*names: str) -> list[RunRecord]:
    """The run records that ship with the course, whatever they were made with: run by run, by file name.

    names: of the runs, as in `RunRecord.method`.
    """
    found = ((n, RunRecord.load(path)) for n in names for path in sorted(RECORDED.glob(f"*{n}-[0-9]*.json")))
    return [record for name, record in found if record.method == name]  # "*tsdae" finds "target-tsdae" as well


def shipped_records(run, split: str = "test", same_texts: bool = False) -> list[RunRecord]:
    """The records of a run that ship with the course, one per seed; [] where none has the same settings and weights.

    same_texts: whether their texts must be those of this machine, too; other versions of the libraries have others.
    """

    def known_by(configuration, data):
        return configuration, {k: v for k, v in data.items() if same_texts or k != "texts"}

    wanted = json.loads(json.dumps(known_by(run.configuration(split), run.data())))  # tuples are lists in a file
    return [r for r in load_shipped(run.name) if list(known_by(r.configuration, r.data)) == wanted]


def versions() -> dict[str, str]:
    """{package: version} of what a result may depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def machine() -> dict:
    """What a run was computed on, without naming whose it is."""
    system = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    system |= {"instructions": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return system | {"memory_gb": round(psutil.virtual_memory().total / 2**30), "gpu": gpu}


# --------------------------------------------------------------------------- measuring


def measure(ranker, tasks: Iterable, sts: tuple | None = None, queries: int | None = None) -> dict:
    """Results of one system on every task, with the value of each query.

    ranker: an encoder, or a function (queries, corpus) → {query id: ranked corpus ids}.
    tasks: RetrievalTasks.
    sts: (sentences1, sentences2, scores), measured for encoders only.
    queries: take only so many of each task, and four times as many candidates. Such results compare with nothing but
        each other.
    Returns `RunRecord.results`.
    """
    results, ranker = {}, _EncodesOnce(ranker) if hasattr(ranker, "encode") else ranker
    for task in tasks:
        chosen = dict(list(task.queries.items())[:queries])
        relevant = {q: task.relevant[q] for q in chosen}
        corpus = task.corpus if queries is None else _smaller(task.corpus, relevant, 4 * queries)
        scores = evaluate_retrieval(ranker, chosen, corpus, relevant, drop_identical=True)
        per_query = _rounded(scores["per_query"][task.metric])
        value = scores[task.metric]
        results[task.name] = {"title": task.title, "metric": task.metric, "value": value, "per_query": per_query}
    if sts is not None and hasattr(ranker, "encode"):
        first, second, scores = (list(part)[: queries and 5 * queries] for part in sts)
        similarities = sts_similarities(ranker, first, second)
        value, _, _ = bootstrap_spearman(similarities, scores, samples=1)
        per_query = _rounded(dict(enumerate(similarities.tolist())))
        of_pairs = {"title": "STS-B", "metric": "spearman", "value": value}
        results[STS] = {**of_pairs, "scores": scores, "per_query": per_query}
    return results


class _EncodesOnce:
    """An encoder that embeds no text twice; the tasks share many."""

    def __init__(self, encoder):
        self.encoder, self.known = encoder, {}
        self.similarity = similarity_of(encoder)

    def encode(self, texts, batch_size=64):
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known.update(zip(new, self.encoder.encode(new, batch_size=batch_size)))
        return np.array([self.known[text] for text in texts])


def _smaller(corpus, relevant, size):
    """Every relevant text, and the first `size` of the others."""
    answers = {i for judged in relevant.values() for i in judged}
    others = [i for i in corpus if i not in answers][:size]
    kept = {*answers, *others}
    return {i: text for i, text in corpus.items() if i in kept}


def _rounded(values):
    return {str(k): round(float(v), 5) for k, v in values.items()}
