"""Losses against sentence-transformers 6 and transformers 5: the same value, the same gradient of every parameter."""

import math

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import BertForMaskedLM, DataCollatorForLanguageModeling

from course_lib import functional
from course_lib.objectives import MaskedLanguageModel, SimCSE

LAYERS = 2


@pytest.fixture(params=["real", "random"])
def batch(request, docs, shallow):
    """16 sentences of the corpus, or as many rows of random word pieces and lengths."""
    if request.param == "real":
        return shallow(max_length=40).tokenize(docs.validation.sentences[100:116])
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(24) < torch.randint(3, 25, (16, 1), generator=generator)).long()
    return {"input_ids": torch.randint(10, 14_000, (16, 24), generator=generator) * mask, "attention_mask": mask}


def without_dropout(model):
    """Training mode, but nothing is dropped."""
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def assert_same_gradients(ours, theirs, least):
    """Both are {name: parameter}; those of theirs that the loss does not reach (the pooler's) may be absent in ours."""
    compared = 0
    for name, parameter in theirs.items():
        if parameter.grad is not None:
            torch.testing.assert_close(ours[name].grad, parameter.grad, atol=1e-5, rtol=1e-5, msg=lambda m: name + m)
            compared += 1
    assert compared >= least and float(ours["embeddings.word_embeddings.weight"].grad.norm()) > 1e-3


# --------------------------------------------------------------------------- SimCSE


@pytest.fixture
def pair(shallow, tmp_path):
    """SimCSE and the library's loss on (s, s), around the same weights."""
    encoder = shallow(LAYERS)
    encoder.save(tmp_path)
    peer = SentenceTransformer(str(tmp_path), device="cpu")
    return SimCSE(encoder, temperature=0.05), peer, MultipleNegativesRankingLoss(peer, scale=20)


def test_simcse_is_multiple_negatives_ranking_on_the_same_sentence_twice(pair, batch):
    simcse, peer, reference = pair
    ours, theirs = simcse.eval()(batch), without_dropout(reference)([dict(batch), dict(batch)], None)
    compare(simcse, ours, peer, theirs)


def test_simcse_with_dropout(pair, batch):
    """The library encodes the two columns one after the other: with the two views drawn in that order, all is equal."""
    simcse, peer, reference = pair
    one_pass = simcse.encoder.forward

    def two_passes(both):
        halves = zip(*(v.chunk(2) for v in both.values()))
        return torch.cat([one_pass(dict(zip(both, half))) for half in halves])

    simcse.encoder.forward = two_passes
    torch.manual_seed(7)
    ours = simcse.train()(batch)
    torch.manual_seed(7)
    theirs = reference.train()([dict(batch), dict(batch)], None)
    compare(simcse, ours, peer, theirs)
    torch.manual_seed(8)
    assert abs(float(simcse(batch).detach()) - float(ours.detach())) > 1e-4  # there was dropout


def compare(simcse, ours, peer, theirs):
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    ours.backward()
    theirs.backward()
    assert_same_gradients(
        dict(simcse.encoder.transformer.named_parameters()),
        dict(peer[0].auto_model.named_parameters()),
        least=5 + 16 * LAYERS,
    )


@pytest.mark.parametrize("scale", [1, 20, 100])
def test_info_nce_is_multiple_negatives_ranking(scale):
    """On embeddings alone, with more candidates than anchors: the library's third column, hard negatives."""
    generator = torch.Generator().manual_seed(scale)
    anchors, positives, negatives = torch.randn(3, 9, 12, generator=generator)
    results, reference = [], MultipleNegativesRankingLoss(None, scale=scale)
    for loss in (
        lambda a, b, c: functional.info_nce(a, torch.cat([b, c]), 1 / scale),
        lambda *abc: reference.compute_loss_from_embeddings(abc, None),
    ):
        inputs = [x.clone().requires_grad_() for x in (anchors, positives, negatives)]
        value = loss(*inputs)
        value.backward()
        results.append([value, *(x.grad for x in inputs)])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


# --------------------------------------------------------------------------- masked language model


