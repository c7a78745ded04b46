"""TSDAE against sentence-transformers 6's DenoisingAutoEncoderLoss: the same value, the same gradients."""

import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss

from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives import DenoisingAutoEncoder

LAYERS = 2


def roberta(base_encoder_folder):
    """A small random RoBERTa, whose positions depend on where the padding is."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_encoder_folder)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=80,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    transformer = transformers.AutoModel.from_config(config)
    transformer.pooler = None
    return SentenceEncoder(transformer, tokenizer, "cls", max_length=40)


@pytest.fixture(params=["bert", "roberta"])
def encoder(request, shallow, base_encoder_folder):
    if request.param == "roberta":
        return roberta(base_encoder_folder)
    return shallow(LAYERS, pooling="cls", max_length=40)


@pytest.fixture
def peer(encoder, tmp_path):
    """A function that gives the library's model of an encoder's weights, and its loss around it."""

    def make(tied=True):
        encoder.save(tmp_path)
        model = SentenceTransformer(str(tmp_path), device="cpu")
        return model, DenoisingAutoEncoderLoss(model, None if tied else str(tmp_path), tied)

    return make


def without_dropout(model):
    """Training mode, but nothing is dropped."""
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def two_columns(tsdae, texts):
    """One batch for both: as TSDAE's collate makes it, and as the library takes it, (noisy, clean)."""
    batch = tsdae.collate(texts, torch.Generator().manual_seed(3))
    noisy = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return batch, [dict(noisy), tsdae.encoder.tokenize(texts)]


def texts_of(kind, docs):
    if kind == "real":
        return docs.validation.sentences[100:112]
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 30, (12,), generator=generator).tolist()
    return [[2, *torch.randint(10, 14_000, (n,), generator=generator).tolist(), 3] for n in lengths]


def new_weights(tsdae, reference):
    """[(name, ours, theirs)] of what no encoder has: the cross-attention and the head."""
    theirs = reference.decoder
    stack = theirs.base_model.encoder.layer
    pairs = []
    for layer, other in zip(tsdae.decoder.layers, stack):
        cross = other.crossattention
        parts = [
            (layer.cross_attention.value, cross.self.value),
            (layer.cross_attention.out, cross.output.dense),
            (layer.cross_norm, cross.output.LayerNorm),
        ]
        if tsdae.cross_attention == "attention":
            parts += [(layer.cross_attention.query, cross.self.query), (layer.cross_attention.key, cross.self.key)]
        pairs += parts
    if hasattr(theirs, "cls"):
        head, transform = theirs.cls.predictions, theirs.cls.predictions.transform
        pairs += [(tsdae.head.dense, transform.dense), (tsdae.head.norm, transform.LayerNorm)]
    else:
        head = theirs.lm_head
        pairs += [(tsdae.head.dense, head.dense), (tsdae.head.norm, head.layer_norm)]
    named = [
        (f"{type(a).__name__}.{k}", v, dict(b.named_parameters())[k]) for a, b in pairs for k, v in a.named_parameters()
    ]
    return [*named, ("bias", tsdae.head.bias, head.bias)]


def take_new_weights(tsdae, reference):
    """The library's random weights, made larger so that they matter, in both."""
    with torch.no_grad():
        for _, ours, theirs in new_weights(tsdae, reference):
            theirs.add_(torch.randn(theirs.shape, generator=torch.Generator().manual_seed(len(theirs))), alpha=0.05)
            ours.copy_(theirs)


def assert_same(tsdae, reference, model, batch, columns):
    """The same loss, and the same gradient of every weight that has one in either."""
    ours, theirs = tsdae(batch), reference(columns, None)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-5)
    ours.backward()
    theirs.backward()
    pairs = new_weights(tsdae, reference)
    own = dict(tsdae.encoder.transformer.named_parameters())
    pairs += [(k, own[k], v) for k, v in model[0].auto_model.named_parameters() if k in own]
    if not tsdae.tie_weights:
        own = dict(tsdae.decoder.transformer.named_parameters())
        pairs += [(k, own[k], v) for k, v in reference.decoder.base_model.named_parameters() if k in own]
    assert len(pairs) >= (5 + 16 * LAYERS) * (1 if tsdae.tie_weights else 2) + 6 * LAYERS + 5
    for name, one, other in pairs:
        torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-5, msg=lambda m: f"{name}: {m}")
    embedding = tsdae.encoder.transformer.get_input_embeddings().weight
    assert float(embedding.grad.norm()) > 1e-3  # there was something to compare


@pytest.mark.parametrize("kind", ["real", "random"])
@pytest.mark.parametrize("cross_attention", ["linear", "attention"])
def test_tsdae_is_the_library_s(encoder, peer, docs, kind, cross_attention):
    model, reference = peer()
    tsdae = DenoisingAutoEncoder(encoder, cross_attention=cross_attention)
    take_new_weights(tsdae, reference)
    assert_same(without_dropout(tsdae), without_dropout(reference), model, *two_columns(tsdae, texts_of(kind, docs)))


def test_untied_weights(encoder, peer, docs):
    model, reference = peer(tied=False)
    tsdae = DenoisingAutoEncoder(encoder, tie_weights=False)
    take_new_weights(tsdae, reference)
    assert_same(without_dropout(tsdae), without_dropout(reference), model, *two_columns(tsdae, texts_of("real", docs)))


def test_mean_pooling(shallow, tmp_path, docs):
    encoder = shallow(1, pooling="mean", max_length=40)
    encoder.save(tmp_path)
    model = SentenceTransformer(str(tmp_path), device="cpu")
    reference, tsdae = DenoisingAutoEncoderLoss(model), DenoisingAutoEncoder(encoder)
    take_new_weights(tsdae, reference)
    batch, columns = two_columns(tsdae, texts_of("real", docs))
    with torch.no_grad():
        assert float(tsdae.eval()(batch)) == pytest.approx(float(reference.eval()(columns, None)), abs=1e-5)


def fine_tune(transformer):
    """What some training in memory does to weights, as far as this test is concerned."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for weight in transformer.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.02)


def test_after_fine_tuning_in_memory(encoder, peer, docs):
    """The library reads the weights from disk again and silently loses what was learned since; here they are kept.
    Once they are saved, both agree again."""
    texts = docs.validation.sentences[:8]
    model = peer()[0]
    untrained = model.encode(texts)
    fine_tune(model[0].auto_model)
    trained = model.encode(texts)
    assert abs(trained - untrained).max() > 0.05
    DenoisingAutoEncoderLoss(model)
    assert abs(model.encode(texts) - untrained).max() < 1e-5  # the library's loss: what was learned is gone
    fine_tune(encoder.transformer)
    tsdae = DenoisingAutoEncoder(encoder)
    assert abs(encoder.encode(texts) - trained).max() < 1e-5
    model, reference = peer()  # saves the encoder first
    take_new_weights(tsdae, reference)
    assert_same(without_dropout(tsdae), without_dropout(reference), model, *two_columns(tsdae, texts_of("real", docs)))
