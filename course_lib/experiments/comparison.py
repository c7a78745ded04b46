"""Run records, and the comparison that is computed from them alone."""

import html
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch

from course_lib.evaluation.retrieval import evaluate_retrieval
from course_lib.evaluation.significance import bootstrap_interval, bootstrap_spearman, paired_bootstrap
from course_lib.evaluation.sts import sts_similarities
from course_lib.storage import write_atomically

PACKAGES = ("torch", "transformers", "datasets", "numpy", "scipy", "accelerate", "bm25s")
STS = "stsb"


@dataclass
class RunRecord:
    """Everything that a row of the comparison needs, and everything needed to run it again.

    results: {task: {"title", "metric", "value", "per_query": {query id: value}}}; for STS "per_query" holds the cosine of
    every pair, and "scores" the human ones. training: a TrainingRecord as a dict, or None.
    """

    method: str
    title: str
    profile: str
    seed: int
    configuration: dict
    data: dict  # fingerprints of texts and starting weights
    versions: dict
    machine: dict
    results: dict = field(default_factory=dict)
    training: dict | None = None
    seconds: float = 0.0  # of training
    evaluation_seconds: float = 0.0
    texts_per_second: float = 0.0
    peak_memory: int = 0  # bytes
    note: str = ""

    def save(self, path):
        """Write as JSON, whole or not at all."""
        write_atomically(path, json.dumps(asdict(self), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path):
        """Read what `save` wrote; ValueError for anything else."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a run record ({error}); delete it and run again") from error


def versions():
    """{package: version} of what a result may depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def machine():
    """What ran it, without naming whose it is."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "gpu": gpu,
    }


# --------------------------------------------------------------------------- measuring


def measure(ranker, tasks, sts=None, queries=None):
    """Results of one system on every task, with each query's value.

    ranker: an encoder, or a function (queries, corpus) → {query id: ranked corpus ids}. tasks: RetrievalTasks.
    sts: (sentences1, sentences2, scores), for encoders only. queries: take only so many of each task, and four times as
    many candidates; such results compare with nothing but each other.
    """
    results, ranker = {}, _Once(ranker) if hasattr(ranker, "encode") else ranker
    for task in tasks:
        chosen = dict(list(task.queries.items())[:queries])
        relevant = {q: task.relevant[q] for q in chosen}
        corpus = task.corpus if queries is None else _smaller(task.corpus, relevant, 4 * queries)
        scores = evaluate_retrieval(ranker, chosen, corpus, relevant, drop_identical=True)
        results[task.name] = {
            "title": task.title,
            "metric": task.metric,
            "value": scores[task.metric],
            "per_query": _rounded(scores["per_query"][task.metric]),
        }
    if sts is not None and hasattr(ranker, "encode"):
        first, second, scores = (list(part)[: queries and 5 * queries] for part in sts)
        similarities = sts_similarities(ranker, first, second)
        value, _, _ = bootstrap_spearman(similarities, scores, samples=1)
        results[STS] = {
            "title": "STS-B",
            "metric": "spearman",
            "value": value,
            "scores": scores,
            "per_query": _rounded(dict(enumerate(similarities.tolist()))),
        }
    return results


class _Once:
    """An encoder that embeds no text twice; the tasks share many."""

    def __init__(self, encoder):
        self.encoder, self.known = encoder, {}

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


# --------------------------------------------------------------------------- comparing


def interval(records, task):
    """Interval(value, low, high) of one method on a task, over queries and seeds; None where it was not measured."""
    values, scores = _values(records, task)
    if not values:
        return None
    return bootstrap_spearman(values, scores) if task == STS else bootstrap_interval(values)


def difference(records, baseline, task):
    """Difference(difference, low, high, p) of a method and a baseline on the same queries, both given as run records."""
    (ours, scores), (theirs, _) = _values(records, task), _values(baseline, task)
    if not ours or not theirs:
        return None
    return bootstrap_spearman(ours, scores, theirs) if task == STS else paired_bootstrap(ours, theirs)


def _values(records, task):
    """One item a seed ({query id: value}; for STS the list of cosines), and for STS the human scores."""
    results = [r.results[task] for r in records if task in r.results]
    if task == STS:
        return [list(r["per_query"].values()) for r in results], results[0]["scores"] if results else None
    return [r["per_query"] for r in results], None


def table(records):
    """Rows for printing: one dict a method, in the order of the records; a value is (value, low, high) or None."""
    methods = dict.fromkeys(r.method for r in records)
    tasks = list(dict.fromkeys(t for r in records for t in r.results))
    rows = []
    for method in methods:
        mine = [r for r in records if r.method == method]
        note = f" ({mine[0].note})" if mine[0].note else ""
        rows.append(
            {
                "method": mine[0].title + note,
                **{t: interval(mine, t) for t in tasks},
                "seeds": len(mine),
                "seconds": _seconds(mine) if mine[0].training else None,
                "texts_per_second": sum(r.texts_per_second for r in mine) / len(mine) or None,
                "peak_memory": max(r.peak_memory for r in mine) or None,
            }
        )
    return rows


def sentences_seen(record):
    """How many texts a run was trained on, repeated ones counted again, a pass's last and smaller batch as a whole one; 0
    without a training."""
    if not record.training:
        return 0
    return (
        len(record.training["steps"])
        * record.training["config"]["batch_size"]
        * record.training["config"]["accumulate"]
    )


def at_equal_sentences(records, sentences):
    """The runs that were trained on so many sentences: a fair race where text is scarce."""
    return [r for r in records if sentences_seen(r) == sentences]


def at_equal_seconds(records, seconds, tolerance=0.25):
    """Of each method the runs of that length which took nearest to so many seconds of training, in the median of the seeds: a
    fair race where time is scarce. None where the nearest is further off than the share `tolerance`."""
    lengths = {}
    for r in records:
        if r.training:
            lengths.setdefault(r.method, {}).setdefault(sentences_seen(r), []).append(r)
    chosen = []
    for of_method in lengths.values():
        nearest = min(of_method.values(), key=lambda runs: abs(_seconds(runs) - seconds))
        if abs(_seconds(nearest) - seconds) <= tolerance * seconds:
            chosen += nearest
    return chosen


def _seconds(runs):
    return median(r.seconds for r in runs)  # one run may have been disturbed by other work


def task_titles(records):
    """{task: "title, metric"} for headings."""
    return {t: f"{res['title']}, {res['metric']}" for r in records for t, res in r.results.items()}


def _cells(row, titles):
    yield row["method"]
    for task in titles:
        value = row[task]
        yield "–" if value is None else f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"
    yield "–" if row["seconds"] is None else f"{row['seconds']:.0f}"
    yield "–" if row["texts_per_second"] is None else f"{row['texts_per_second']:.0f}"
    yield "–" if row["peak_memory"] is None else f"{row['peak_memory'] / 2**30:.1f} GB"


def _heading(titles):
    return ["Method", *titles.values(), "Training s", "Sentences/s", "Peak memory"]


def as_rich_table(records):
    """The comparison as a rich Table for a terminal; intervals stand under their values, so that it fits 100 columns."""
    from rich import box
    from rich.table import Table

    titles = task_titles(records)
    shown = Table(
        title=f"Held-out results, {records[0].profile} profile (95 % intervals)",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 1, 0),
        collapse_padding=True,
    )
    for i, heading in enumerate(_heading(titles)):
        for words in ("Summary →", "Across", "Training", "Peak"):
            heading = heading.replace(f"{words} ", f"{words}\n")
        shown.add_column(
            heading.replace(", ", "\n").replace("/s", "\n/s"),
            justify="right" if i else "left",
            no_wrap=i > 0,
            min_width=0 if i else 16,
        )
    for row in table(records):
        shown.add_row(*(c.replace(" [0", "\n").replace(", 0", "–").rstrip("]") for c in _cells(row, titles)))
    return shown


def as_markdown(records):
    """The comparison as a Markdown table."""
    titles = task_titles(records)
    lines = [_heading(titles), ["---"] * (len(titles) + 4), *(list(_cells(r, titles)) for r in table(records))]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_html(records, picture=None):
    """The comparison as one page; `picture`: PNG bytes to embed."""
    import base64

    titles = task_titles(records)
    head = "".join(f"<th scope='col'>{html.escape(h)}</th>" for h in _heading(titles))
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in _cells(row, titles)) + "</tr>" for row in table(records)
    )
    image = (
        ""
        if picture is None
        else (
            "<img alt='Bars: each method on each task with its 95 % interval, the values of the table' style='max-width:100%' "
            f"src='data:image/png;base64,{base64.b64encode(picture).decode()}'>"
        )
    )
    about = records[0]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Comparison</title><style>"
        "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}"
        "td,th{padding:.3rem .7rem;text-align:right;border-bottom:1px solid #ccc}td:first-child,th:first-child{text-align:left}"
        f"</style><h1>Comparison of methods, {html.escape(about.profile)} profile</h1>"
        "<p>Every number is computed from the run records; brackets hold 95 % bootstrap intervals over queries.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{image}"
        f"<p>Machine: {html.escape(json.dumps(about.machine))}<br>Versions: {html.escape(json.dumps(about.versions))}</p></html>"
    )
