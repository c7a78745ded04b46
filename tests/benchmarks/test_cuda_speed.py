"""The CUDA part of `make bench`: a table of whole runs on one GPU, ours and sentence-transformers'; never asserted.

Without a GPU it prints what was measured before. BENCH_STEPS shortens it: 500 steps a row by default.
"""

import os
import platform
from importlib import metadata

import pytest
import torch

from course_lib.models.encoder import SentenceEncoder
from course_lib.storage import DATA
from course_lib.texts import python_docs
from tests.benchmarks import measure_cuda as measure

# One H100, bf16, sentences per second with the warm-up in them (in brackets: without), against sentence-transformers 6
# and its trainer. Measured before batches were made ahead of the step and losses read late.
EARLIER = """
| one H100, before                | ours            | peer  | ratio |
| SimCSE, MiniLM shape, batch 64  | 1,145 (2,654)   | 993   | 1.15  |
| SimCSE, MiniLM shape, batch 512 | 7,145 (10,298)  | 3,737 | 1.91  |
| SimCSE, bert-base, batch 64     | 969 (1,573)     | 558   | 1.74  |
| SimCSE, bert-base, batch 512    | 4,506 (5,301)   | 2,103 | 2.14  |
| MLM, bert-base, batch 64        | 680             |       |       |
| TSDAE, bert-base, batch 8 / 64  | 61 / 523        |       |       |
| CT, batch 16                    | 111             |       |       |
| CT in-batch, batch 128          | 1,412           |       |       |
| encoding, bert-base             | 8,028           | 4,646 | 1.73  |
"""


@pytest.mark.timeout(3600)
def test_on_a_gpu():
    if not torch.cuda.is_available():
        print(EARLIER)
        pytest.skip("there is no CUDA GPU here; the table above was measured earlier, on one H100")
    device, steps = torch.device("cuda"), int(os.environ.get("BENCH_STEPS", 500))
    tokenizer = SentenceEncoder.from_pretrained(DATA / "base-encoder", pooling="mean", device="cpu").tokenizer
    sentences = python_docs.load(progress=False).train.sentences
    best = measure.matrix_rate(device)
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "sentence-transformers")
    )
    print(
        f"\n{torch.cuda.get_device_name()}, Python {platform.python_version()}, {versions}; {best / 1e12:.0f} TFLOP/s"
    )
    print("| bf16 | texts/s | tokens/s | steps/s | share of matrix rate | peer, texts/s | ratio |")
    for row in measure.ROWS:
        texts, tokens, per_second = measure.ours(row, sentences, tokenizer, device, steps)
        share = tokens * measure.flops_a_token(row, tokenizer) / best
        peer = measure.peers(row, sentences, tokenizer, device, steps) if row.peer else None
        compared = f"{peer:,.0f} | {texts / peer:.2f}" if peer else "|"
        print(
            f"| {row.title} | {texts:,.0f} | {tokens:,.0f} | {per_second:.1f} | {share:.0%} | {compared} |", flush=True
        )
    ours, peer = measure.encoding("bert-base", sentences, tokenizer, device)
    print(f"| encoding in fp32, bert-base shape | {ours:,.0f} | | | | {peer:,.0f} | {ours / peer:.2f} |")
