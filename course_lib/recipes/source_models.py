"""`make source-models`: the query generator and the cross-encoder of notebooks 08 to 10, trained on source labels.

Both start from the base encoder's lower layers and learn from (summary, description) pairs of the source libraries.
What ships is `data/query-generator/` and `data/cross-encoder/`; their README says how they were trained and measured.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model

from course_lib.experiments import domain_adaptation as adaptation
from course_lib.models import CrossEncoder, QueryGenerator, SentenceEncoder
from course_lib.objectives import Objective, QueryGeneration, Relevance
from course_lib.recipes.base_encoder import loss_per_token
from course_lib.search import BM25Search
from course_lib.storage import DATA, replacing, write_atomically
from course_lib.texts import python_docs
from course_lib.training import TrainingConfig, TrainingRecord, train

LAYERS = {"query-generator": 3, "cross-encoder": 4}  # what fits into 30 MB, in half precision
LENGTH = {"query-generator": 64, "cross-encoder": 96}  # tokens: of a passage; of a query and a passage together
DRAWS = 6  # for the generator, of which sentence is missing from a passage
HARD, RANDOM = 1, 2  # negatives per query: those that BM25 finds alone teach too little at first, they are too hard
Parts = dict[str, tuple[int, Callable]]  # {name: (steps, a function that gives its examples)}


def lower_layers(layers: int, max_length: int) -> SentenceEncoder:
    """The base encoder with its lower layers only."""
    encoder = SentenceEncoder.from_pretrained(DATA / "base-encoder", pooling="mean", max_length=max_length)
    encoder.transformer.encoder.layer = encoder.transformer.encoder.layer[:layers]
    encoder.transformer.config.num_hidden_layers = layers
    return encoder


def train_generator(
    docs: python_docs.PythonDocs,
    steps: int = 300,
    practice_steps: int = 2500,
    batch_size: int = 64,
    learning_rate: float = 8e-4,
    pointer: bool = True,
    output: Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[QueryGenerator, dict[str, TrainingRecord]]:
    """Train a query generator on the source's (description, summary) pairs, after practice without labels.

    docs: the whole corpus.
    steps, batch_size, learning_rate, seed: as in TrainingConfig.
    practice_steps: steps before, in which it writes the sentence that is missing from a passage, in the text of both
        domains: six thousand summaries are soon learned by heart, and the decoder has never written before.
    pointer: as in QueryGenerator.
    output: a folder for checkpoints, from which an interrupted training continues.
    progress: whether to show bars.
    Returns the generator and the TrainingRecords of both parts. Their evaluations hold the negated loss on held-out
    pairs of description and summary, in nats per token.
    """
    torch.manual_seed(seed)
    generator = QueryGenerator(lower_layers(LAYERS["query-generator"], LENGTH["query-generator"]), pointer=pointer)
    objective = QueryGeneration(generator)
    pairs, passages = adaptation.source_pairs(docs)
    unseen = [(passage, query) for query, passage in held_out_pairs(docs)][:320]

    def practice():
        return list(dict.fromkeys(pair for draw in range(DRAWS) for pair in missing_sentences(docs, seed + draw)))

    parts = {"practice": (practice_steps, practice), "queries": (steps, lambda: [(passages[i], q) for q, i in pairs])}
    config = TrainingConfig(batch_size=batch_size, learning_rate=learning_rate, schedule="cosine", seed=seed)

    def evaluate(generator):
        return {"negative_loss": -token_loss(objective, unseen)}

    return generator, train_parts(objective, parts, config, output, progress, evaluate)


def missing_sentences(docs: python_docs.PythonDocs, seed: int = 0, words: int = 40) -> list[tuple[str, str]]:
    """(passage, sentence) pairs of the training text: neighbouring sentences, and the one that was taken out of them.

    Zhang et al. (2020), PEGASUS, pretrain summaries like this. First paragraphs are left out: the source's labels are
    made of them, and for the target there are no labels.
    docs: the whole corpus.
    seed: decides which sentence is taken out.
    words: of a passage with its sentence, at most.
    """
    generator, allowed, pairs = random.Random(seed), set(docs.train.sentences), []
    for document in docs.train.documents:
        sentences = [s for s in document.sentences if s in allowed and s not in document.paragraphs[0]]
        for window in python_docs.windows(sentences, words):
            if len(window) > 1:
                missing = window.pop(generator.randrange(len(window)))
                pairs.append((" ".join(window), missing))
    return pairs


def train_cross_encoder(
    docs: python_docs.PythonDocs,
    steps: int = 500,
    practice_steps: int = 600,
    batch_size: int = 16,
    learning_rate: float = 3e-4,
    loss: str = "softmax",
    output: Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[CrossEncoder, dict[str, TrainingRecord]]:
    """Train a cross-encoder on the source's pairs, each against HARD and RANDOM other descriptions, after practice.

    practice_steps: steps before, in which it finds the passage that a sentence was taken from, in the text of both
        domains, against the same kinds of negatives.
    loss: as in `objectives.Relevance`.
    The other arguments are those of `train_generator`.
    Returns the cross-encoder and the TrainingRecords of both parts. Their evaluations say how often a held-out query's
    own description scores above five that BM25 finds.
    """
    torch.manual_seed(seed)
    cross_encoder = CrossEncoder(lower_layers(LAYERS["cross-encoder"], LENGTH["cross-encoder"]))
    answers = {query: passage for query, passage in held_out_pairs(docs)}
    numbered = {str(n): passage for n, passage in enumerate(answers.values())}
    unseen = with_negatives(list(zip(answers, numbered)), numbered, 5)

    def against_others(pairs, passages):
        everything, generator = list(passages.values()), random.Random(seed)
        return [(*e, *generator.choices(everything, k=RANDOM)) for e in with_negatives(pairs, passages, HARD)]

    parts = {
        "practice": (practice_steps, lambda: against_others(*taken_sentences(docs, seed=seed))),
        "pairs": (steps, lambda: against_others(*adaptation.source_pairs(docs))),
    }
    config = TrainingConfig(batch_size=batch_size, learning_rate=learning_rate, seed=seed)

    def evaluate(cross_encoder):
        return {"first_of_six": share_first(cross_encoder, unseen[:200])}

    return cross_encoder, train_parts(Relevance(cross_encoder, loss), parts, config, output, progress, evaluate)


def train_parts(
    objective: Objective, parts: Parts, config: TrainingConfig, output: Path | None, progress: bool, evaluate: Callable
) -> dict[str, TrainingRecord]:
    """Train on one part after the other, with four evaluations each.

    parts: {name: (steps, a function that gives its examples)}; parts of 0 steps are left out.
    output: a folder where each part is kept when it has ended, and its checkpoints until then; None keeps nothing.
    Returns {part: its TrainingRecord}.
    Raises KeyboardInterrupt where a part is interrupted; the next call continues with it.
    """
    records = {}
    for name, (steps, examples) in parts.items():
        folder = output and output / name
        if folder and (folder / "training.json").is_file():  # written last
            load_model(objective, folder / "objective.safetensors")
            records[name] = TrainingRecord.load(folder / "training.json")
        elif steps:
            every = {"evaluate_every": max(1, steps // 4), "checkpoint_every": max(1, steps // 10)}
            config = replace(config, steps=steps, **every)
            watched = {"evaluate": evaluate, "progress": progress}
            records[name] = train(objective, examples(), config, folder, resume=bool(folder), **watched)
            if records[name].outcome == "interrupted":
                raise KeyboardInterrupt
            if folder:
                with replacing(folder / "objective.safetensors") as temporary:
                    save_model(objective, temporary)
                records[name].save(folder / "training.json")
    return records


def taken_sentences(docs: python_docs.PythonDocs, count: int = 10_000, seed: int = 0) -> tuple[list, dict]:
    """(sentence, passage id) pairs and {passage id: the passage without it}, drawn from `missing_sentences`."""
    some = [(s, passage) for passage, s in missing_sentences(docs, seed) if len(s.split()) >= 4]
    some = random.Random(seed).sample(some, min(count, len(some)))
    pairs = [(sentence, f"rest {n}") for n, (sentence, _) in enumerate(some)]
    return pairs, {f"rest {n}": passage for n, (_, passage) in enumerate(some)}


def held_out_pairs(docs: python_docs.PythonDocs, libraries: Sequence[str] = adaptation.SOURCE) -> list[tuple[str, str]]:
    """(summary, description) pairs of validation documents, by default the source's, for choices and logs."""
    task = adaptation.target_tasks(docs, libraries, "validation")["summary_to_description"]
    return [(query, task.corpus[next(iter(task.relevant[i]))]) for i, query in task.queries.items()]


