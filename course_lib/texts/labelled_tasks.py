"""The four labelled tasks of the embedded corpus, made from its summaries, links, names and questions."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from course_lib.storage import DATA
from course_lib.texts.harvest import LIBRARIES, Document, is_public

QUESTIONS = DATA / "questions.jsonl"
TEXT_WORDS = 50  # labelled texts are cut to this many words, for every method alike, including BM25
POOL = 1000  # number of candidates of a labelled task
_NUMERICAL = ("numpy", "scipy", "torch", "sklearn", "pandas")
# same name, but another operation (found by reading every pair)
_FALSE_FRIENDS = frozenset(
    "scipy.stats.bartlett torch.distributed.broadcast torch.clone torch.cond numpy.char.equal scipy.optimize.fmin "
    "scipy.interpolate.insert torch.func.jvp torch.distributions.pad torch.polar sklearn.utils.resample torch.select "
    "scipy.signal.square torch.typename scipy.fftpack.diff scipy.stats.power scipy.signal.normalize "
    "scipy.sparse.rand".split()
)


@dataclass(frozen=True)
class RetrievalTask:
    """Queries, candidates, and judgements that say which candidate answers which query.

    name: short name, the key in `PythonDocs.tasks`.
    title: name for tables and plots.
    metric: the metric that the task is measured with.
    queries: {query id: text}.
    corpus: {candidate id: text}.
    relevant: {query id: {candidate id: grade}}.
    """

    name: str
    title: str
    metric: str
    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, dict[str, int]]


def bucket(key: str) -> float:
    """A number that looks random but depends on the key alone.

    key: any text.
    Returns a float in [0, 1), the same on every machine.
    """
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def split_key(name: str) -> str:
    """The part of a name that decides the split, so that `numpy.argsort` and `torch.argsort` stay together.

    name: a dotted name.
    Returns its last part in lower case.
    """
    return name.rpartition(".")[2].lower()


def read_questions(path: str | Path = QUESTIONS) -> list[dict]:
    """Read the course's own questions.

    path: a file with one JSON object per line; by default data/questions.jsonl.
    Returns a list of {"question": text, "answers": list of document names}.
    Raises FileNotFoundError where the file is missing: without its questions the corpus would be split differently.
    """
    if not Path(path).is_file():
        fix = "restore the course's data folder (git checkout data) or install the course again (pip install -e .)"
        raise FileNotFoundError(f"`path` {str(path)!r} does not exist, and the questions decide the test split; {fix}")
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]


def labelled_tasks(documents: list[Document], questions: Iterable[dict] = ()) -> dict[str, RetrievalTask]:
    """Make the labelled tasks over some documents.

    documents: the documents of one split. Private objects are in no task, because nobody searches for them.
    questions: as `read_questions` returns them; those without an answer in `documents` are left out.
    Returns {name: task}, without the tasks that have no queries.
    """
    by_name = {d.name: d for d in documents}
    public = [d for d in documents if is_public(d.name)]
    tasks = [_summary_to_description(public), _see_also(public, by_name), _questions(public, by_name, questions)]
    tasks.append(_across_libraries(documents, by_name))
    return {t.name: t for t in tasks if t.queries}


def same_operation(documents: list[Document]) -> list[tuple[str, str]]:
    """Find functions that two numerical libraries document under the same name.

    documents: the documents to search.
    Returns pairs of names. The first one is of the earlier library in the order numpy, scipy, torch, sklearn, pandas.
    """
    groups = defaultdict(list)
    for d in documents:
        simple_name = is_public(d.name) and d.name.islower() and d.name.count(".") <= 2
        operation = d.library in _NUMERICAL and d.kind in ("function", "class") and d.name not in _FALSE_FRIENDS
        if simple_name and operation and len(d.text.split()) >= 8:
            groups[split_key(d.name)].append(d)
    pairs = []
    for _, group in sorted(groups.items()):
        of_library = {}
        for d in sorted(group, key=lambda d: (_NUMERICAL.index(d.library), d.name.count("."), d.name)):
            of_library.setdefault(d.library, d.name)
        first, *others = of_library.values()
        pairs += [(first, other) for other in others]
    return pairs


# --------------------------------------------------------------------------- one task each


def _summary_to_description(public):
    pairs = {d.name: d for d in public if len(d.summary.split()) >= 4 and len(d.body.split()) >= 10}
    bodies = Counter(_cut(d.body) for d in pairs.values())  # two equal descriptions would both be the answer
    names = _sample([n for n, d in pairs.items() if bodies[_cut(d.body)] == 1 and d.summary not in d.body], POOL)
    queries = {f"summary of {n}": _cut(pairs[n].summary) for n in names}
    corpus = {n: _cut(pairs[n].body) for n in names}
    relevant = {f"summary of {n}": {n: 1} for n in names}
    return RetrievalTask("summary_to_description", "Summary → description", "ndcg@10", queries, corpus, relevant)


def _see_also(public, by_name):
    linked = {d.name: [n for n in d.see_also if n in by_name and is_public(n)] for d in public if d.summary}
    names = _sample([n for n, links in linked.items() if links], POOL // 3)
    queries = {n: _cut(by_name[n].text) for n in names}
    relevant = {n: dict.fromkeys(linked[n], 1) for n in names}
    corpus = _pool(public, by_name, {n for name in names for n in linked[name]} | set(names))
    return RetrievalTask("see_also", "See also", "ndcg@10", queries, corpus, relevant)


def _questions(public, by_name, questions):
    asked = {f"question {i}": q for i, q in enumerate(questions)}
    asked = {i: q for i, q in asked.items() if any(n in by_name for n in q["answers"])}
    relevant = {i: {n: 1 for n in q["answers"] if n in by_name} for i, q in asked.items()}
    queries = {i: q["question"] for i, q in asked.items()}
    corpus = _pool(public, by_name, {n for r in relevant.values() for n in r})
    return RetrievalTask("questions", "Questions", "ndcg@10", queries, corpus, relevant)


def _across_libraries(documents, by_name):
    pairs = same_operation(documents)
    relevant = defaultdict(dict)
    for a, b in pairs:
        relevant[a][b] = 1
    queries = {a: _nameless(by_name[a]) for a in relevant}
    corpus = {b: _nameless(by_name[b]) for _, b in pairs}
    return RetrievalTask("across_libraries", "Across libraries", "map", queries, corpus, dict(relevant))


def _cut(text):
    return " ".join(text.split()[:TEXT_WORDS])


def _sample(names, size):
    """Choose `size` of the names, the same on every machine; whether a name is chosen early depends on it alone."""
    return sorted(sorted(names, key=lambda n: bucket("pool " + n))[:size])


def _pool(public, by_name, answers):
    """The candidates of a task: the answers, and other documents up to POOL in all."""
    others = [d.name for d in public if d.name not in answers and len(d.text.split()) >= 8]
    names = sorted(answers) + _sample(others, max(0, POOL - len(answers)))
    return {n: _cut(by_name[n].text) for n in names}


def _nameless(document):
    """A document's text without its own name and without the names of libraries."""
    words = {split_key(document.name), *split_key(document.name).split("_"), *LIBRARIES}
    return _cut(" ".join(w for w in document.text.split() if w.strip(".,;:()'\"").lower() not in words))
