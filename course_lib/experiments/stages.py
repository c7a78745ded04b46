"""The one table of training stages, and what each of them reads.

To add a method to the course: write its objective, and give it a row in STAGES and a recipe in `profiles`. A file of a
reader's own becomes a stage by `own_method.add_method`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

import torch

from course_lib import objectives
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.experiments.profiles import SAMPLING as SAMPLING  # notebooks take it from here
from course_lib.experiments.profiles import PseudoLabelling
from course_lib.models import CrossEncoder, QueryGenerator, SentenceEncoder
from course_lib.models.sampling import QueryWriter
from course_lib.search import BM25Search, CachedEncoder, ExactSearch
from course_lib.texts import python_docs

GENERATOR, CROSS_ENCODER = Path(PseudoLabelling.query_generator), Path(PseudoLabelling.cross_encoder)
SHORTEST_SENTENCE = 4  # words; shorter ones say too little to be told from their neighbours
MINED_IN = 20  # negatives are mined among this many times as many passages as queries are generated for


@cache
def load_docs() -> python_docs.PythonDocs:
    """The embedded corpus, read once per process."""
    return python_docs.load()


def load_generator(name: str | Path = GENERATOR) -> QueryWriter:
    """A query generator by folder or hub name, read once per process; by default the one that ships."""
    return _loaded(QueryGenerator, str(name))


def load_cross_encoder(name: str | Path = CROSS_ENCODER) -> CrossEncoder:
    """A cross-encoder by folder or hub name, read once per process; by default the one that ships."""
    return _loaded(CrossEncoder, str(name))


@cache
def _loaded(kind, name):
    return kind.from_pretrained(name)


# --------------------------------------------------------------------------- domains


@dataclass(frozen=True)
class Domain:
    """Where the texts of a run come from and what it is measured on.

    passages: gives the passages that may be trained on.
    sentences: gives the sentences that may be.
    tasks: gives {name: RetrievalTask} of a split, "test" or "validation".
    sts: whether STS-B is measured as well.
    """

    passages: Callable[[], list[str]]
    sentences: Callable[[], list[str]]
    tasks: Callable[[str], dict]
    sts: bool = False


DOMAINS = {
    "python": Domain(
        lambda: load_docs().train.passages,
        lambda: load_docs().train.sentences,
        lambda split: getattr(load_docs(), split).tasks,
        sts=True,
    ),
    "target": Domain(
        lambda: list(adaptation.target_passages(load_docs()).values()),
        lambda: adaptation.target_sentences(load_docs()),
        lambda split: adaptation.target_tasks(load_docs(), split=split),
    ),
}

# --------------------------------------------------------------------------- what stages read
#
# Each function takes a Run, whose last stage is to be trained, and `progress`.


def passages(run, progress):
    """The passages of the run's domain."""
    return DOMAINS[run.domain].passages()


def sentences(run, progress):
    """The sentences of the run's domain that have at least SHORTEST_SENTENCE words."""
    return [s for s in DOMAINS[run.domain].sentences() if len(s.split()) >= SHORTEST_SENTENCE]


def labels_of(libraries):
    """A function that gives the (summary, description) pairs of some libraries' training documents."""

    def labelled_pairs(run, progress):
        pairs, texts = adaptation.source_pairs(load_docs(), libraries)
        return [(query, texts[i]) for query, i in pairs]

    return labelled_pairs


def queries(run, progress):
    """(generated query, passage) pairs of the target."""
    texts = adaptation.target_passages(load_docs())
    return [(query, texts[i]) for query, i in generated_pairs(run.profile, run.stage.times, progress)]


def margins(run, progress):
    """(query, positive, negative, margin) of the target: the cross-encoder's margins, or the mean of its and BM25's."""
    labels = pseudo_labels(run, run.stage.times, progress)
    return adaptation.with_bm25(labels.margins, BM25Search(labels.passages)) if run.stage.bm25 else labels.margins


# --------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Stage:
    """One way to train an encoder further.

    name: in commands, file names and recipes.
    title: in tables.
    objective: a class of `course_lib.objectives`; it also decides by which similarity the encoder is searched.
    examples: a function (run, progress) that gives what it trains on.
    models: the models that make its examples; their weights are part of the key of a run.
    domain: the only domain that its examples come from; None for any.
    times: how many times the profile's `target_passages` queries are generated for.
    bm25: whether margins are the mean of the cross-encoder's and BM25's.
    code: of a method of your own, what its file is known by.
    """

    name: str
    title: str
    objective: type[objectives.Objective]
    examples: Callable
    models: tuple[str, ...] = ()
    domain: str | None = None
    times: int = 1
    bm25: bool = False
    code: str = ""

    def settings(self, profile) -> dict:
        """What it depends on beside its recipe, the texts and the weights of its models."""
        if not self.models:
            return {"code": self.code} if self.code else {}
        count, labelling = profile.target_passages, profile.pseudo_labelling.settings("cross_encoder" in self.models)
        return {"target_passages": count and self.times * count, **labelling, "bm25": self.bm25}


