"""The record of a run: what it is known by, what it did, and how it was measured."""

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import filelock
import numpy as np
import psutil
import torch

from course_lib.evaluation import bootstrap_spearman, evaluate_retrieval, sts_similarities
from course_lib.search.exact import similarity_of
from course_lib.storage import DATA, cache_folder, fingerprint, write_atomically

RECORDS = DATA / "recorded-runs"
QUERIES = "queries.json"  # beside the records that ship: names of queries and human scores, once for all of them
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
        """Write the record as JSON, whole or not at all. The file needs no other one."""
        write_atomically(path, json.dumps(asdict(self), ensure_ascii=False) + "\n")

    def ship(self, folder: str | Path | None = None) -> Path:
        """Write the record as `{profile}-{method}-{seed}.json`, about a quarter as large as what `save` writes.

        The values of the queries are a list, the training's steps are columns. What many records share, names of
        queries and STS-B's human scores, goes into one file beside them, and the record keeps its key.

        folder: by default that of the records that ship with the course.
        Returns the path of the file.
        """
        folder, record, shared = Path(folder or RECORDS), asdict(self), {}

        def share(values):
            key = fingerprint(values)[:8]
            shared[key] = values
            return key

        for result in record["results"].values():
            result["queries"] = share(list(result["per_query"]))
            result["per_query"] = list(result["per_query"].values())
            if "scores" in result:
                result["scores"] = share(result["scores"])
        if self.training:
            record["training"]["steps"] = _columns(self.training["steps"])
        _add_shared(folder, shared)
        path = folder / f"{self.profile}-{self.method}-{self.seed}.json"
        write_atomically(path, _compact(record) + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> "RunRecord":
        """Read what `save` or `ship` wrote. Raises ValueError for anything else."""
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            for result in record["results"].values():
                _restore(result, Path(path).parent)
            if record["training"] and isinstance(steps := record["training"]["steps"], dict):
                record["training"]["steps"] = [dict(zip(steps, row)) for row in zip(*steps.values())]
            return cls(**record)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a run record ({error!r}); delete it and run again") from error


# --------------------------------------------------------------------------- the records that ship, made small


def _compact(content):
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _columns(steps):
    """{name: values}, one value per step."""
    return {name: [step[name] for step in steps] for name in (steps[0] if steps else ())}


def _restore(result, folder):
    """Put names and scores back into a result whose queries are shared."""
    if key := result.pop("queries", None):
        shared = read_shared(folder)
        result["per_query"] = dict(zip(shared[key], result["per_query"], strict=True))
        if "scores" in result:
            result["scores"] = list(shared[result["scores"]])


def read_shared(folder: Path) -> dict[str, list]:
    """{key: names of queries, or human scores} of the records in a folder; {} where none has been shipped there."""
    path = folder / QUERIES
    return _read_shared(path, path.stat().st_mtime_ns) if path.is_file() else {}


@lru_cache(maxsize=4)
def _read_shared(path, changed):
    return json.loads(path.read_text(encoding="utf-8"))


def _add_shared(folder, lists):
    """Add to the shared lists, under a lock: two runs may end at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with _shared_lock():
        known = read_shared(folder)
        if not lists.keys() <= known.keys():
            write_shared(folder, known | lists)


def keep_shared(folder: Path, keys: set[str]):
    """Remove the shared lists with other keys."""
    with _shared_lock():
        write_shared(folder, {key: values for key, values in read_shared(folder).items() if key in keys})


def _shared_lock():
    return filelock.FileLock(cache_folder() / "recorded-runs.lock")


def write_shared(folder: Path, lists: dict[str, list]):
    """Write the shared lists, one per line, so that changes can be read and merged."""
    lines = ",\n".join(f"{json.dumps(key)}:{_compact(lists[key])}" for key in sorted(lists))
    write_atomically(folder / QUERIES, "{\n" + lines + "\n}\n")


def load_shipped(*names: str, profile: str | None = None) -> list[RunRecord]:
    """The run records that ship with the course, whatever they were made with: run by run, by file name.

    names: of the runs, as in `RunRecord.method`.
    profile: of the runs; None for every profile.
    """
    found = ((n, RunRecord.load(path)) for n in names for path in sorted(RECORDS.glob(f"*{n}-[0-9]*.json")))
    # "*tsdae" finds "target-tsdae" as well
    return [record for name, record in found if record.method == name and profile in (None, record.profile)]


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
        task = shortened(task, queries)
        scores = evaluate_retrieval(ranker, task.queries, task.corpus, task.relevant, drop_identical=True)
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


def shortened(task, queries: int | None):
    """A labelled task with fewer queries.

    task: a RetrievalTask.
    queries: how many to keep, the first ones; None for the task as it is.
    Returns a RetrievalTask; its candidates are the answers, and four times as many others as there are queries.
    """
    if queries is None:
        return task
    chosen = dict(list(task.queries.items())[:queries])
    relevant = {q: task.relevant[q] for q in chosen}
    answers = {i for judged in relevant.values() for i in judged}
    kept = answers.union([i for i in task.corpus if i not in answers][: 4 * queries])
    corpus = {i: text for i, text in task.corpus.items() if i in kept}
    return replace(task, queries=chosen, corpus=corpus, relevant=relevant)


def _rounded(values):
    return {str(k): round(float(v), 5) for k, v in values.items()}
