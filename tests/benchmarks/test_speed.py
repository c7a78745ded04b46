"""`make bench`: training and encoding against sentence-transformers, in one run, as ratios; never asserted."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_lib.models.encoder import SentenceEncoder
from course_lib.models.minilm import reference_folder
from course_lib.texts import python_docs
from course_lib.training import Batches, TrainingConfig, choose_precision

HERE = Path(__file__).parent
BATCH, LENGTH = 64, 64  # those of measure_speed.py, which runs as a script
SENTENCES = {"train": 1280, "encode": 4000}
ROUNDS = 3  # the two sides take turns; the best round of each counts, which is the least disturbed one


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The model's folder and files of sentences with the corpus's own lengths."""
    folder = reference_folder()
    if folder is None:
        pytest.skip("all-MiniLM-L6-v2's weights are not on this machine")
    sentences = python_docs.load(progress=False).train.sentences
    files = {}
    for what, size in SENTENCES.items():
        files[what] = tmp_path_factory.mktemp("bench") / f"{what}.json"
        files[what].write_text(json.dumps(random.Random(0).sample(sentences, size)), encoding="utf-8")
    return folder, files


def measured(who, what, folder, file, precision):
    """What measure_speed.py printed."""
    done = subprocess.run(
        [sys.executable, HERE / "measure_speed.py", who, what, folder, file, precision],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("what, precision", [("train", "fp32"), ("train", "bf16"), ("encode", "fp32")])
@pytest.mark.timeout(1800)
def test_against_sentence_transformers(inputs, what, precision):
    if precision == "bf16" and choose_precision("auto", torch.device("cpu")) != "bf16":
        pytest.skip("this processor does not multiply bf16 in hardware")
    folder, files = inputs
    rounds = [
        {who: measured(who, what, folder, files[what], precision) for who in ("peer", "ours")} for _ in range(ROUNDS)
    ]
    best = {who: max((r[who] for r in rounds), key=lambda m: m["sentences_per_second"]) for who in ("peer", "ours")}
    ours, peer = best["ours"], best["peer"]
    ratios = [r["ours"]["sentences_per_second"] / r["peer"]["sentences_per_second"] for r in rounds]
    print(
        f"\n{what} in {precision}: {ours['sentences_per_second']:.1f} sentences/s, sentence-transformers "
        f"{peer['sentences_per_second']:.1f}: ratio {ours['sentences_per_second'] / peer['sentences_per_second']:.2f} "
        f"(rounds {', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    )
    print(
        f"peak memory: {ours['peak_memory'] / 2**30:.2f} GB, sentence-transformers "
        f"{peer['peak_memory'] / 2**30:.2f} GB: ratio {ours['peak_memory'] / peer['peak_memory']:.2f}"
    )
    encoder = SentenceEncoder.from_pretrained(folder, max_length=LENGTH, device="cpu")
    rows = encoder.token_ids(json.loads(files[what].read_text("utf-8")))
    if what == "train":
        grouped, shuffled = padding([len(row) for row in rows])
        print(
            f"word pieces computed for each real one: {grouped:.2f} in our batches, {shuffled:.2f} in batches at "
            f"random; grouping by length alone gives a ratio of {shuffled / grouped:.2f}"
        )
    share = ours["sentences_per_second"] * flops_a_sentence(encoder, rows, what) / (ours["matrix_gflops"] * 1e9)
    print(f"matrix rate measured: {ours['matrix_gflops']:.0f} GFLOP/s; used for the model's matrices: {share:.0%}")
    assert ours["sentences_per_second"] > 0


def padding(lengths):
    """Word pieces that one pass computes for each real one: in the batches of our loop, and in batches at random."""
    batches = Batches(lengths, TrainingConfig(epochs=1, batch_size=BATCH))
    ours = [batch for step in range(batches.steps) for batch in batches.batches_for(step)]
    order = random.Random(0).sample(range(len(lengths)), len(lengths))
    theirs = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    return tuple(
        sum(len(b) * max(lengths[i] for i in b) for b in some) / sum(lengths[i] for b in some for i in b)
        for some in (ours, theirs)
    )


def flops_a_sentence(encoder, rows, what):
    """Floating-point operations that the model's matrices need for an average sentence, padding not counted.

    rows: the sentences as lists of word pieces.
    """
    weights = sum(p.numel() for n, p in encoder.transformer.encoder.named_parameters() if p.ndim == 2)
    tokens = sum(map(len, rows)) / len(rows)
    forward = 2 * weights * tokens
    return forward * (2 * 3 if what == "train" else 1)  # two views; backward costs twice the forward
