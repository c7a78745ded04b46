"""Two tasks made of a text's own structure, to measure an encoder on text that nobody has labelled."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from course_lib.evaluation import Difference, paired_bootstrap, verdict
from course_lib.experiments.records import measure
from course_lib.texts.harvest import Document
from course_lib.texts.labelled_tasks import RetrievalTask, bucket
from course_lib.texts.own_text import Passage
from course_lib.texts.prose import sentences_of_lines

SHARE, MOST = 0.2, 1000  # of the passages that are kept out of training, and how many they are at most
FEW_FILES, BLOCK = 20, 10  # with fewer files, so many passages that follow each other count as a document
QUERIES, FEWEST = 500, 20  # of a task
SHORTEST_HALF = 5  # words
HEADINGS, HALVES = "heading_to_passage", "half_to_half"


def split_documents(
    passages: Sequence[Passage], share: float = SHARE, most: int = MOST
) -> tuple[list[Passage], list[Passage]]:
    """Keep whole documents out of training, to measure on.

    passages: as `own_text.load` gives them. A document is a file; of fewer than FEW_FILES files, BLOCK passages that
        follow each other.
    share: of the passages that are held out, about; 0.2.
    most: passages that are held out; 1,000, because they are embedded twice.
    Returns (for training, held out), in their order. A passage that stands in a held-out document too is not
    trained on. The choice depends on the texts alone, not on names or on chance.
    """
    documents, room = _documents(passages), min(share * len(passages), most)
    held_out = set()
    for document in sorted(documents, key=lambda numbers: bucket(passages[numbers[0]])):
        if len(document) <= room:
            room -= len(document)
            held_out.update(document)
    measured = [passages[n] for n in sorted(held_out)]
    texts = {passage.text for passage in measured}
    return [p for n, p in enumerate(passages) if n not in held_out and p.text not in texts], measured


def _documents(passages):
    """Lists of the numbers of passages that belong together."""
    files = [list(numbers) for _, numbers in groupby(range(len(passages)), lambda n: passages[n].file)]
    if len(files) >= FEW_FILES:
        return files
    return [numbers[start : start + BLOCK] for numbers in files for start in range(0, len(numbers), BLOCK)]


def proxy_tasks(passages: Sequence[Passage]) -> dict[str, RetrievalTask]:
    """The two tasks over some passages, as {name: RetrievalTask}; one with fewer than FEWEST queries is left out.

    passages: those that were held out.

    "heading_to_passage": the query is a heading, with those it stands under; the answers are the passages under it,
        without their headings. Headings that stand in several files ("Options") tell no passage from another and are
        left out.
    "half_to_half": the query is the first half of a passage, the answer its second half, cut between two sentences.
        Cropping trains on nearly this, if on other documents; a gain here alone says little.
    """
    tasks = [_heading_to_passage(passages), _half_to_half(passages)]
    return {task.name: task for task in tasks if len(task.queries) >= FEWEST}


def _heading_to_passage(passages):
    under, files = defaultdict(dict), defaultdict(set)
    for number, passage in enumerate(passages):
        if passage.heading:
            under[passage.heading][f"passage {number}"] = 1
            files[passage.heading].add(passage.file)
    headings = sorted((h for h in under if len(files[h]) == 1), key=bucket)[:QUERIES]
    queries = {f"heading {h}": h.replace(" › ", ": ") for h in headings}
    corpus = {f"passage {number}": passage.text for number, passage in enumerate(passages)}
    relevant = {f"heading {h}": under[h] for h in headings}
    return RetrievalTask(HEADINGS, "heading → passage", "ndcg@10", queries, corpus, relevant)


def _half_to_half(passages):
    halves = {f"passage {number}": _halves(passage.text) for number, passage in enumerate(passages)}
    second = Counter(pair[1] for pair in halves.values() if pair)
    pairs = {i: pair for i, pair in halves.items() if pair and second[pair[1]] == 1}
    chosen = sorted(pairs, key=lambda i: bucket(pairs[i][0]))[:QUERIES]
    queries, corpus = {f"half of {i}": pairs[i][0] for i in chosen}, {i: pair[1] for i, pair in pairs.items()}
    relevant = {f"half of {i}": {i: 1} for i in chosen}
    return RetrievalTask(HALVES, "first half → second half", "ndcg@10", queries, corpus, relevant)


def _halves(text):
    """A passage cut between the two sentences, or items, that are nearest to its middle; None for one that is short."""
    pieces = sentences_of_lines(text)
    ends = [sum(len(piece.split()) for piece in pieces[:n]) for n in range(len(pieces) + 1)]
    if len(pieces) < 2:
        return None
    cut = min(range(1, len(pieces)), key=lambda n: abs(ends[n] - ends[-1] / 2))
    if min(ends[cut], ends[-1] - ends[cut]) < SHORTEST_HALF:
        return None
    return " ".join(pieces[:cut]), " ".join(pieces[cut:])


def passages_of_documents(documents: Iterable[Document]) -> list[Passage]:
    """The embedded corpus in the form of a reader's own text, to see how well the two tasks predict labels.

    documents: of one split. A document's name is its heading, a paragraph a passage.
    """
    return [
        Passage(" ".join(paragraph), d.name, (d.name.replace(".", " "),))
        for d in documents
        for paragraph in d.paragraphs
    ]


# --------------------------------------------------------------------------- before and after


class Gain(NamedTuple):
    """What a training changed on one task.

    task: its title.
    name: "heading_to_passage" or "half_to_half".
    queries: how many.
    before, after: nDCG@10.
    difference: after − before, with its interval from resampling the queries.
    """

    task: str
    name: str
    queries: int
    before: float
    after: float
    difference: Difference

    @property
    def verdict(self) -> str:
        """ "better", "worse" or "cannot tell"."""
        return verdict(self.difference)


def measure_proxies(ranker, tasks: dict[str, RetrievalTask]) -> dict[str, dict[str, float]]:
    """nDCG@10 of every query, {task name: {query id: value}}.

    ranker: an encoder, or a function of (queries, corpus), as `evaluation.evaluate_retrieval` takes it.
    tasks: from `proxy_tasks`.
    """
    return {name: result["per_query"] for name, result in measure(ranker, tasks.values()).items()}


def gains(tasks: dict[str, RetrievalTask], before: dict, after: dict) -> list[Gain]:
    """Compare two measurements query by query.

    tasks: from `proxy_tasks`.
    before, after: from `measure_proxies`.
    """
    found = []
    for name, task in tasks.items():
        means = (sum(values.values()) / len(values) for values in (before[name], after[name]))
        found.append(Gain(task.title, name, len(task.queries), *means, paired_bootstrap(after[name], before[name])))
    return found


def conclusion(found: Sequence[Gain]) -> str:
    """What the two tasks together allow to say about the adapted encoder, in one sentence.

    found: from `gains`.
    It is called better where every task that the text allows is better. One alone can mislead: on the course's corpus
    heading → passage rose in two short trainings, and by the labels one of them was worse (`recipes/proxy_study.py`);
    the halves are nearly what cropping trains on.
    """
    verdicts = {gain.name: gain.verdict for gain in found}
    if not verdicts:
        return (
            f"Not measured: the held-out documents give fewer than {FEWEST} headings and fewer than {FEWEST} passages "
            "of two sentences. Judge some searches of your own before you use it"
        )
    worse = " and ".join(gain.task for gain in found if gain.verdict == "worse")
    if worse:
        return f"Worse than before on {worse}: keep the start model, or judge some searches of your own"
    better = " and ".join(gain.task for gain in found if gain.verdict == "better")
    if set(verdicts.values()) == {"better"}:
        return f"Better than before on {better}" + ("" if len(found) > 1 else ", the only task that this text allows")
    if better:
        other = next(gain.task for gain in found if gain.verdict != "better")
        hint = ", which the training resembles" if verdicts.get(HALVES) == "better" else ""
        return (
            f"Better than before only on {better}{hint}; on {other} no difference can be told. That is not enough to "
            "call it better"
        )
    return "No difference can be told from these queries: keep the start model"
