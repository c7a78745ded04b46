"""The runs behind notebooks 08 to 10: encoders trained stage by stage, each stage once, kept in the cache, never repeated.

An adapted encoder is known by its stages in their order, such as ("tsdae", "source", "gpl"): the base encoder, trained as
TSDAE on the target's text, then on the source's labels, then by GPL. Order matters, and here it is the order of a tuple. One
that begins with "minilm" starts from a finished sentence encoder instead: ("minilm", "cropping_gentle").
"""

from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch

from course_lib.experiments import comparison
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.experiments.comparison import RunRecord
from course_lib.experiments.runs import (
    OBJECTIVES,
    SHORTEST_SENTENCE,
    CachedEncoder,
    kept,
    load_docs,
    recorded_alike,
    reference_folder,
    run_folder,
    train_and_keep,
    training_config,
    weights_fingerprint,
)
from course_lib.models import CrossEncoder, QueryGenerator
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives import Cropping, MarginMSE, MultipleNegativesRanking
from course_lib.recipes.base_encoder import ANCESTOR_SHA256, ancestor_folder
from course_lib.search import BM25Search, ExactSearch, HybridSearch, Reranked, rank_bm25, rank_with
from course_lib.storage import DATA
from course_lib.training import CHECKPOINT, memory_in_use, train

GENERATOR, JUDGE = DATA / "query-generator", DATA / "cross-encoder"
DEPTH = 20  # passages that the cross-encoder reads for a query
SAMPLING = {"top_p": 0.9, "temperature": 0.6}  # of queries; GPL's 0.95 and 1.0 are for a T5; chosen by reading
STAGES = {  # what a stage is called in tables
    "mlm": "MLM",
    "tsdae": "TSDAE",
    "simcse": "SimCSE",
    "ct": "CT",
    "ct_in_batch": "CT in-batch",  # on the target's text
    "cropping": "cropping",
    "cropping_long": "long cropping",
    "cropping_gentle": "gentle cropping",
    "source": "source labels",
    "genq": "GenQ",
    "genq_long": "long GenQ",
    "gpl": "GPL",
    "gpl_bm25": "GPL with BM25",
    "gpl_bm25_long": "long GPL with BM25",
    "target": "target labels",  # what a domain without labels does not have: how far queries and judge could lead
}
LABELLED = {  # stages that train on summaries and descriptions, and of which libraries
    "source": adaptation.SOURCE,
    "target": adaptation.TARGET,
}
CROPPED = ("cropping", "cropping_long", "cropping_gentle")
ASKED = ("genq", "genq_long")  # stages that train on generated queries and their passages
JUDGED = ("gpl", "gpl_bm25", "gpl_bm25_long")  # and on margins: the judge's, or the mean of its and BM25's
ON_MORE = ("genq_long", "gpl_bm25_long")  # those of them that ask about LONG times as many passages
LONG = 4
STARTS = {"minilm": "all-MiniLM-L6-v2"}  # what the first stage may begin with instead of the base encoder
SEARCHES = {  # rows that train nothing
    "bm25": "BM25",
    "bm25_reranked": "BM25 + cross-encoder",
    "base": "Base encoder",
    "minilm": "all-MiniLM-L6-v2 (supervised)",
    "minilm_hybrid": "BM25 and all-MiniLM-L6-v2, hybrid (supervised)",
}
ADAPTED = {
    "source": ("source",),
    "genq": ("source", "genq"),
    "gpl": ("source", "gpl"),
}  # by the names of `course search`


@dataclass(frozen=True)
class PseudoLabels:
    """What the pipeline makes of the target's text, once for all encoders that are trained on it.

    passages: {id: text}, of the target. pairs: generated (query, passage id). mined: for each pair the passages that
    the retrievers found, {id: {retriever: rank}}. margins: (query, positive, negative, margin) for MarginMSE.
    """

    passages: dict
    pairs: list
    mined: list
    margins: list


# --------------------------------------------------------------------------- the target's text, and what is made of it


@cache
def load_generator():
    """The query generator that ships with the course."""
    return QueryGenerator.from_pretrained(GENERATOR)


@cache
def load_judge():
    """The cross-encoder that ships with the course."""
    return CrossEncoder.from_pretrained(JUDGE)


