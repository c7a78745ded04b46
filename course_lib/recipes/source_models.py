"""`make source-models`: the query generator and the cross-encoder of notebooks 08 to 10, trained on the source's labels.

Both start from the base encoder's lower layers and learn from (summary, description) pairs of the source libraries alone.
What ships is `data/query-generator/` and `data/cross-encoder/`; their README says how they were trained and how they measure.
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model

from course_lib.experiments import domain_adaptation as adaptation
from course_lib.experiments.runs import keep_training
from course_lib.models import CrossEncoder, QueryGenerator
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives import QueryGeneration, Relevance
from course_lib.search import BM25Search
from course_lib.storage import DATA, write_atomically
from course_lib.texts import python_docs
from course_lib.training import TrainingConfig, TrainingRecord, train

LAYERS = {"query-generator": 3, "cross-encoder": 4}  # what fits into 30 MB, in half precision, with 15,000 word pieces
LENGTH = {"query-generator": 64, "cross-encoder": 96}  # tokens: of a passage; of a query and a passage together
DRAWS = 6  # for the generator, of which sentence is missing from a passage
HARD, RANDOM = 1, 2  # negatives a query: those that BM25 finds alone teach too little at first, they are too hard


def lower_layers(layers, max_length):
    """The base encoder with its lower layers only."""
    encoder = SentenceEncoder.from_pretrained(DATA / "base-encoder", max_length=max_length)
    encoder.transformer.encoder.layer = encoder.transformer.encoder.layer[:layers]
    encoder.transformer.config.num_hidden_layers = layers
    return encoder


def train_generator(
    docs,
    steps=300,
    practice_steps=2500,
    batch_size=64,
    learning_rate=8e-4,
    pointer=True,
    output=None,
    seed=0,
    progress=True,
):
    """Train a query generator on the source's (description, summary) pairs, after practice without labels.

    docs: the whole corpus. practice_steps: first so many steps in which it writes the sentence that is missing from a
    passage, in the text of both domains: six thousand summaries are soon learned by heart, and the decoder has never
    written before. pointer: as in QueryGenerator. output: a folder for checkpoints, from which an interrupted training goes on.
    Returns the generator and the TrainingRecords of both parts; their evaluations hold the loss on held-out pairs of
    description and summary in nats a token, negated.
    """
    torch.manual_seed(seed)
    generator = QueryGenerator(lower_layers(LAYERS["query-generator"], LENGTH["query-generator"]), pointer=pointer)
    pairs, passages = adaptation.source_pairs(docs)
    unseen = [(passage, query) for query, passage in held_out_pairs(docs)][:320]

    def practice():
        return list(dict.fromkeys(pair for draw in range(DRAWS) for pair in missing_sentences(docs, seed + draw)))

    parts = {"practice": (practice_steps, practice), "queries": (steps, lambda: [(passages[i], q) for q, i in pairs])}
    config = TrainingConfig(batch_size=batch_size, learning_rate=learning_rate, schedule="cosine", seed=seed)
    return generator, train_parts(
        QueryGeneration(generator),
        parts,
        config,
        output,
        progress,
        lambda encoder: {"negative_loss": -token_loss(generator, unseen)},
    )


def missing_sentences(docs, seed=0, words=40):
    """(passage, sentence) pairs of the training text: neighbouring sentences, and the one that was taken out of them.

    Zhang et al. (2020), PEGASUS, practise summaries so. A first paragraph takes no part: it is what the source's labels are
    made of, and of the target there are none. words: of a passage with its sentence, at most.
    """
    chance, allowed, pairs = random.Random(seed), set(docs.train.sentences), []
    for document in docs.train.documents:
        sentences = [s for s in document.sentences if s in allowed and s not in document.paragraphs[0]]
        for window in python_docs.windows(sentences, words):
            if len(window) > 1:
                missing = window.pop(chance.randrange(len(window)))
                pairs.append((" ".join(window), missing))
    return pairs


def train_judge(
    docs,
    steps=500,
    practice_steps=600,
    batch_size=16,
    learning_rate=3e-4,
    loss="softmax",
    output=None,
    seed=0,
    progress=True,
):
    """Train a cross-encoder on the source's pairs, each against HARD and RANDOM other descriptions, after practice.

    practice_steps: first so many steps in which it finds the passage that a sentence was taken from, in the text of both
    domains, against the same kinds of negatives. Other arguments as for `train_generator`; loss: as CrossEncoder takes it.
    Returns the judge and the TrainingRecords of both parts, whose evaluations hold how often a held-out query's own
    description scores above five that BM25 finds.
    """
    torch.manual_seed(seed)
    judge = CrossEncoder(lower_layers(LAYERS["cross-encoder"], LENGTH["cross-encoder"]))
    answers = {query: passage for query, passage in held_out_pairs(docs)}
    numbered = {str(n): passage for n, passage in enumerate(answers.values())}
    unseen = with_negatives(list(zip(answers, numbered)), numbered, 5)

    def against_others(pairs, passages):
        everything, chance = list(passages.values()), random.Random(seed)
        return [(*example, *chance.choices(everything, k=RANDOM)) for example in with_negatives(pairs, passages, HARD)]

    parts = {
        "practice": (practice_steps, lambda: against_others(*taken_sentences(docs, seed=seed))),
        "pairs": (steps, lambda: against_others(*adaptation.source_pairs(docs))),
    }
    config = TrainingConfig(batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    return judge, train_parts(
        Relevance(judge, loss),
        parts,
        config,
        output,
        progress,
        lambda encoder: {"first_of_six": first_of(judge, unseen[:200])},
    )


def train_parts(objective, parts, config, output, progress, evaluate):
    """Train on one part after the other, four evaluations each: {part: its TrainingRecord}.

    parts: {name: (steps, a function that gives its examples)}; parts of 0 steps are left out. output: a folder where each part
    is kept when it has ended, and its checkpoints until then; None keeps nothing.
    """
    records = {}
    for name, (steps, examples) in parts.items():
        folder = output and output / name
        if folder and (folder / "training.json").is_file():  # written last
            load_model(objective, folder / "objective.safetensors")
            records[name] = TrainingRecord(**json.loads((folder / "training.json").read_text(encoding="utf-8")))
        elif steps:
            config = replace(
                config, steps=steps, evaluate_every=max(1, steps // 4), checkpoint_every=max(1, steps // 10)
            )
            records[name] = train(
                objective, examples(), config, folder, resume=bool(folder), evaluate=evaluate, progress=progress
            )
            if records[name].outcome == "interrupted":
                raise KeyboardInterrupt  # the next call goes on with the part
            if folder:
                save_model(objective, folder / "objective.safetensors")
                keep_training(records[name], folder / "training.json")
    return records


def taken_sentences(docs, count=10_000, seed=0):
    """(sentence, passage id) pairs and {passage id: the passage without it}, drawn from `missing_sentences`."""
    some = [(s, passage) for passage, s in missing_sentences(docs, seed) if len(s.split()) >= 4]
    some = random.Random(seed).sample(some, min(count, len(some)))
    return [(s, f"rest {n}") for n, (s, _) in enumerate(some)], {
        f"rest {n}": passage for n, (_, passage) in enumerate(some)
    }


def held_out_pairs(docs):
    """(summary, description) pairs of the source's validation documents, for choices and logs."""
    task = adaptation.target_tasks(docs, adaptation.SOURCE, "validation")["summary_to_description"]
    return [(query, task.corpus[next(iter(task.relevant[i]))]) for i, query in task.queries.items()]


