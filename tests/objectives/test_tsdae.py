"""TSDAE's batch, its decoder and what it needs: by properties, on four families of encoders."""

import math

import pytest
import torch
import transformers
from torch import nn

from course_lib import functional
from course_lib.models.decoder import Decoder
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives import DenoisingAutoEncoder
from course_lib.training import TrainingConfig, make_optimizer, train

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
FAMILIES = {
    "bert": lambda v: transformers.BertConfig(vocab_size=v, **SIZES),
    "roberta": lambda v: transformers.RobertaConfig(vocab_size=v, max_position_embeddings=66, **SIZES),
    "distilbert": lambda v: transformers.DistilBertConfig(vocab_size=v, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
    "mpnet": lambda v: transformers.MPNetConfig(vocab_size=v, max_position_embeddings=66, **SIZES),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sentences(docs):
    return docs.validation.sentences[:24]


@pytest.fixture
def tsdae(shallow):
    torch.manual_seed(0)
    return DenoisingAutoEncoder(shallow(2, pooling="cls", max_length=32))


@pytest.fixture(scope="module")
def random_encoder(base_encoder_folder):
    """A function that gives a small random encoder of a family, with weights large enough for layers to matter."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_encoder_folder)

    def make(family):
        config = FAMILIES[family](len(tokenizer))
        config.pad_token_id, config.initializer_range = tokenizer.pad_token_id, 0.2
        torch.manual_seed(0)
        return SentenceEncoder(transformers.AutoModel.from_config(config), tokenizer, "cls", max_length=32)

    return make


@pytest.fixture(params=FAMILIES)
def any_tsdae(request, random_encoder):
    return DenoisingAutoEncoder(random_encoder(request.param))


# --------------------------------------------------------------------------- the batch


def test_a_batch_is_a_damaged_text_and_the_whole_one_shifted(tsdae, sentences):
    batch, whole = tsdae.collate(sentences, seeded()), tsdae.encoder.tokenize(sentences)
    ids, mask = whole["input_ids"], whole["attention_mask"]
    for row, (text, length) in enumerate(zip(ids.tolist(), mask.sum(1).tolist())):
        assert batch["decoder_input_ids"][row, : length - 1].tolist() == text[: length - 1]
        assert batch["labels"][row, : length - 1].tolist() == text[1:length]
        assert (batch["labels"][row, length - 1 :] == -100).all()
        left = batch["input_ids"][row, : int(batch["attention_mask"][row].sum())].tolist()
        rest = iter(text[:length])
        assert all(token in rest for token in left)  # in the same order
        assert left[0] == text[0] and left[-1] == text[length - 1] and 3 <= len(left) <= length  # [CLS] … [SEP]


def test_the_noise_is_drawn_anew_for_every_batch_and_comes_from_the_generator(tsdae, sentences):
    generator = seeded(1)
    one, next_one, again = (tsdae.collate(sentences, g) for g in (generator, generator, seeded(1)))
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["input_ids"], next_one["input_ids"][:, : one["input_ids"].shape[1]])
    assert torch.equal(one["labels"], next_one["labels"])
    prepared = tsdae.prepare(sentences)
    assert all(torch.equal(v, tsdae.collate(prepared, seeded(1))[k]) for k, v in one.items())


@pytest.mark.parametrize("probability", [0.4, 0.6])
def test_words_are_deleted_whole_at_the_rate_asked_for(shallow, docs, probability):
    texts = [t for t in docs.validation.sentences[:900] if len(t.split()) >= 8]
    tsdae = DenoisingAutoEncoder(shallow(max_length=64), deletion_probability=probability)
    tokenizer, batch = tsdae.encoder.tokenizer, tsdae.collate(texts, seeded())
    words = deleted = pieces = 0
    for row, text in enumerate(tsdae.encoder.token_ids(texts)):
        whole = join_pieces(tokenizer.convert_ids_to_tokens(text[1:-1]))
        noisy = batch["input_ids"][row, : int(batch["attention_mask"][row].sum())].tolist()
        left = join_pieces(tokenizer.convert_ids_to_tokens(noisy[1:-1]))
        rest = iter(whole)
        assert all(word in rest for word in left)  # no word lost a piece
        words, deleted = words + len(whole), deleted + len(whole) - len(left)
        pieces += sum("##" in word for word in left)
    assert pieces > 100
    assert abs(deleted - probability * words) < 4.5 * math.sqrt(probability * (1 - probability) * words)


def join_pieces(tokens):
    return " ".join(tokens).replace(" ##", "##").split()


def test_single_tokens_break_words(shallow, docs):
    """What the test above would see without whole_word."""
    texts = docs.validation.sentences[:800]
    tsdae = DenoisingAutoEncoder(shallow(max_length=64), whole_word=False)
    tokenizer, batch = tsdae.encoder.tokenizer, tsdae.collate(texts, seeded())
    starts = [tokenizer.convert_ids_to_tokens(row)[1] for row in batch["input_ids"].tolist()]
    assert sum(token.startswith("##") for token in starts) > 5  # a text that begins inside a word


def test_an_unknown_word_is_a_word(shallow):
    """It can be deleted, as any other; [CLS] and [SEP] cannot, whatever the probability."""
    tsdae = DenoisingAutoEncoder(shallow(), deletion_probability=0.99)
    unknown = tsdae.encoder.tokenizer.unk_token_id
    rows = [tsdae.collate(["ꙮ array"], seeded(s))["input_ids"][0].tolist() for s in range(20)]
    assert {len(row) for row in rows} == {3} and len({row[1] for row in rows}) == 2
    assert unknown in {row[1] for row in rows}
    assert tsdae.collate([""], seeded())["input_ids"].shape == (1, 2)


# --------------------------------------------------------------------------- the decoder


def test_the_decoder_never_looks_ahead_and_always_looks_back(any_tsdae, sentences):
    tsdae = any_tsdae.eval()
    ids = tsdae.collate(sentences[:1], seeded())["decoder_input_ids"]
    sentence = torch.randn(1, 32, generator=seeded())
    with torch.no_grad():
        before = tsdae.head(tsdae.decoder(ids, sentence))[0]
        for t in range(1, ids.shape[1]):
            other = ids.clone()
            other[0, t] = 7 if int(ids[0, t]) != 7 else 8
            moved = (tsdae.head(tsdae.decoder(other, sentence))[0] - before).abs().amax(-1)  # (T,)
            assert moved[:t].amax() < 1e-5 and moved[t:].amin() > 1e-4
        moved = (tsdae.head(tsdae.decoder(ids, sentence + 1))[0] - before).abs().amax(-1)
        assert moved.amin() > 1e-4  # every token looks at the sentence


def test_padding_changes_nothing(any_tsdae, sentences):
    """The loss of a batch is that of its texts one by one, weighted by their tokens, and so is its gradient."""
    tsdae = any_tsdae.eval()
    batch = tsdae.collate(sentences[:6], seeded())
    tsdae(batch).backward()
    together = {k: p.grad.clone() for k, p in tsdae.named_parameters() if p.grad is not None}
    tsdae.zero_grad()
    answers, total = (batch["labels"] != -100).sum(1), 0.0
    for row, (noisy, clean) in enumerate(zip(batch["attention_mask"].sum(1).tolist(), answers.tolist())):
        lengths = {"input_ids": noisy, "attention_mask": noisy, "decoder_input_ids": clean, "labels": clean}
        alone = {k: v[row : row + 1, : lengths[k]] for k, v in batch.items()}
        loss = tsdae(alone) * clean / int(answers.sum())
        loss.backward()
        total += float(loss.detach())
    assert total == pytest.approx(float(tsdae(batch).detach()), abs=1e-5)
    for name, parameter in tsdae.named_parameters():
        if name in together:
            torch.testing.assert_close(parameter.grad, together[name], atol=1e-5, rtol=1e-4, msg=lambda m: name + m)


def test_every_family_learns(any_tsdae, sentences):
    config = TrainingConfig(steps=40, batch_size=8, learning_rate=5e-3, precision="fp32", schedule="constant")
    record = train(any_tsdae, sentences[:8], config, progress=False)
    assert record.losses[-1] < 0.6 * record.losses[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_learns_through_the_one_vector(random_encoder, sentences, family):
    """With weights of its own for the decoder there is no other way to it, and every weight has a gradient."""
    tsdae = DenoisingAutoEncoder(random_encoder(family), tie_weights=False)
    tsdae(tsdae.collate(sentences, seeded())).backward()
    for name, parameter in tsdae.encoder.named_parameters():
        assert "pooler" in name or parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name
    vectors = []
    tsdae.encoder.register_forward_hook(lambda encoder, batch, vector: vector.retain_grad() or vectors.append(vector))
    tsdae(tsdae.collate(sentences, seeded())).backward()
    assert (vectors[0].grad.abs().amax(1) > 1e-7).all()  # also of rows that are padded


def test_without_cross_attention_a_layer_is_the_encoder_s(any_tsdae, sentences):
    """Also where the decoder's own check, made with other ids, would not look."""
    tsdae = any_tsdae.eval()
    batch = tsdae.encoder.tokenize(sentences[:1])
    with torch.no_grad():
        states = tsdae.encoder.transformer(**batch, output_hidden_states=True).hidden_states
        for layer, before, after in zip(tsdae.decoder.layers, states, states[1:]):
            ours = layer.feed_forward(layer.attend(before, tsdae.decoder._position_bias(before)))
            torch.testing.assert_close(ours[:, -1], after[:, -1], atol=1e-5, rtol=1e-5)


# --------------------------------------------------------------------------- attention to one vector


def test_cross_attention_is_a_linear_map(shallow, sentences):
    """Replaced by its value and output weights alone, it leaves loss and gradients as they are; those of query and key
    are zero."""
    tsdae = DenoisingAutoEncoder(shallow(2, pooling="cls"), cross_attention="attention").eval()
    batch = tsdae.collate(sentences, seeded())
    results = []
    for replaced in (False, True):
        for layer in tsdae.decoder.layers if replaced else []:
            layer.cross_attention.forward = linear_map(layer.cross_attention)
        tsdae.zero_grad()
        loss = tsdae(batch)
        loss.backward()
        results.append(
            [loss.detach()]
            + [p.grad.clone() for k, p in tsdae.named_parameters() if p.grad is not None and not is_query_or_key(k)]
        )
        largest = {
            is_query_or_key(k): float(p.grad.abs().max())
            for k, p in tsdae.named_parameters()
            if "cross_attention" in k and p.grad is not None
        }
        assert largest[False] > 1e-4 and largest.get(True, 0.0) < 1e-9
    assert len(results[0]) == len(results[1]) > 40
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def linear_map(attention):
    def forward(hidden, sentence):
        weight = attention.out.weight @ attention.value.weight
        bias = attention.out.weight @ attention.value.bias + attention.out.bias
        return (sentence @ weight.T + bias)[:, None].expand_as(hidden)

    return forward


def is_query_or_key(name):
    return "cross_attention.query" in name or "cross_attention.key" in name


def test_linear_cross_attention_has_the_same_dropout(shallow, sentences):
    """In training mode too, with the same draws: attention's dropout takes a head's answer from a token."""
    both = [DenoisingAutoEncoder(shallow(2, pooling="cls"), cross_attention=c) for c in ("linear", "attention")]
    assert not any(is_query_or_key(name) for name, _ in both[0].named_parameters())
    both[0].load_state_dict({k: v for k, v in both[1].state_dict().items() if not is_query_or_key(k)})
    batch, losses = both[0].collate(sentences, seeded()), []
    for tsdae in both:
        torch.manual_seed(5)
        losses.append(float(tsdae.train()(batch).detach()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert abs(losses[0] - float(both[0].eval()(batch).detach())) > 1e-3


# --------------------------------------------------------------------------- whose weights


def test_tied_weights_are_the_encoder_s_own(tsdae, sentences):
    own = {id(p) for p in tsdae.encoder.parameters()}
    new = {id(p) for p in tsdae.new_weights()} | {
        id(p) for p in (tsdae.head.bias, *tsdae.head.dense.parameters(), *tsdae.head.norm.parameters())
    }
    assert {id(p) for p in tsdae.parameters()} == own | new and not own & new
    assert tsdae.head.embeddings is tsdae.encoder.transformer.get_input_embeddings()
    before = tsdae.encoder.encode(sentences)
    DenoisingAutoEncoder(tsdae.encoder)
    assert abs(before - tsdae.encoder.encode(sentences)).max() == 0  # nothing was read anew
    layer = tsdae.encoder.transformer.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.weight.zero_()
    assert not tsdae.decoder.layers[0].up.weight.any()


def test_untied_weights_start_as_copies_and_diverge(shallow, sentences):
    tsdae = DenoisingAutoEncoder(shallow(2, pooling="cls"), tie_weights=False, decoder_layers=1)
    own = {id(p) for p in tsdae.encoder.parameters()}
    assert not own & {id(p) for p in (*tsdae.decoder.parameters(), *tsdae.head.parameters())}
    embeddings = tsdae.encoder.transformer.get_input_embeddings().weight
    assert torch.equal(tsdae.head.embeddings.weight, embeddings)
    assert len(tsdae.decoder.transformer.encoder.layer) == 1  # the copy of the second layer is not kept
    train(tsdae, sentences, TrainingConfig(steps=2, batch_size=8, precision="fp32"), progress=False)
    assert not torch.equal(tsdae.head.embeddings.weight, embeddings)


@pytest.mark.parametrize("layers, used", [(1, 1), (2, 2), (None, 2)])
def test_decoder_depth(shallow, sentences, layers, used):
    tsdae = DenoisingAutoEncoder(shallow(2, pooling="cls"), decoder_layers=layers)
    assert len(tsdae.decoder.layers) == tsdae.settings()["decoder_layers"] == used
    tsdae(tsdae.collate(sentences, seeded())).backward()
    assert all(p.grad is not None for p in tsdae.parameters())


def test_new_weights_have_a_rate_of_their_own(shallow, random_encoder, sentences):
    tsdae = DenoisingAutoEncoder(shallow(2, pooling="cls"), new_weights_rate=5.0)
    optimizer = make_optimizer(tsdae, TrainingConfig(weight_decay=0.1))
    rates = {id(p): (g["factor"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == len(list(tsdae.parameters()))
    for name, parameter in tsdae.named_parameters():
        decays = 0.1 if parameter.ndim > 1 else 0.0
        assert rates[id(parameter)] == (5.0 if ".cross_" in name else 1.0, decays), name
    random_head = DenoisingAutoEncoder(random_encoder("bert"), new_weights_rate=5.0)  # no checkpoint brings its head
    assert sum(any(p is q for q in random_head.head.parameters()) for p in random_head.new_weights()) == 5
    moved = []
    for rate in (1.0, 5.0):
        torch.manual_seed(0)
        tsdae = DenoisingAutoEncoder(shallow(1, pooling="cls"), new_weights_rate=rate)
        before = {k: p.detach().clone() for k, p in tsdae.named_parameters()}
        train(
            tsdae,
            sentences,
            TrainingConfig(steps=1, warmup_ratio=0, learning_rate=1e-3, precision="fp32", weight_decay=0),
            progress=False,
        )
        moved.append({k: float((p.detach() - before[k]).abs().max()) for k, p in tsdae.named_parameters()})
    for name in moved[0]:
        factor = 5.0 if ".cross_" in name else 1.0
        assert moved[1][name] == pytest.approx(factor * moved[0][name], rel=0.02, abs=1e-7), name


# --------------------------------------------------------------------------- what it holds


def test_vocabulary_logits_are_computed_only_where_there_is_a_token_to_predict(tsdae, sentences):
    """And for the backward pass one number is kept for each of these tokens and each word of the vocabulary."""
    batch, seen, kept = tsdae.collate(sentences, seeded()), [], []
    tsdae.head.register_forward_hook(lambda head, inputs, logits: seen.append((inputs[0].shape, logits.shape)))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        tsdae.train()(batch)
    kept = list({t.data_ptr(): t.numel() for t in kept}.values())  # some are kept by two operations
    tokens, vocabulary = int((batch["labels"] != -100).sum()), tsdae.encoder.transformer.config.vocab_size
    assert seen == [((tokens, 384), (tokens, vocabulary))]
    assert 0 < tokens < 0.7 * batch["labels"].numel()
    assert kept.count(tokens * vocabulary) == 1
    assert max(n for n in kept if n != tokens * vocabulary) <= vocabulary * 384  # the embedding itself


def test_a_resumed_run_equals_an_uninterrupted_one(shallow, docs, tmp_path):
    texts = docs.train.sentences[:60]
    config = TrainingConfig(steps=4, batch_size=8, learning_rate=1e-3, precision="bf16")

    def fresh():
        torch.manual_seed(1)
        return DenoisingAutoEncoder(shallow(1, pooling="cls", max_length=16), new_weights_rate=3.0)

    uncut, stopped, resumed = fresh(), fresh(), fresh()
    whole = train(uncut, texts, config, progress=False)
    calls, collate = [], stopped.collate

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return collate(*arguments)

    stopped.collate = stops
    assert train(stopped, texts, config, tmp_path, progress=False).outcome == "interrupted"
    record = train(resumed, texts, config, tmp_path, resume=True, progress=False)
    assert record.losses == whole.losses and all(math.isfinite(loss) for loss in record.losses)
    ours, theirs = dict(resumed.named_parameters()), dict(uncut.named_parameters())
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_settings(shallow):
    tsdae = DenoisingAutoEncoder(shallow(2, pooling="cls", max_length=16), 0.4, False, 1, False, "attention", 10.0)
    assert tsdae.settings() == {
        "name": "DenoisingAutoEncoder",
        "deletion_probability": 0.4,
        "tie_weights": False,
        "decoder_layers": 1,
        "whole_word": False,
        "cross_attention": "attention",
        "new_weights_rate": 10.0,
        "pooling": "cls",
        "max_length": 16,
        "normalize": False,
        "source": "base-encoder",
    }


# --------------------------------------------------------------------------- what it refuses


def test_a_batch_that_is_padded_on_the_left(tsdae, sentences):
    batch = tsdae.collate(sentences, seeded())
    left = {**batch, "input_ids": batch["input_ids"].flip(1), "attention_mask": batch["attention_mask"].flip(1)}
    with pytest.raises(ValueError, match="padded on the left; the decoder reads from the left"):
        tsdae(left)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"deletion_probability": 1}, "deletion_probability is 1; it must be at least 0 and below 1"),
        ({"deletion_probability": -0.1}, "deletion_probability is -0.1"),
        ({"decoder_layers": 0}, "decoder_layers is 0; this encoder has 1 to 2"),
        ({"decoder_layers": 3}, "decoder_layers is 3; this encoder has 1 to 2"),
        ({"cross_attention": "none"}, "cross_attention is 'none'; choose"),
        ({"new_weights_rate": 0}, "new_weights_rate is 0; it must be above 0"),
    ],
)
def test_settings_out_of_range(shallow, options, message):
    with pytest.raises(ValueError, match=message):
        DenoisingAutoEncoder(shallow(2), **options)


@pytest.mark.parametrize(
    "config",
    [
        transformers.AlbertConfig(vocab_size=99, embedding_size=16, **SIZES),
        transformers.DebertaV2Config(vocab_size=99, **SIZES),
        transformers.ElectraConfig(vocab_size=99, embedding_size=16, **SIZES),
    ],
    ids=["albert", "deberta", "electra"],
)
def test_layers_of_other_families_are_refused(config):
    with pytest.raises(ValueError, match="cannot be turned into a decoder; take an encoder"):
        Decoder(transformers.AutoModel.from_config(config))


def test_layers_that_compute_something_else_are_refused(random_encoder):
    """All parts are where BERT has them, and what is computed with them differs."""
    transformer = random_encoder("bert").transformer
    transformer.encoder.layer[1].intermediate.intermediate_act_fn = nn.Tanh()
    with pytest.raises(ValueError, match="BertModel has layers that cannot be turned into a decoder"):
        Decoder(transformer)
    assert len(Decoder(transformer, layers=1).layers) == 1  # the first is as it should be


def test_the_rate_of_deletion_reaches_the_encoder(shallow, sentences):
    """With nothing deleted, the encoder reads the whole text."""
    tsdae = DenoisingAutoEncoder(shallow(), deletion_probability=0)
    batch, whole = tsdae.collate(sentences, seeded()), tsdae.encoder.tokenize(sentences)
    assert all(torch.equal(batch[k], whole[k]) for k in whole)
    assert torch.equal(
        functional.next_token_targets(**{"ids": whole["input_ids"], "mask": whole["attention_mask"]})[1],
        batch["labels"],
    )