def passages_to_ask_about(profile):
    """So many of the target's passages as the profile can afford, drawn once: {id: text}."""
    return _drawn_passages(profile.target_passages)


def passages_to_mine_in(profile):
    """The passages among which negatives are found: all, or twenty for each that is asked about."""
    return _drawn_passages(profile.target_passages and 20 * profile.target_passages)


def _drawn_passages(count):
    passages = adaptation.target_passages(load_docs())
    chosen = torch.randperm(len(passages), generator=torch.Generator().manual_seed(0))[:count]
    ids = list(passages)
    return {ids[i]: passages[ids[i]] for i in sorted(chosen.tolist())}


def generated_pairs(profile, progress=True):
    """Queries for the target's passages: (query, passage id), made on the first call."""
    return adaptation.generate_queries(load_generator(), passages_to_ask_about(profile), **SAMPLING, progress=progress)


def pseudo_labels(profile, progress=True):
    """Everything that GPL trains on, whatever the seed of the training; made on the first call, and a killed call goes on
    where it was.

    Negatives are mined for every second pair and drawn from all passages for the others. With mined ones alone, as in GPL, an
    encoder that was trained by cosine forgets to keep unlike texts apart: nothing in such data asks for it.
    """
    passages, pairs = passages_to_mine_in(profile), generated_pairs(profile, progress)
    dense = CachedEncoder(load_encoder(("source",), profile, progress=progress))
    retrievers = {"bm25": BM25Search(passages), "dense": ExactSearch(dense, passages, progress=progress)}
    mined = adaptation.mine_negatives(pairs, passages, retrievers, progress=progress)
    hard, easy = adaptation.draw_negatives(mined), adaptation.draw_negatives([passages] * len(pairs), seed=1)
    drawn = [easy[n] if n % 2 else hard[n] for n in range(len(pairs))]
    return PseudoLabels(
        passages, pairs, mined, adaptation.pseudo_labels(load_judge(), pairs, drawn, passages, progress=progress)
    )


# --------------------------------------------------------------------------- stages


def stage_examples(stage, profile, progress=True):
    """What a stage trains on: sentences (for MLM and cropping passages) of the target, (query, passage), or MarginMSE's tuples."""
    docs = load_docs()
    if stage in LABELLED:
        pairs, passages = adaptation.source_pairs(docs, LABELLED[stage])
        return [(query, passages[i]) for query, i in pairs]
    if stage in ON_MORE and profile.target_passages:
        profile = replace(profile, target_passages=LONG * profile.target_passages)
    if stage in ASKED:
        passages = adaptation.target_passages(docs)
        return [(query, passages[i]) for query, i in generated_pairs(profile, progress)]
    if stage in JUDGED:
        labels = pseudo_labels(profile, progress)
        return labels.margins if stage == "gpl" else adaptation.with_bm25(labels.margins, BM25Search(labels.passages))
    if stage in ("mlm", *CROPPED):
        return list(adaptation.target_passages(docs).values())
    return [s for s in adaptation.target_sentences(docs) if len(s.split()) >= SHORTEST_SENTENCE]


def stage_objective(stage, encoder, profile, seed=0):
    """The objective of a stage around an encoder."""
    recipe = profile.recipes[stage]
    ranking = dict.fromkeys((*LABELLED, *ASKED), MultipleNegativesRanking)
    kinds = OBJECTIVES | ranking | dict.fromkeys(CROPPED, Cropping) | dict.fromkeys(JUDGED, MarginMSE)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # weights that no checkpoint carries start random
        return kinds[stage](encoder, **recipe.options)


def prepare_stage(stage, encoder, examples, profile, seed=0):
    """The objective of a stage around an encoder, as `load_encoder` returns it, and the examples as `train` takes them, cut at
    the recipe's length.

    The encoder takes over the recipe's pooling and keeps its own length: it learns from short texts and is judged on whole ones.
    """
    recipe = profile.recipes[stage]
    encoder.pooling = recipe.pooling
    objective = stage_objective(stage, encoder, profile, seed)
    own_length, encoder.max_length = encoder.max_length, recipe.max_length
    prepared = objective.prepare(examples)
    encoder.max_length = own_length
    return objective, prepared


