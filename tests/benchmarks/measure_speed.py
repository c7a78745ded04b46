"""One measurement in a process of its own, so that its peak memory is its own: prints a line of JSON.

python measure_speed.py {ours,peer} {train,encode} model_folder sentences.json precision
"""

import json
import resource
import sys
import tempfile
import time

import torch

BATCH, LENGTH, SEED = 64, 64, 0


def main(who, what, folder, sentences_file, precision):
    """Run one measurement and print what it gave."""
    with open(sentences_file, encoding="utf-8") as file:
        sentences = json.load(file)
    before = peak_memory()
    seconds = {
        "ours": {"train": ours_train, "encode": ours_encode},
        "peer": {"train": peer_train, "encode": peer_encode},
    }[who][what](folder, sentences, precision)
    print(
        json.dumps(
            {
                "sentences_per_second": len(sentences) / seconds,
                "peak_memory": peak_memory(),
                "memory_before": before,
                "matrix_gflops": matrix_rate(precision),
            }
        )
    )


def peak_memory():
    """The most bytes this process has held so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def matrix_rate(precision, size=1536):
    """GFLOP/s of a square matrix product in the same precision: what the processor can do at best."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(size, size, dtype=kind), torch.randn(size, size, dtype=kind)
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def ours_train(folder, sentences, precision):
    """SimCSE with this course's loop; seconds for one pass, tokenising included."""
    from course_lib.models.encoder import SentenceEncoder
    from course_lib.objectives import SimCSE
    from course_lib.training import TrainingConfig, train

    objective = SimCSE(SentenceEncoder.from_pretrained(folder, max_length=LENGTH, device="cpu"))
    config = TrainingConfig(epochs=1, batch_size=BATCH, learning_rate=5e-5, precision=precision, seed=SEED)
    began = time.perf_counter()
    train(objective, sentences, config, progress=False)
    return time.perf_counter() - began


def peer_train(folder, sentences, precision):
    """SimCSE as in sentence-transformers' documentation: (s, s) pairs, MultipleNegativesRankingLoss, its trainer."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = LENGTH
    with tempfile.TemporaryDirectory() as output:
        arguments = SentenceTransformerTrainingArguments(
            output,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=5e-5,
            warmup_steps=0.1,
            seed=SEED,
            bf16=precision == "bf16",
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_drop_last=False,
        )
        trainer = SentenceTransformerTrainer(
            model,
            arguments,
            train_dataset=Dataset.from_dict({"a": sentences, "b": sentences}),
            loss=MultipleNegativesRankingLoss(model),
        )
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


def ours_encode(folder, sentences, precision):
    """Embedding the sentences with SentenceEncoder; seconds."""
    from course_lib.models.encoder import SentenceEncoder

    encoder = SentenceEncoder.from_pretrained(folder, max_length=LENGTH, device="cpu")
    encoder.encode(sentences[:BATCH])
    began = time.perf_counter()
    encoder.encode(sentences, batch_size=BATCH)
    return time.perf_counter() - began


def peer_encode(folder, sentences, precision):
    """Embedding the sentences with SentenceTransformer; seconds."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = LENGTH
    model.encode(sentences[:BATCH])
    began = time.perf_counter()
    model.encode(sentences, batch_size=BATCH)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
