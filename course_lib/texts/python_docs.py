"""The embedded corpus: the documentation of the Python packages that the course installs, and its splits."""

import hashlib
import json
import string
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields
from functools import cache, cached_property

import filelock

from course_lib.storage import cache_folder, write_atomically
from course_lib.texts.harvest import LIBRARIES, Document, fingerprint, harvest, is_public, library_folder
from course_lib.texts.labelled_tasks import TEXT_WORDS as TEXT_WORDS  # "as": this module offers the name too
from course_lib.texts.labelled_tasks import (
    RetrievalTask,
    bucket,
    labelled_tasks,
    read_questions,
    same_operation,
    split_key,
)

SPLITS = ("train", "validation", "test")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def normalized(text: str) -> str:
    """The form in which texts are compared when looking for leaks.

    text: any text.
    Returns its words in lower case, without punctuation, with one space between two words.
    """
    return " ".join(text.lower().translate(_PUNCTUATION).split())


def _repeats(documents, held_out):
    """The sentences of the documents that are, contain or overlap with a sentence of `held_out`, as a run of words."""
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


def same_words(sentences: Iterable[str], least: int = 4) -> list[tuple[str, str]]:
    """Find pairs of sentences that are made of the same words in another order.

    sentences: any texts.
    least: the fewest words that a sentence must have; default 4.
    Returns one pair per set of words, in the order in which the sentences came.
    """
    orders = defaultdict(dict)  # {sorted words: {words in their order: sentence}}
    for sentence in sentences:
        words = normalized(sentence).split()
        if len(words) >= least:
            orders[tuple(sorted(words))].setdefault(tuple(words), sentence)
    found = (list(group.values()) for group in orders.values())
    return [(group[0], group[1]) for group in found if len(group) > 1]


def windows(sentences: Iterable[str], words: int) -> Iterator[list[str]]:
    """Group neighbouring sentences.

    sentences: texts in order.
    words: greatest number of words per group; a longer sentence is a group of its own.
    Returns an iterator over lists of sentences.
    """
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