def load_encoder(stages, profile, seed=0, progress=True):
    """The encoder that the stages lead to, trained as far as it has not been; () is the base encoder.

    Each stage keeps its encoder, so that ("source", "gpl") finds that of ("source",).
    """
    return _encoder_and_training(check_stages(stages), profile, seed, progress)[0]


def _encoder_and_training(stages, profile, seed, progress):
    """The encoder, and the TrainingRecord of its last stage, None without one."""
    start = str(ancestor_folder()) if _starts_finished(stages) else profile.base_encoder
    if not stages[_starts_finished(stages) :]:
        return SentenceEncoder.from_pretrained(start, pooling="mean"), None
    stage, folder = stages[-1], run_folder(_blank(stages, profile, seed))
    if (found := kept(folder)) is None:
        examples = stage_examples(stage, profile, progress)
        encoder, _ = _encoder_and_training(stages[:-1], profile, seed, progress)
        objective, prepared = prepare_stage(stage, encoder, examples, profile, seed)
        found = train_and_keep(objective, prepared, training_config(stage, profile, seed), folder, progress=progress)
    encoder, record = found
    if record.outcome == "interrupted":
        raise KeyboardInterrupt  # the next call goes on with the training
    encoder.source = start  # stages keep no language-model head: MLM and TSDAE take that of the start, or a new one
    return encoder, record


def _starts_finished(stages):
    return bool(stages) and stages[0] in STARTS


def is_trained(stages, profile, seed=0):
    """Whether every one of the stages has been trained."""
    stages = check_stages(stages)
    parts = [stages[:n] for n in range(1 + _starts_finished(stages), len(stages) + 1)]
    return all((run_folder(_blank(part, profile, seed)) / "training.json").is_file() for part in parts)


def similarity_of(stages, profile):
    """How to search with what the stages lead to: by dot product where MarginMSE came last and left the lengths of vectors
    free, else by cosine."""
    last = stages[-1] if stages else None
    return "dot" if last in JUDGED and profile.recipes[last].options.get("length") is None else "cosine"


def adapt(texts, folder, profile, start=None, steps=None, progress=True):
    """Train a finished sentence encoder further on texts of yours, without a label: the stage "cropping_gentle", kept in a folder.

    texts: passages of a few sentences each. folder: in the Sentence Transformers layout; where it holds the checkpoint of an
    interrupted call, this one goes on from it. start: a path or hub name, by default all-MiniLM-L6-v2; its own pooling stays.
    steps: by default the profile's. Returns the TrainingRecord. Raises FileExistsError where the folder holds a model already,
    ValueError for too few texts and a checkpoint of other texts.
    """
    folder, recipe = Path(folder), profile.recipes["cropping_gentle"]
    if (folder / "modules.json").exists() and not (folder / CHECKPOINT).exists():
        raise FileExistsError(f"{folder} holds a model already; name a new folder")
    objective = Cropping(SentenceEncoder.from_pretrained(start or ancestor_folder()), **recipe.options)
    config = training_config("cropping_gentle", profile)
    config = replace(
        config, steps=steps or config.steps, batch_size=min(config.batch_size, max(len(texts), 1)), checkpoint_every=10
    )
    return train(
        objective, objective.encoder.token_ids(texts, recipe.max_length), config, folder, resume=True, progress=progress
    )


def check_stages(stages):
    """The stages as a tuple; ValueError where one is no stage."""
    stages = (stages,) if isinstance(stages, str) else tuple(stages)
    for stage in stages[_starts_finished(stages) :]:
        if stage not in STAGES:
            raise ValueError(f"there is no stage {stage!r}; choose among {', '.join(STAGES)}")
    return stages


# --------------------------------------------------------------------------- measuring


def run(row, profile, seed=0, split="test", progress=True):
    """The run record of a row of the table, made if it is not there yet.

    row: stages, a key of SEARCHES, or ("hybrid", *stages), which merges BM25 with the encoder that the stages lead to.
    split: of the target's documents; "validation" for choices.
    """
    record = _blank(row, profile, seed, split)
    path = run_folder(record) / "record.json"
    if path.is_file():
        return RunRecord.load(path)
    ranker, training = _ranker(row, profile, seed, progress)
    tasks = adaptation.target_tasks(load_docs(), split=split).values()
    record.results = comparison.measure(ranker, tasks, queries=profile.queries)
    if training is not None:
        record.training = asdict(training)
        record.seconds, record.texts_per_second = training.seconds, training.texts_per_second
    record.peak_memory = training.peak_memory if training else memory_in_use("cpu")
    record.save(path)
    return record


