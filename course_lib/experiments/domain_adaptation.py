"""Domain adaptation: a source domain with labels, a target domain of which only the text is used, and GPL's pipeline.

Every stage keeps its results chunk by chunk (`resumable.in_chunks`), so that a killed run goes on where it was.
"""

import torch

from course_lib.search import mine_hard_negatives
from course_lib.storage import fingerprint, in_chunks
from course_lib.texts.python_docs import TEXT_WORDS, PythonDocs

TARGET = ("networkx", "pandas", "sympy")  # graphs, tables and symbols
SOURCE = ("numpy", "scipy", "sklearn", "matplotlib", "torch", "transformers", "datasets", "python")  # all the others
JUDGED_BY = ("summary_to_description", "see_also", "questions")

# --------------------------------------------------------------------------- the two domains


def source_pairs(docs, libraries=SOURCE):
    """The labels that may be used: summaries with their descriptions, of the source's training documents.

    docs: the whole corpus, `python_docs.load()`. Returns pairs, a list of (summary, passage id), and passages,
    {passage id: description}; texts as in the task "summary → description", without sentences of held-out documents.
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


def target_passages(docs, libraries=TARGET):
    """The text that may be used: {id: passage} of the target's training documents, without held-out sentences."""
    return {f"passage {number}": passage for number, passage in enumerate(training_text(docs, libraries).passages)}


def target_sentences(docs, libraries=TARGET):
    """The same text as a list of distinct sentences, for what trains on sentences."""
    return training_text(docs, libraries).sentences


def training_text(docs, libraries):
    """A domain's training documents, as the corpus gives a split: their text holds no held-out sentence."""
    documents = _of(docs.train.documents, libraries)
    forbidden = {s for d in documents for s in d.sentences} - set(docs.train.sentences)
    return PythonDocs(documents, split="train", forbidden=forbidden)


def target_tasks(docs, libraries=TARGET, split="test"):
    """What an adapted model is judged on: {name: RetrievalTask} among the target's held-out documents alone.

    split: "test", or "validation" for choices.
    """
    held_out = getattr(docs, split)
    tasks = PythonDocs(_of(held_out.documents, libraries), held_out.questions, split=split).tasks
    return {name: tasks[name] for name in JUDGED_BY if name in tasks}


def _of(documents, libraries):
    found = [d for d in documents if d.library in libraries]
    if not found:
        raise ValueError(f"`libraries` is {libraries!r}; the corpus has no document of them")
    return found


def _cut(sentences):
    return " ".join(" ".join(sentences).split()[:TEXT_WORDS])


# --------------------------------------------------------------------------- the stages
#
# passages: {passage id: text}. pairs: a list of (query, passage id). folder, progress: as in `in_chunks`.


def generate_queries(
    generator,
    passages,
    queries_per_passage=3,
    top_p=0.95,
    temperature=1.0,
    max_new_tokens=24,
    seed=0,
    chunk=64,
    folder=None,
    progress=True,
):
    """Write queries for passages: pairs (query, passage id), passage by passage, none twice for one passage.

    generator: a QueryGenerator; the settings are those of its `generate`. chunk: passages that are kept at a time.
    """
    options = {
        "queries_per_passage": queries_per_passage,
        "top_p": top_p,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
    }

    def work(texts, number):
        chance = torch.Generator().manual_seed(seed * 1_000_003 + number)
        return generator.generate(texts, **options, generator=chance)

    settings = [fingerprint(generator), options, seed]
    written = in_chunks("generating queries", list(passages.values()), work, settings, chunk, folder, progress)
    return [(query, i) for i, queries in zip(passages, written) for query in dict.fromkeys(queries) if query]


def mine_negatives(pairs, passages, retrievers, per_retriever=50, chunk=256, folder=None, progress=True):
    """The hard negatives of every pair, in their order: a list of {passage id: {retriever: rank}}.

    retrievers: as for `search.mine_hard_negatives`. A passage that any pair gives for the same query is no negative.
    """
    answers = {}
    for query, passage in pairs:
        answers.setdefault(query, {})[passage] = 1

    def work(part, number):
        queries = {str(place): query for place, query in enumerate(part)}
        found = mine_hard_negatives(
            queries, passages, {i: answers[q] for i, q in queries.items()}, retrievers, per_retriever
        )
        return list(found.values())

    queries = list(answers)
    settings = [fingerprint(retrievers), per_retriever, passages, answers]
    found = dict(zip(queries, in_chunks("mining negatives", queries, work, settings, chunk, folder, progress)))
    return [found[query] for query, _ in pairs]