@pytest.fixture
def reference(base_encoder_folder):
    model = BertForMaskedLM.from_pretrained(base_encoder_folder, dtype=torch.float32)
    model.bert.encoder.layer = model.bert.encoder.layer[:LAYERS]
    return model


@pytest.fixture
def mlm(shallow):
    return MaskedLanguageModel(shallow(LAYERS))


def masked(mlm, batch):
    """The batch with BERT's noise, the same whatever it is."""
    tokenizer = mlm.encoder.tokenizer
    ids, labels = functional.mask_tokens(
        batch["input_ids"],
        tokenizer.all_special_ids,
        0.15,
        tokenizer.mask_token_id,
        len(tokenizer),
        torch.Generator().manual_seed(3),
    )
    return {**batch, "input_ids": ids, "labels": labels}


@pytest.mark.parametrize("dropout", [False, True])
def test_mlm_is_bert_for_masked_lm(mlm, reference, batch, dropout):
    batch = masked(mlm, batch)
    results = []
    for model in (mlm, reference):
        model.train() if dropout else without_dropout(model)
        torch.manual_seed(5)
        results.append(model(batch) if model is mlm else model(**batch).loss)
        results[-1].backward()
    ours, theirs = results
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    assert_same_gradients(
        dict(mlm.encoder.transformer.named_parameters()), dict(reference.bert.named_parameters()), least=5 + 16 * LAYERS
    )
    their_head = reference.cls.predictions
    for own, other in (
        (mlm.head.dense.weight, their_head.transform.dense.weight),
        (mlm.head.bias, their_head.bias),
        (mlm.head.dense.bias, their_head.transform.dense.bias),
        (mlm.head.norm.weight, their_head.transform.LayerNorm.weight),
        (mlm.head.norm.bias, their_head.transform.LayerNorm.bias),
    ):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-5, rtol=1e-5)
        assert own.grad.abs().sum() > 0


def test_the_head_gives_bert_for_masked_lm_s_logits(mlm, reference, batch):
    with torch.no_grad():
        ours = mlm.eval().head(mlm.encoder.token_embeddings(batch))
        theirs = reference.eval()(**batch).logits
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)  # logits reach 20


@pytest.mark.parametrize("collator", ["ours", "transformers"])
def test_both_collators_damage_within_chance_of_bert_s_rates(mlm, docs, collator):
    """The bounds are 4.5 standard deviations, so that both are held to the same: 15 %, of these 80/10/10."""
    tokenizer, texts = mlm.encoder.tokenizer, docs.validation.sentences[:1500]
    plain = mlm.encoder.tokenize(texts)["input_ids"]
    if collator == "ours":
        noisy = mlm.collate(texts, torch.Generator().manual_seed(11))
    else:
        rows = mlm.encoder.token_ids(texts)
        noisy = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=11)(
            [{"input_ids": row} for row in rows]
        )
    chosen = noisy["labels"] != -100
    ordinary = ~torch.isin(plain, torch.tensor(tokenizer.all_special_ids))
    inputs, kept = noisy["input_ids"][chosen], plain[chosen]
    counts = [
        (chosen.sum(), ordinary.sum(), 0.15),
        ((inputs == tokenizer.mask_token_id).sum(), len(kept), 0.8),
        ((inputs == kept).sum(), len(kept), 0.1),
        (chosen[~ordinary].sum(), 1, 0.0),
    ]
    for count, trials, rate in counts:
        assert abs(int(count) - int(trials) * rate) <= 4.5 * math.sqrt(int(trials) * rate * (1 - rate)) + 0.5


def test_both_collators_may_choose_the_same_tokens(mlm):
    """With probability 1 everything that may be hidden is; an unknown character counts as special in both."""
    tokenizer, rows = mlm.encoder.tokenizer, mlm.encoder.token_ids(["sort an array ꙮ now", "array"])
    theirs = DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.0)([{"input_ids": row} for row in rows])
    ids = mlm.encoder.tokenize(rows)["input_ids"]
    assert tokenizer.unk_token_id in ids
    _, labels = functional.mask_tokens(ids, tokenizer.all_special_ids, 1.0, tokenizer.mask_token_id, len(tokenizer))
    assert torch.equal(labels, theirs["labels"])