_GENERATED = {"models": ("query_generator",), "domain": "target"}
_SCORED = {"models": ("query_generator", "cross_encoder"), "domain": "target"}
STAGES = {
    stage.name: stage
    for stage in (
        Stage("mlm", "MLM", objectives.MaskedLanguageModel, passages),
        Stage("simcse", "SimCSE", objectives.SimCSE, sentences),
        Stage("simcse_cls", "SimCSE, CLS", objectives.SimCSE, sentences),
        Stage("simcse_long", "long SimCSE", objectives.SimCSE, sentences),
        Stage("tsdae", "TSDAE", objectives.DenoisingAutoEncoder, sentences),
        Stage("tsdae_mean", "TSDAE, mean", objectives.DenoisingAutoEncoder, sentences),
        Stage("tsdae_long", "long TSDAE", objectives.DenoisingAutoEncoder, sentences),
        Stage("ct", "CT", objectives.ContrastiveTension, sentences),
        Stage("ct_in_batch", "CT in-batch", objectives.InBatchContrastiveTension, sentences),
        Stage("cropping", "cropping", objectives.Cropping, passages),
        Stage("cropping_long", "long cropping", objectives.Cropping, passages),
        Stage("cropping_gentle", "gentle cropping", objectives.Cropping, passages),
        Stage(
            "source",
            "source labels",
            objectives.MultipleNegativesRanking,
            labels_of(adaptation.SOURCE),
            domain="target",
        ),
        # what a domain without labels does not have: how far queries and cross-encoder could lead
        Stage(
            "target",
            "target labels",
            objectives.MultipleNegativesRanking,
            labels_of(adaptation.TARGET),
            domain="target",
        ),
        Stage("genq", "GenQ", objectives.MultipleNegativesRanking, queries, **_GENERATED),
        Stage("genq_long", "long GenQ", objectives.MultipleNegativesRanking, queries, times=4, **_GENERATED),
        Stage("gpl", "GPL", objectives.MarginMSE, margins, **_SCORED),
        Stage("gpl_bm25", "GPL with BM25", objectives.MarginMSE, margins, bm25=True, **_SCORED),
        Stage("gpl_bm25_long", "long GPL with BM25", objectives.MarginMSE, margins, times=4, bm25=True, **_SCORED),
    )
}

# --------------------------------------------------------------------------- GenQ's queries, GPL's margins


@dataclass(frozen=True)
class PseudoLabels:
    """What GPL makes of the target's text, once for all encoders that are trained on it.

    passages: {id: text} of the target, among which negatives were mined.
    pairs: generated (query, passage id).
    mined: for each pair the passages that the retrievers found, {id: {retriever: rank}}.
    margins: (query, positive, negative, margin) for MarginMSE.
    """

    passages: dict
    pairs: list
    mined: list
    margins: list


def passages_to_ask_about(profile, times: int = 1) -> dict[str, str]:
    """The target's passages that queries are generated for, drawn once: {id: text}.

    profile: its `target_passages`, times `times`, says how many.
    """
    return _draw_passages(profile.target_passages and times * profile.target_passages)


def _draw_passages(count):
    texts = adaptation.target_passages(load_docs())
    chosen = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))[:count]
    ids = list(texts)
    return {ids[i]: texts[ids[i]] for i in sorted(chosen.tolist())}


def generated_pairs(profile, times: int = 1, progress: bool = True) -> list[tuple[str, str]]:
    """Queries for the target's passages, as (query, passage id); made on the first call, then read from the cache."""
    asked, labelling = passages_to_ask_about(profile, times), profile.pseudo_labelling
    each = max(3, ceil(labelling.total_queries / len(asked)))  # as GPL distributes its 250,000
    generator = load_generator(labelling.query_generator)
    return adaptation.generate_queries(generator, asked, each, **labelling.sampling, progress=progress)


def pseudo_labels(run, times: int = 1, progress: bool = True) -> PseudoLabels:
    """Everything that GPL trains on; made on the first call, and a killed call continues where it was.

    run: any Run; only its profile counts.
    """
    profile, labelling = run.profile, run.profile.pseudo_labelling
    texts = _draw_passages(profile.target_passages and MINED_IN * times * profile.target_passages)
    pairs = generated_pairs(profile, times, progress)
    retrievers = {name: _retriever(name, run, texts, progress) for name in labelling.retrievers}
    mined = adaptation.mine_negatives(pairs, texts, retrievers, labelling.per_retriever, progress=progress)
    drawn = adaptation.draw_negatives(mined, labelling.negatives)
    if labelling.random_negatives:
        easy = adaptation.draw_negatives([texts] * len(pairs), labelling.negatives, seed=1)
        drawn = [easy[n] if n % 2 else hard for n, hard in enumerate(drawn)]
    cross_encoder = load_cross_encoder(labelling.cross_encoder)
    margins = adaptation.pseudo_labels(cross_encoder, pairs, drawn, texts, progress=progress)
    return PseudoLabels(texts, pairs, mined, margins)


def _retriever(name, run, texts, progress):
    """A search over the texts, by its name in `PseudoLabelling.retrievers`."""
    if name == "bm25":
        return BM25Search(texts)
    encoder = run.mining_run.encoder(progress) if name == "dense" else SentenceEncoder.from_pretrained(name)
    return ExactSearch(CachedEncoder(encoder), texts, progress=progress)