def draw_negatives(mined, count=1, seed=0):
    """`count` of each pair's mined negatives, each as likely, whoever found it, as GPL draws them; fewer where there are
    fewer. mined: what `mine_negatives` returned. Returns a list of lists of passage ids."""
    chance = torch.Generator().manual_seed(seed)
    return [[list(found)[i] for i in torch.randperm(len(found), generator=chance)[:count].tolist()] for found in mined]


def judge_pairs(cross_encoder, pairs, passages, chunk=256, folder=None, progress=True):
    """How well each passage answers its query: a cross-encoder's raw logits, a list of floats, one a pair."""

    def work(part, number):
        return [float(score) for score in cross_encoder.predict([tuple(pair) for pair in part])]

    texts = [[query, passages[i]] for query, i in pairs]
    return in_chunks("judging pairs", texts, work, fingerprint(cross_encoder), chunk, folder, progress)


def pseudo_labels(cross_encoder, pairs, negatives, passages, chunk=256, folder=None, progress=True):
    """GPL's training data: (query, positive, negative, margin) texts for MarginMSE, one for each negative of each pair.

    negatives: for each pair a list of passage ids. The margin is the cross-encoder's raw logit for the positive minus that
    for the negative; it is negative where the judge finds the mined text the better answer.
    """

    def work(part, number):
        scores = iter(cross_encoder.predict([(query, text) for query, *texts in part for text in texts]).tolist())
        judged = [[next(scores) for _ in texts] for _, *texts in part]  # the positive's first
        return [[positive - negative for negative in negatives] for positive, *negatives in judged]

    if len(pairs) != len(negatives):
        raise ValueError(f"`negatives` has {len(negatives)} lists for {len(pairs)} `pairs`; pass one a pair")
    groups = [[query, passages[i], *(passages[n] for n in ids)] for (query, i), ids in zip(pairs, negatives)]
    margins = in_chunks("labelling margins", groups, work, fingerprint(cross_encoder), chunk, folder, progress)
    return [
        (query, positive, negative, margin)
        for (query, positive, *texts), of_query in zip(groups, margins)
        for negative, margin in zip(texts, of_query)
    ]


def with_bm25(triples, search):
    """The same triples judged by two: each margin becomes the mean of the cross-encoder's and of BM25's own.

    triples: what `pseudo_labels` returns. search: a BM25Search in the passages; BM25's margin is the score of the positive
    minus that of the negative. A cross-encoder that learned from a few thousand pairs is weak where BM25 is strong, on
    words that it has never seen; for one that learned from MS MARCO the sum did not help reliably (Askari et al., 2023).
    Raises ValueError for a passage in which `search` does not search.
    """
    place = {text: n for n, text in enumerate(search.texts)}
    if stranger := next((t for _, *texts, _ in triples for t in texts if t not in place), None):
        raise ValueError(f"`search` does not search in {stranger[:60]!r}; build it from the passages of the triples")

    def margin(query, positive, negative):
        scores = search.scores(query)
        return float(scores[place[positive]] - scores[place[negative]])

    return [(*texts, (judged + margin(*texts)) / 2) for *texts, judged in triples]


def filter_queries(pairs, scores, keep=0.7):
    """The share `keep` of the pairs that a cross-encoder scores highest, in their order: Doc2Query−− for generated queries.

    scores: one a pair, as from `judge_pairs`. Gospodinov et al. (2023) drop what a judge finds irrelevant to the passage
    that it was written for. Of equal scores the first are kept.
    """
    if len(pairs) != len(scores):
        raise ValueError(f"`scores` has {len(scores)} numbers for {len(pairs)} `pairs`; pass one a pair")
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; it is a share of the pairs, above 0 and at most 1")
    best = sorted(range(len(pairs)), key=lambda i: -scores[i])[: max(1, round(keep * len(pairs)))]
    return [pairs[i] for i in sorted(best)]