def with_negatives(pairs, passages, count):
    """(query, positive, negative, …): each pair with `count` of the passages that BM25 finds for its query; pairs for which
    it finds fewer are left out."""
    mined = adaptation.mine_negatives(pairs, passages, {"bm25": BM25Search(passages)}, 20, progress=False)
    drawn = adaptation.draw_negatives(mined, count)
    return [
        (query, passages[i], *(passages[n] for n in negatives))
        for (query, i), negatives in zip(pairs, drawn)
        if len(negatives) == count
    ]


@torch.inference_mode()
def token_loss(generator, pairs):
    """A generator's loss on (passage, query) pairs, in nats a token of the queries."""
    total = count = 0
    objective = QueryGeneration(generator)
    for start in range(0, len(pairs), 32):
        batch = objective.collate(pairs[start : start + 32], None)
        tokens = int((batch["labels"] != -100).sum())
        total += float(objective({k: v.to(generator.device) for k, v in batch.items()})) * tokens
        count += tokens
    return total / count


def first_of(judge, examples):
    """How often a judge scores the positive of (query, positive, negative, …) highest: a share."""
    size = len(examples[0]) - 1
    scores = judge.predict([(query, text) for query, *texts in examples for text in texts]).reshape(-1, size)
    return float((scores.argmax(1) == 0).mean())


def main():
    """Build data/query-generator and data/cross-encoder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("only", nargs="?", choices=list(LAYERS), help="one of the two; by default both")
    parser.add_argument("--output", type=Path, default=DATA)
    parser.add_argument("--checkpoints", type=Path, help="a folder to resume from")
    options = parser.parse_args()
    docs = python_docs.load()
    for name, make in (("query-generator", train_generator), ("cross-encoder", train_judge)):
        if options.only not in (None, name):
            continue
        model, records = make(docs, output=options.checkpoints and options.checkpoints / name)
        model.save(options.output / name, dtype=torch.float16)
        log = {
            part: {
                "config": record.config,
                "precision": record.precision,
                "seconds": round(record.seconds),
                "texts": record.texts,
                "evaluations": record.evaluations,
                "loss": [round(x, 4) for x in record.losses[::10]],
            }
            for part, record in records.items()
        }
        write_atomically(options.output / name / "training-log.json", json.dumps(log, indent=1) + "\n")


if __name__ == "__main__":
    main()
