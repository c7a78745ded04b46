"""Domain adaptation: a source domain with labels, a target domain of which only the text is used, and GPL's pipeline.

Every stage keeps its results chunk by chunk (`storage.in_chunks`), so that a killed run continues where it was.
"""

from collections.abc import Mapping, Sequence

import torch

from course_lib.models import CrossEncoder
from course_lib.search import BM25Search, mine_hard_negatives
from course_lib.storage import fingerprint, in_chunks
from course_lib.texts.python_docs import TEXT_WORDS, PythonDocs

TARGET = ("networkx", "pandas", "sympy")  # graphs, tables and symbols
SOURCE = ("numpy", "scipy", "sklearn", "matplotlib", "torch", "transformers", "datasets", "python")  # all the others
MEASURED_BY = ("summary_to_description", "see_also", "questions")
Pairs = Sequence[tuple[str, str]]  # (query, passage id)
QUERIES_AT_ONCE = 96  # that are written in one batch

# --------------------------------------------------------------------------- the two domains


def source_pairs(docs: PythonDocs, libraries: Sequence[str] = SOURCE) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The labels that may be used: summaries with their descriptions, of the source's training documents.

    docs: the whole corpus, `python_docs.load()`.
    libraries: whose documents.
    Returns pairs, a list of (summary, passage id), and passages, {passage id: description}. Texts are as in the task
    "summary → description", without sentences of held-out documents.
    """
    allowed, pairs, passages, seen = set(docs.train.sentences), [], {}, set()
    for document in _of(docs.train.documents, libraries):
        summary, *rest = ([s for s in paragraph if s in allowed] for paragraph in document.paragraphs)
        summary, body = _cut(summary), _cut([s for paragraph in rest for s in paragraph])
        if len(summary.split()) >= 4 and len(body.split()) >= 10 and summary not in body and body not in seen:
            seen.add(body)
            pairs.append((summary, document.name))
            passages[document.name] = body
    return pairs, passages


def target_passages(docs: PythonDocs, libraries: Sequence[str] = TARGET) -> dict[str, str]:
    """The text that may be used: {id: passage} of the target's training documents, without held-out sentences."""
    return {f"passage {number}": passage for number, passage in enumerate(training_text(docs, libraries).passages)}


def target_sentences(docs: PythonDocs, libraries: Sequence[str] = TARGET) -> list[str]:
    """The same text as distinct sentences, for objectives that train on sentences."""
    return training_text(docs, libraries).sentences


def training_text(docs: PythonDocs, libraries: Sequence[str]) -> PythonDocs:
    """A domain's training documents, as the corpus gives a split: their text holds no held-out sentence."""
    documents = _of(docs.train.documents, libraries)
    forbidden = {s for d in documents for s in d.sentences} - set(docs.train.sentences)
    return PythonDocs(documents, split="train", forbidden=forbidden)


def target_tasks(docs: PythonDocs, libraries: Sequence[str] = TARGET, split: str = "test") -> dict:
    """What an adapted model is measured on: {name: RetrievalTask} among the target's held-out documents alone.

    split: "test", or "validation" for choices.
    """
    held_out = getattr(docs, split)
    tasks = PythonDocs(_of(held_out.documents, libraries), held_out.questions, split=split).tasks
    return {name: tasks[name] for name in MEASURED_BY if name in tasks}


def _of(documents, libraries):
    found = [d for d in documents if d.library in libraries]
    if not found:
        raise ValueError(f"`libraries` is {libraries!r}; the corpus has no document of them")
    return found


def _cut(sentences):
    return " ".join(" ".join(sentences).split()[:TEXT_WORDS])


# --------------------------------------------------------------------------- the stages of GPL
#
# passages: {passage id: text}. kept: chunk, folder and progress, as `storage.in_chunks` takes them.


