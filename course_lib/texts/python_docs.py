"""The embedded corpus: the documentation of the Python packages that the course installs, its split and its labels."""

import hashlib
import json
import string
import sys
import warnings
from collections import Counter, defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path

from huggingface_hub.utils import WeakFileLock

from course_lib.storage import DATA, cache_folder, write_atomically
from course_lib.texts.harvest import LIBRARIES, Document, fingerprint, harvest, is_public, library_folder

QUESTIONS = DATA / "questions.jsonl"
SPLITS = ("train", "validation", "test")
TEXT_WORDS = 50  # labelled texts are cut here, for every method alike, BM25 included
POOL = 1000  # candidates of a labelled task


@dataclass(frozen=True)
class RetrievalTask:
    """Queries, candidates and the judgements that say which candidate answers which query.

    queries, corpus: {id: text}; relevant: {query id: {corpus id: grade}}; metric: what the task is judged by.
    """

    name: str
    title: str
    metric: str
    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, dict[str, int]]


def _bucket(key):
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def split_key(name):
    """What a document is split by: its name's last part, so that `numpy.argsort` and `torch.argsort` stay together."""
    return name.rpartition(".")[2].lower()


_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def normalized(text):
    """A text as lower-case words with one space between them: how two texts are compared when looking for leaks."""
    return " ".join(text.lower().translate(_PUNCTUATION).split())


def _repeats(documents, held_out):
    """The sentences of the documents that are, contain or help to make up one of `held_out`, as a run of words."""
    by_opening = defaultdict(list)
    for sentence in {normalized(s) for s in held_out}:
        by_opening[tuple(sentence.split(" ")[:3])].append(sentence + " ")
    by_opening = {opening: tuple(sentences) for opening, sentences in by_opening.items()}
    words_of = cache(lambda sentence: normalized(sentence).split(" "))
    found = set()
    for document in documents:
        words = [w for s in document.sentences for w in words_of(s)]
        for i, opening in enumerate(zip(words, words[1:], words[2:])):
            if opening in by_opening:
                rest = " ".join(words[i : i + 120]) + " "
                if rest.startswith(by_opening[opening]):
                    run = max(len(s.split()) for s in by_opening[opening] if rest.startswith(s))
                    owners = [s for s in document.sentences for _ in words_of(s)]
                    found.update(owners[i : i + run])
    return found


def windows(sentences, words):
    """Neighbouring sentences together: lists of as many as have at most so many words, or of one that has more."""
    window, size = [], 0
    for sentence in sentences:
        length = sentence.count(" ") + 1
        if window and size + length > words:
            yield window
            window, size = [], 0
        window.append(sentence)
        size += length
    if window:
        yield window


def _unlinked(name):
    return not is_public(name) or name.startswith(("pandas.DataFrame.", "pandas.Series."))


def _cut(text):
    return " ".join(text.split()[:TEXT_WORDS])


def _sample(names, size):
    """The same `size` of the names on every machine, whatever else is in the list."""
    return sorted(sorted(names, key=lambda n: _bucket("pool " + n))[:size])


