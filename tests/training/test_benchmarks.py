"""`make bench` is not run in CI, and part of it needs a GPU; here its code runs once, on a tiny model."""

import importlib

import pytest
import torch

from tests.benchmarks import measure_cuda as measure

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sentences(docs):
    return docs.train.sentences[:400]


@pytest.fixture(scope="module")
def tokenizer(shallow):
    return shallow().tokenizer


def test_the_benchmarks_can_be_imported():
    for name in ("measure_speed", "test_speed", "test_cuda_speed"):
        importlib.import_module(f"tests.benchmarks.{name}")


def test_the_cuda_part_measures_both_sides(sentences, tokenizer):
    row = measure.Row("SimCSE", "tiny", 8, peer=True)
    texts, tokens, steps = measure.ours(row, sentences, tokenizer, CPU, steps=4)
    assert texts == pytest.approx(8 * steps) and tokens > 4 * texts
    assert measure.peers(row, sentences, tokenizer, CPU, steps=4) > 0
    assert all(rate > 0 for rate in measure.encoding("tiny", sentences[:40], tokenizer, CPU))
    assert measure.matrix_rate(CPU) > 0


def test_packed_texts_are_full_and_begin_with_cls(sentences, tokenizer):
    row = measure.Row("MaskedLanguageModel", "tiny", 8, tokens=32)
    rows = measure.packed(tokenizer(sentences, return_attention_mask=False)["input_ids"], 32)
    assert {len(r) for r in rows} == {32} and {r[0] for r in rows} == {tokenizer.cls_token_id}
    texts, tokens, _ = measure.ours(row, sentences, tokenizer, CPU, steps=2)
    assert tokens == pytest.approx(32 * texts)


def test_flops_count_the_matrices_of_the_layers(tokenizer):
    """Per layer 4 d² of attention and 2 d · f of the feed-forward part; a backward pass costs two forward passes."""
    row = measure.Row("MaskedLanguageModel", "tiny", 8)
    assert measure.flops_a_token(row, tokenizer) == 6 * (4 * 64**2 + 2 * 64 * 128)