def recorded(row, profile, same_texts=False):
    """The run records of a row that ship with the course, by seed; [] where none was made with the profile's recipes and the
    weights that ship now. Unless `same_texts` is asked for, their texts may be of other versions of the libraries than this
    machine has."""
    return recorded_alike(_blank(row, profile, 0), *(() if same_texts else ("texts",)))


def measured(row, profile):
    """The run record of a row that trains nothing: the one that ships, where it was made with the same settings, texts and
    weights; else `run` makes it here."""
    return next(iter(recorded(row, profile, same_texts=True)), None) or run(row, profile)


def _ranker(row, profile, seed, progress):
    """What ranks, for `evaluate_retrieval`, and the TrainingRecord of what trained it, or None."""
    if row == "bm25":
        return rank_bm25, None
    if row == "bm25_reranked":
        return rank_with(lambda corpus: Reranked(BM25Search(corpus), load_judge(), depth=DEPTH), depth=DEPTH), None
    if row in ("base", "minilm"):
        folder = profile.base_encoder if row == "base" else reference_folder()
        return SentenceEncoder.from_pretrained(folder, pooling="mean"), None
    if row == "minilm_hybrid":
        return _searching(
            SentenceEncoder.from_pretrained(reference_folder(), pooling="mean"), "cosine", hybrid=True
        ), None
    hybrid = row[0] == "hybrid"
    stages = check_stages(row[1:] if hybrid else row)
    encoder, training = _encoder_and_training(stages, profile, seed, progress)
    return _searching(encoder, similarity_of(stages, profile), hybrid), training


def _searching(encoder, similarity, hybrid):
    """What ranks by an encoder, or by BM25 and the encoder merged."""

    def search(corpus):
        dense = ExactSearch(encoder, corpus, similarity=similarity)
        return HybridSearch([BM25Search(corpus), dense]) if hybrid else dense

    return rank_with(search)


def title(row):
    """A row as a table calls it."""
    if row in SEARCHES:
        return SEARCHES[row]
    stages = " → ".join((STAGES | STARTS)[s] for s in check_stages(row[1:] if row[0] == "hybrid" else row))
    return f"BM25 and {stages}, hybrid" if row[0] == "hybrid" else stages


def _blank(row, profile, seed, split="test"):
    """The record of a row before it has run: what it is known by."""
    stages = () if row in SEARCHES else check_stages(s for s in row if s != "hybrid")
    configuration = {
        "queries": profile.queries,
        "split": split,
        "target": list(adaptation.TARGET),
        "stages": [[s, asdict(profile.recipes[s])] for s in stages if s in STAGES],
    }
    start = ANCESTOR_SHA256[:16] if _starts_finished(stages) else weights_fingerprint(profile.base_encoder)
    data = {"texts": load_docs().fingerprint, "base_encoder": start}
    judged = any(s in JUDGED for s in stages)
    if judged or any(s in ASKED for s in stages):
        configuration |= {"target_passages": profile.target_passages, "sampling": SAMPLING}
        data["query_generator"] = weights_fingerprint(str(GENERATOR))
    if judged:
        configuration["negatives"] = "mined and at random, in turn"
    if any(s in JUDGED and s != "gpl" for s in stages):
        configuration["margins"] = "mean of the cross-encoder's and BM25's"
    if any(s in ON_MORE for s in stages):
        configuration["long"] = LONG
    if judged or row == "bm25_reranked":
        data["cross_encoder"] = weights_fingerprint(str(JUDGE))
    if row == "bm25_reranked":
        configuration["depth"] = DEPTH
    name = row if row in SEARCHES else "-".join(row)
    return RunRecord(
        f"target-{name}",
        title(row),
        profile.name,
        0 if row in SEARCHES else seed,
        configuration,
        data,
        comparison.versions(),
        comparison.machine(),
    )