def generate_queries(
    generator,
    passages: Mapping[str, str],
    queries_per_passage: int = 3,
    top_p: float = 0.95,
    temperature: float = 1.0,
    max_new_tokens: int = 24,
    seed: int = 0,
    top_k: int | None = None,
    **kept,
) -> list[tuple[str, str]]:
    """Write queries for passages.

    generator: a QueryGenerator.
    passages: {passage id: text}.
    queries_per_passage, top_p, temperature, max_new_tokens, top_k: as in `QueryGenerator.generate`.
    seed: of the sampling.
    Returns (query, passage id) pairs, passage by passage; no query twice for one passage.
    """
    options = {"queries_per_passage": queries_per_passage, "top_p": top_p, "temperature": temperature}
    options |= {"max_new_tokens": max_new_tokens, "top_k": top_k}
    at_once = max(1, QUERIES_AT_ONCE // queries_per_passage)

    def work(texts, number):
        seeded = torch.Generator().manual_seed(seed * 1_000_003 + number)
        return generator.generate(texts, **options, generator=seeded, batch_size=at_once)

    settings = [fingerprint(generator), options, seed]
    written = in_chunks("generating queries", list(passages.values()), work, settings, **{"chunk": 64, **kept})
    return [(query, i) for i, queries in zip(passages, written) for query in dict.fromkeys(queries) if query]


def mine_negatives(
    pairs: Pairs,
    passages: Mapping[str, str],
    retrievers: Mapping,
    per_retriever: int = 50,
    **kept,
) -> list[dict[str, dict[str, int]]]:
    """Find the hard negatives of every pair. A passage that any pair gives for the same query is no negative.

    pairs: (query, passage id).
    passages: {passage id: text}.
    retrievers, per_retriever: as in `search.mine_hard_negatives`.
    Returns one dict per pair, in their order: {passage id: {retriever: rank}}.
    """
    answers = {}
    for query, passage in pairs:
        answers.setdefault(query, {})[passage] = 1

    def work(part, number):
        queries = {str(place): query for place, query in enumerate(part)}
        relevant = {i: answers[q] for i, q in queries.items()}
        return list(mine_hard_negatives(queries, passages, relevant, retrievers, per_retriever).values())

    queries = list(answers)
    settings = [fingerprint(retrievers), per_retriever, dict(passages), answers]
    found = dict(zip(queries, in_chunks("mining negatives", queries, work, settings, **kept)))
    return [found[query] for query, _ in pairs]


def draw_negatives(mined: Sequence, count: int = 1, seed: int = 0) -> list[list[str]]:
    """Draw `count` of each pair's mined negatives, each with the same probability, as GPL does.

    mined: what `mine_negatives` returned.
    Returns a list of passage ids per pair; fewer than `count` where fewer were mined.
    """
    generator = torch.Generator().manual_seed(seed)
    return [[list(of)[i] for i in torch.randperm(len(of), generator=generator)[:count].tolist()] for of in mined]


def score_pairs(
    cross_encoder: CrossEncoder,
    pairs: Pairs,
    passages: Mapping[str, str],
    **kept,
) -> list[float]:
    """How well each passage answers its query: a cross-encoder's raw logits, one per pair."""

    def work(part, number):
        return [float(score) for score in cross_encoder.predict([tuple(pair) for pair in part])]

    texts = [[query, passages[i]] for query, i in pairs]
    return in_chunks("scoring pairs", texts, work, fingerprint(cross_encoder), **kept)


def pseudo_labels(
    cross_encoder: CrossEncoder,
    pairs: Pairs,
    negatives: Sequence[Sequence[str]],
    passages: Mapping[str, str],
    **kept,
) -> list[tuple[str, str, str, float]]:
    """GPL's training data: (query, positive, negative, margin) for MarginMSE, one for each negative of each pair.

    pairs: (query, passage id).
    negatives: a list of passage ids per pair.
    The margin is the cross-encoder's raw logit for the positive minus that for the negative; it is negative where the
    cross-encoder finds the mined text the better answer. Logits are compared within one query only.
    """

    def work(part, number):
        scores = iter(cross_encoder.predict([(query, text) for query, *texts in part for text in texts]).tolist())
        scored = [[next(scores) for _ in texts] for _, *texts in part]  # the positive's first
        return [[positive - negative for negative in negatives] for positive, *negatives in scored]

    if len(pairs) != len(negatives):
        raise ValueError(f"`negatives` has {len(negatives)} lists for {len(pairs)} `pairs`; pass one per pair")
    groups = [[query, passages[i], *(passages[n] for n in ids)] for (query, i), ids in zip(pairs, negatives)]
    margins = in_chunks("labelling margins", groups, work, fingerprint(cross_encoder), **kept)
    rows = zip(groups, margins)
    return [(q, positive, n, margin) for (q, positive, *texts), of in rows for n, margin in zip(texts, of)]


def with_bm25(triples: Sequence[tuple[str, str, str, float]], search: BM25Search) -> list[tuple[str, str, str, float]]:
    """The same triples with two opinions: each margin becomes the mean of the cross-encoder's and of BM25's.

    triples: what `pseudo_labels` returns.
    search: a BM25Search over the passages; BM25's margin is the score of the positive minus that of the negative.
    A cross-encoder that learned from a few thousand pairs is weak where BM25 is strong, on words that it has never
    seen. For one that learned from MS MARCO the sum did not help reliably (Askari et al., 2023).
    Raises ValueError for a passage in which `search` does not search.
    """
    place = {text: n for n, text in enumerate(search.texts)}
    if unknown := next((t for _, *texts, _ in triples for t in texts if t not in place), None):
        raise ValueError(f"`search` does not search in {unknown[:60]!r}; build it from the passages of the triples")

    def margin(query, positive, negative):
        scores = search.scores(query)
        return float(scores[place[positive]] - scores[place[negative]])

    return [(*texts, (first + margin(*texts)) / 2) for *texts, first in triples]


def filter_queries(pairs: Pairs, scores: Sequence[float], keep: float = 0.7) -> list[tuple[str, str]]:
    """The pairs that a cross-encoder scores highest, in their order: Doc2Query−− for generated queries.

    pairs: (query, passage id).
    scores: one per pair, as from `score_pairs`.
    keep: the share that stays. Gospodinov et al. (2023) drop queries that a cross-encoder finds irrelevant to the
        passage that they were written for. Of equal scores the first are kept.
    """
    if len(pairs) != len(scores):
        raise ValueError(f"`scores` has {len(scores)} numbers for {len(pairs)} `pairs`; pass one per pair")
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; it is a share of the pairs, above 0 and at most 1")
    best = sorted(range(len(pairs)), key=lambda i: -scores[i])[: max(1, round(keep * len(pairs)))]
    return [pairs[i] for i in sorted(best)]