@dataclass(eq=False, repr=False)  # two corpora are not compared, and one is too long to print
class PythonDocs:
    """Documents with their texts and labelled tasks: the whole corpus, or one split of it.

    `train`, `validation` and `test` are PythonDocs too. The texts of `train` hold no sentence of a held-out document.

    documents: the documents, sorted by name.
    questions: as `read_questions` returns them; default none.
    split: the name of the split, or None for the whole corpus.
    forbidden: sentences that the texts must leave out; default none.
    """

    documents: list[Document]
    questions: Iterable[dict] = ()
    split: str | None = None
    forbidden: Set[str] = frozenset()

    def __post_init__(self):
        self.questions = list(self.questions)

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, name: str) -> Document:
        """The document with this name.

        name: the name as a user writes it, such as "pandas.DataFrame.merge".
        Raises KeyError, which lists similar names, where there is no such document.
        """
        if name not in self.by_name:
            import difflib

            near = difflib.get_close_matches(name, self.by_name, n=3)
            raise KeyError(f"no document is called {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
        return self.by_name[name]

    @cached_property
    def by_name(self) -> dict[str, Document]:
        """{name: Document}."""
        return {d.name: d for d in self.documents}

    # ------------------------------------------------------------------ texts

    @cached_property
    def sentences(self) -> list[str]:
        """Distinct sentences, in the order of the documents."""
        return list(dict.fromkeys(s for d in self.documents for s in d.sentences if s not in self.forbidden))

    @cached_property
    def passages(self) -> list[str]:
        """Distinct passages of a few sentences each (at most about 100 words); none spans two documents."""
        passages = {}
        for document in self.documents:
            found = [" ".join(w) for w in windows((s for s in document.sentences if s not in self.forbidden), 101)]
            if found and found[-1].count(" ") < 7:  # a remainder of a few words is not a passage
                found.pop()
            passages |= dict.fromkeys(found)
        return list(passages)

    @cached_property
    def search_texts(self) -> dict[str, str]:
        """{name: first 16 words} of every public document: the text that a search shows.

        16 words, so that all can be encoded in a minute or two.
        """
        return {d.name: " ".join(d.text.split()[:16]) for d in self.documents if is_public(d.name)}

    # ------------------------------------------------------------------ splits

    @cached_property
    def train(self) -> "PythonDocs":
        """The documents that methods may train on."""
        documents = self._of("train")
        held_out = (s for split in ("validation", "test") for d in self._of(split) for s in d.sentences)
        return PythonDocs(documents, split="train", forbidden=_repeats(documents, held_out))

    @cached_property
    def validation(self) -> "PythonDocs":
        """The documents that choices, such as hyperparameters, are made on."""
        return PythonDocs(self._of("validation"), split="validation")

    @cached_property
    def test(self) -> "PythonDocs":
        """The documents that results are reported on, with the questions."""
        return PythonDocs(self._of("test"), self.questions, split="test")

    def _of(self, split):
        if self.split is not None:
            raise ValueError(f"this is already the {self.split} split; take .{split} of the whole corpus, load()")
        return [d for d in self.documents if self.split_of(d.name) == split]

    def split_of(self, name: str) -> str:
        """The split of a document. It depends only on the document's name and on what the labels point at.

        name: a document's name.
        Returns one of SPLITS.
        """
        key = split_key(name)
        if key in self._test_keys:
            return "test"
        share = bucket(key)
        return "test" if share < 0.12 else "validation" if share < 0.2 else "train"

    @cached_property
    def _test_keys(self):
        """Keys held out because a label points at them: answers to questions, and what test documents link to."""
        answers = {split_key(n) for q in self.questions for n in q["answers"]}
        # the methods of pandas' two classes link each other so densely that all of them would end in the test split
        linking = [d for d in self.documents if d.see_also and not _unlinked(d.name)]
        held_out = [d for d in linking if bucket(split_key(d.name)) < 0.12 or split_key(d.name) in answers]
        linked = {split_key(n) for d in held_out for n in d.see_also if not _unlinked(n)}
        return answers | linked | {split_key(a) for a, _ in same_operation(self.documents)}

    # ------------------------------------------------------------------ labels

    @cached_property
    def text_fingerprint(self) -> str:
        """A key for trainings: every document, its links and the answers of questions decide texts and splits."""
        answers = [question["answers"] for question in self.questions]
        everything = [[d.name, d.paragraphs, d.see_also] for d in self.documents]
        return hashlib.sha256(json.dumps([everything, answers]).encode()).hexdigest()[:16]

    @cached_property
    def fingerprint(self) -> str:
        """A key for results: it depends on the split of every document and on every text of the test split's tasks."""
        splits = [(d.name, self.split_of(d.name)) for d in self.documents]
        tasks = [(t.name, t.queries, t.corpus, t.relevant) for t in self.test.tasks.values()]
        return hashlib.sha256(json.dumps([splits, tasks]).encode()).hexdigest()[:16]

    @cached_property
    def tasks(self) -> dict[str, RetrievalTask]:
        """{name: RetrievalTask} over this split's documents."""
        return labelled_tasks(self.documents, self.questions)


# --------------------------------------------------------------------------- loading


def load(refresh: bool = False, progress: bool = True, libraries: str | Iterable[str] = tuple(LIBRARIES)) -> PythonDocs:
    """Load the embedded corpus, harvested once into the user's cache and read from there afterwards.

    The first call takes about 40 s on two cores, later ones under a second. The versions of the packages are the key of
    the cache. A cache file that cannot be read is harvested again, with a warning.

    refresh: whether to harvest even if the corpus is in the cache; default False.
    progress: whether to show a progress bar; default True.
    libraries: some of LIBRARIES; by default all.
    Returns the whole corpus.
    Raises ValueError for an unknown library and RuntimeError where none is installed; warns where some are missing.
    """
    libraries = _checked(libraries)
    path = cache_folder() / f"python-docs-{fingerprint(libraries)}.json"
    questions = read_questions()  # before the harvest, so that a missing file costs no time
    documents = None if refresh else _read_cache(path)
    if documents is None:
        documents = _harvest_once(path, libraries, refresh, progress)
    return PythonDocs(documents, questions)


def _harvest_once(path, libraries, refresh, progress):
    """The documents, harvested by the first of several processes; the others wait and read its cache."""
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # where no lock can be made, each process harvests for itself
            stack.enter_context(_locked(path.with_suffix(".lock"), progress))
        documents = None if refresh else _read_cache(path, warn=True)
        if documents is None:
            documents = harvest(libraries, progress)
            _write_cache(path, documents)
    return documents


def _locked(path, progress):
    lock = filelock.FileLock(path)
    try:
        return lock.acquire(timeout=1)
    except filelock.Timeout:
        if progress:
            print("Another process is reading the documentation of the packages; waiting for it.", file=sys.stderr)
        return lock.acquire()


def _checked(libraries):
    libraries = (libraries,) if isinstance(libraries, str) else tuple(libraries)
    unknown = [library for library in libraries if library not in LIBRARIES]
    if unknown or not libraries:
        raise ValueError(f"`libraries` names {', '.join(unknown) or 'nothing'}; take some of {', '.join(LIBRARIES)}")
    missing = [library for library in libraries if library_folder(library) is None]
    if len(missing) == len(libraries):
        raise RuntimeError(f"{', '.join(missing)} not installed here; install what the course needs: pip install -e .")
    if missing:
        warnings.warn(f"the corpus is smaller than usual: {', '.join(missing)} not installed here", stacklevel=3)
    return libraries


def _write_cache(path, documents):
    """Store the documents by column, which is read four times as fast as by row."""
    columns = {f.name: [getattr(d, f.name) for d in documents] for f in fields(Document)}
    try:
        write_atomically(path, json.dumps(columns, ensure_ascii=False, separators=(",", ":")))
    except OSError as error:  # with a full disk the next call takes longer, but this one has its result
        warnings.warn(f"the corpus cannot be saved in {path.parent}, so the next start is slow: {error}", stacklevel=4)


def _read_cache(path, warn=False):
    """The cached documents; None where the file is absent or cannot be read, with a warning if asked for."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8"))
        rows = zip(*(columns[f.name] for f in fields(Document)), strict=True)
        return [Document(*row) for row in rows]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if warn:
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"the cached corpus {path} cannot be read ({reason}); harvesting it again", stacklevel=4)
        return None