class PythonDocs:
    """Documents with their texts and labelled tasks; the whole corpus, or one split of it.

    `train`, `validation` and `test` are PythonDocs too. The texts of `train` hold no sentence of a held-out document.
    """

    def __init__(self, documents, questions=(), split=None, forbidden=frozenset()):
        self.documents = documents
        self.questions = list(questions)
        self.split = split
        self._forbidden = forbidden

    def __len__(self):
        return len(self.documents)

    def __getitem__(self, name):
        """The document of that name; KeyError with near names where there is none."""
        if name not in self.by_name:
            import difflib

            near = difflib.get_close_matches(name, self.by_name, n=3)
            raise KeyError(f"no document is called {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
        return self.by_name[name]

    @cached_property
    def by_name(self):
        """{name: Document}."""
        return {d.name: d for d in self.documents}

    # ------------------------------------------------------------------ texts

    @cached_property
    def sentences(self):
        """Distinct sentences, in the order of the documents."""
        return list(dict.fromkeys(s for d in self.documents for s in d.sentences if s not in self._forbidden))

    @cached_property
    def passages(self):
        """Distinct passages of a few sentences each (at most about 100 words), none across two documents."""
        passages = {}
        for document in self.documents:
            found = [" ".join(w) for w in windows((s for s in document.sentences if s not in self._forbidden), 101)]
            if found and found[-1].count(" ") < 7:  # a rest of a few words is no passage
                found.pop()
            passages |= dict.fromkeys(found)
        return list(passages)

    @cached_property
    def search_texts(self):
        """{name: opening} of every public document: what a search shows, its first 16 words, so that all can be encoded in a minute or two."""
        return {d.name: " ".join(d.text.split()[:16]) for d in self.documents if is_public(d.name)}

    # ------------------------------------------------------------------ splits

    @cached_property
    def train(self):
        """What may be trained on."""
        documents = self._of("train")
        held_out = (s for split in ("validation", "test") for d in self._of(split) for s in d.sentences)
        return PythonDocs(documents, split="train", forbidden=_repeats(documents, held_out))

    @cached_property
    def validation(self):
        """What choices are made on."""
        return PythonDocs(self._of("validation"), split="validation")

    @cached_property
    def test(self):
        """What results are reported on, questions included."""
        return PythonDocs(self._of("test"), self.questions, split="test")

    def _of(self, split):
        if self.split is not None:
            raise ValueError(f"this is already the {self.split} split; take .{split} of the whole corpus, load()")
        return [d for d in self.documents if self.split_of(d.name) == split]

    def split_of(self, name):
        """The split that a document belongs to: decided by its name alone, and by what the labels point at."""
        key = split_key(name)
        if key in self._test_keys:
            return "test"
        share = _bucket(key)
        return "test" if share < 0.12 else "validation" if share < 0.2 else "train"

    @cached_property
    def _test_keys(self):
        """Keys held out because a label points at them: answers to questions, and what test documents link to."""
        answers = {split_key(n) for q in self.questions for n in q["answers"]}
        # pandas' two classes link their methods so densely that all would follow each other into the test split
        linked = {
            split_key(n)
            for d in self.documents
            if d.see_also and not _unlinked(d.name)
            if _bucket(split_key(d.name)) < 0.12 or split_key(d.name) in answers
            for n in d.see_also
            if not _unlinked(n)
        }
        return answers | linked | {split_key(a) for a, _ in self._same_operation}

    # ------------------------------------------------------------------ labels

    @cached_property
    def fingerprint(self):
        """A key for results: which document is in which split, and the test split's tasks, text by text."""
        splits = [(d.name, self.split_of(d.name)) for d in self.documents]
        tasks = [(t.name, t.queries, t.corpus, t.relevant) for t in self.test.tasks.values()]
        return hashlib.sha256(json.dumps([splits, tasks]).encode()).hexdigest()[:16]

    @cached_property
    def tasks(self):
        """{name: RetrievalTask} over this split's documents."""
        tasks = [self._summary_to_description(), self._see_also(), self._questions(), self._across_libraries()]
        return {t.name: t for t in tasks if t.queries}

    @cached_property
    def _public(self):
        """What labelled tasks are made of: a private object may be trained on, but nobody searches for it."""
        return [d for d in self.documents if is_public(d.name)]

    def _summary_to_description(self):
        pairs = {d.name: d for d in self._public if len(d.summary.split()) >= 4 and len(d.body.split()) >= 10}
        bodies = Counter(_cut(d.body) for d in pairs.values())  # of two equal descriptions neither is the answer
        names = _sample([n for n, d in pairs.items() if bodies[_cut(d.body)] == 1 and d.summary not in d.body], POOL)
        return RetrievalTask(
            "summary_to_description",
            "Summary → description",
            "ndcg@10",
            {f"summary of {n}": _cut(pairs[n].summary) for n in names},
            {n: _cut(pairs[n].body) for n in names},
            {f"summary of {n}": {n: 1} for n in names},
        )

    def _see_also(self):
        linked = {
            d.name: [n for n in d.see_also if n in self.by_name and is_public(n)] for d in self._public if d.summary
        }
        names = _sample([n for n, links in linked.items() if links], POOL // 3)
        answers = {n for name in names for n in linked[name]} | set(names)
        return RetrievalTask(
            "see_also",
            "See also",
            "ndcg@10",
            {n: _cut(self.by_name[n].text) for n in names},
            self._pool(answers),
            {n: dict.fromkeys(linked[n], 1) for n in names},
        )

    def _questions(self):
        asked = {f"question {i}": q for i, q in enumerate(self.questions)}
        asked = {i: q for i, q in asked.items() if any(n in self.by_name for n in q["answers"])}
        relevant = {i: {n: 1 for n in q["answers"] if n in self.by_name} for i, q in asked.items()}
        return RetrievalTask(
            "questions",
            "Questions",
            "ndcg@10",
            {i: q["question"] for i, q in asked.items()},
            self._pool({n for r in relevant.values() for n in r}),
            relevant,
        )

    def _across_libraries(self):
        pairs = [(a, b) for a, b in self._same_operation if a in self.by_name and b in self.by_name]
        corpus = {b: self._nameless(b) for _, b in pairs}
        relevant = defaultdict(dict)
        for a, b in pairs:
            relevant[a][b] = 1
        return RetrievalTask(
            "across_libraries",
            "Across libraries",
            "map",
            {a: self._nameless(a) for a in relevant},
            corpus,
            dict(relevant),
        )

    def _pool(self, answers):
        others = [d.name for d in self._public if d.name not in answers and len(d.text.split()) >= 8]
        names = sorted(answers) + _sample(others, max(0, POOL - len(answers)))
        return {n: _cut(self.by_name[n].text) for n in names}

    def _nameless(self, name):
        """A document's text without its own name and without the names of libraries."""
        words = {split_key(name), *split_key(name).split("_"), *LIBRARIES}
        text = self.by_name[name].text
        return _cut(" ".join(w for w in text.split() if w.strip(".,;:()'\"").lower() not in words))

    @cached_property
    def _same_operation(self):
        """(name, name) of functions that two libraries document under one name; the first library leads."""
        groups = defaultdict(list)
        for d in self.documents:
            if (
                d.library in _NUMERICAL
                and d.kind in ("function", "class")
                and d.name.count(".") <= 2
                and is_public(d.name)
                and d.name not in _FALSE_FRIENDS
                and d.name.islower()
                and len(d.text.split()) >= 8
            ):
                groups[split_key(d.name)].append(d)
        pairs = []
        for _, group in sorted(groups.items()):
            group.sort(key=lambda d: (_NUMERICAL.index(d.library), d.name.count("."), d.name))
            seen = {group[0].library}
            for d in group[1:]:
                if d.library not in seen:
                    seen.add(d.library)
                    pairs.append((group[0].name, d.name))
        return pairs


_NUMERICAL = ("numpy", "scipy", "torch", "sklearn", "pandas")
# same name, another operation (found by reading every pair)
_FALSE_FRIENDS = {
    "scipy.stats.bartlett",
    "torch.distributed.broadcast",
    "torch.clone",
    "torch.cond",
    "numpy.char.equal",
    "scipy.optimize.fmin",
    "scipy.interpolate.insert",
    "torch.func.jvp",
    "torch.distributions.pad",
    "torch.polar",
    "sklearn.utils.resample",
    "torch.select",
    "scipy.signal.square",
    "torch.typename",
    "scipy.fftpack.diff",
    "scipy.stats.power",
    "scipy.signal.normalize",
    "scipy.sparse.rand",
}


# --------------------------------------------------------------------------- loading


def read_questions(path=QUESTIONS):
    """The course's own questions: a list of {"question", "answers"}; none where the file is absent."""
    if not Path(path).exists():
        return []
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]


def load(refresh=False, progress=True, libraries=tuple(LIBRARIES)):
    """The embedded corpus, harvested once into the user's cache and read from there afterwards.

    Returns PythonDocs. The first call takes about 40 s on two cores, later ones under a second. The cache is keyed by
    the versions of the packages read; a damaged one is harvested again. `refresh` harvests in any case; `libraries`
    takes fewer of `LIBRARIES`. Warns where a library is not installed; raises where none is, or one is unknown.
    """
    libraries = _checked(libraries)
    path = cache_folder() / f"python-docs-{fingerprint(libraries)}.json"
    documents = None if refresh else _read_cache(path)
    if documents is None:
        documents = _harvest_once(path, libraries, refresh, progress)
    return PythonDocs(documents, read_questions())


def _harvest_once(path, libraries, refresh, progress):
    """The documents, harvested into the cache by the first of several processes; the others wait and read them."""
    lock = path.with_suffix(".lock")
    with ExitStack() as stack:
        with suppress(OSError):  # without room for a lock each process harvests for itself
            try:
                stack.enter_context(WeakFileLock(lock, timeout=1))
            except TimeoutError:
                if progress:
                    print(
                        "Another process is reading the documentation of the packages; waiting for it.", file=sys.stderr
                    )
                stack.enter_context(WeakFileLock(lock))
        documents = None if refresh else _read_cache(path)
        if documents is None:
            documents = harvest(libraries, progress)
            _write_cache(path, documents)
    return documents


def _checked(libraries):
    libraries = (libraries,) if isinstance(libraries, str) else tuple(libraries)
    unknown = [library for library in libraries if library not in LIBRARIES]
    if unknown or not libraries:
        raise ValueError(f"`libraries` names {', '.join(unknown) or 'nothing'}; take some of {', '.join(LIBRARIES)}")
    missing = [library for library in libraries if library_folder(library) is None]
    if len(missing) == len(libraries):
        raise RuntimeError(
            f"no documentation to read: {', '.join(missing)} not installed here. "
            "Install the course and what it needs: pip install -e ."
        )
    if missing:
        warnings.warn(f"the corpus is smaller than usual: {', '.join(missing)} not installed here", stacklevel=3)
    return libraries


def _write_cache(path, documents):
    """Store the documents by column, which is read four times as fast as by row."""
    columns = {f.name: [getattr(d, f.name) for d in documents] for f in fields(Document)}
    try:
        write_atomically(path, json.dumps(columns, ensure_ascii=False, separators=(",", ":")))
    except OSError as error:  # a full disk costs the next call its time, not this one its result
        warnings.warn(
            f"the corpus could not be kept in {path.parent} ({error}); the next start will read it anew", stacklevel=3
        )


def _read_cache(path):
    """The cached documents, or None where the cache is absent or was not written to its end."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8"))
        rows = zip(*(columns[f.name] for f in fields(Document)), strict=True)
        return [Document(*row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return None