def with_negatives(pairs: list[tuple[str, str]], passages: dict[str, str], count: int) -> list[tuple]:
    """(query, positive, negative, …): each pair with `count` of the passages that BM25 finds for its query.

    pairs: (query, passage id); those for which BM25 finds fewer than `count` are left out.
    """
    mined = adaptation.mine_negatives(pairs, passages, {"bm25": BM25Search(passages)}, 20, progress=False)
    drawn = [(pair, ids) for pair, ids in zip(pairs, adaptation.draw_negatives(mined, count)) if len(ids) == count]
    return [(query, passages[i], *(passages[n] for n in negatives)) for (query, i), negatives in drawn]


def token_loss(objective: QueryGeneration, pairs: list[tuple[str, str]]) -> float:
    """The loss on (passage, query) pairs, in nats per token of the queries."""
    chunks = (pairs[start : start + 32] for start in range(0, len(pairs), 32))
    return loss_per_token(objective, (objective.collate(objective.prepare(chunk), None) for chunk in chunks))


def character_loss(objective: QueryGeneration, pairs: list[tuple[str, str]]) -> float:
    """The loss on (passage, query) pairs, in nats per character of the queries, which compares two vocabularies."""
    queries = [query for _, query in pairs]
    tokens = sum(len(ids) - 1 for ids in objective.encoder.encoder.token_ids(queries))  # [CLS] is not predicted
    return token_loss(objective, pairs) * tokens / sum(map(len, queries))


def share_first(cross_encoder: CrossEncoder, examples: list[tuple]) -> float:
    """How often a cross-encoder scores the positive of (query, positive, negative, …) highest: a share."""
    size = len(examples[0]) - 1
    scores = cross_encoder.predict([(query, text) for query, *texts in examples for text in texts]).reshape(-1, size)
    return float((scores.argmax(1) == 0).mean())


def main():
    """Build data/query-generator and data/cross-encoder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("only", nargs="?", choices=list(LAYERS), help="one of the two; by default both")
    parser.add_argument("--output", type=Path, default=DATA)
    parser.add_argument("--checkpoints", type=Path, help="a folder to resume from")
    options = parser.parse_args()
    docs = python_docs.load()
    for name, make in (("query-generator", train_generator), ("cross-encoder", train_cross_encoder)):
        if options.only not in (None, name):
            continue
        model, records = make(docs, output=options.checkpoints and options.checkpoints / name)
        model.save(options.output / name, dtype=torch.float16)
        log = {part: _log(record) for part, record in records.items()}
        write_atomically(options.output / name / "training-log.json", json.dumps(log, indent=1) + "\n")


def _log(record):
    log = {key: getattr(record, key) for key in ("config", "precision", "seconds", "texts", "evaluations")}
    return {**log, "seconds": round(record.seconds), "loss": [round(x, 4) for x in record.losses[::10]]}


if __name__ == "__main__":
    main()
