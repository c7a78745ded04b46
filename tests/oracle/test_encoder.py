"""Pooling, embeddings and saved models against sentence-transformers 6: equal to 1e-5."""

import json

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import RobertaProcessing

from course_lib.models.encoder import POOLING, SentenceEncoder
from course_lib.models.minilm import reference_folder


@pytest.fixture(scope="module")
def texts(docs):
    """Real sentences of all lengths, one longer than any model reads, and an empty one."""
    return [*docs.validation.sentences[:60], " ".join(docs.validation.sentences[:60]), ""]


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("side", ["right", "left"])
def test_pooling(pooling, side):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 9, 5, generator=generator)
    mask = (torch.arange(9) < torch.randint(1, 10, (6, 1), generator=generator)).long()
    mask = mask.flip(1) if side == "left" else mask
    weights = torch.randn(6, 5, generator=generator)
    results = []
    for pool in (
        POOLING[pooling],
        lambda h, m: Pooling(5, pooling_mode=pooling)({"token_embeddings": h, "attention_mask": m})[
            "sentence_embedding"
        ],
    ):
        own = hidden.clone().requires_grad_()
        vectors = pool(own, mask)
        (vectors * weights).sum().backward()
        results.append((vectors.detach(), own.grad))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


# --------------------------------------------------------------------------- all-MiniLM-L6-v2, as published


@pytest.fixture(scope="module")
def minilm():
    return reference_folder() or pytest.skip("all-MiniLM-L6-v2 is not on this machine")


def test_a_published_model_is_loaded_and_saved_as_it_is(minilm, texts, tmp_path):
    """Its Normalize layer included: its vectors have length 1 without being asked to."""
    texts = texts[:12] + texts[-2:]
    ours = SentenceEncoder.from_pretrained(minilm, device="cpu")
    theirs = SentenceTransformer(str(minilm), device="cpu")
    assert (ours.pooling, ours.max_length, ours.similarity) == ("mean", theirs.max_seq_length, "cosine")
    expected = theirs.encode(texts)
    np.testing.assert_allclose(ours.encode(texts), expected, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(ours(ours.tokenize(texts)), expected, atol=1e-5)
    ours.save(tmp_path)
    again = SentenceTransformer(str(tmp_path), device="cpu")
    assert again.similarity_fn_name == theirs.similarity_fn_name == "cosine"
    np.testing.assert_allclose(again.encode(texts), expected, atol=1e-5)


# --------------------------------------------------------------------------- saved here, loaded there


@pytest.mark.parametrize("pooling", POOLING)
def test_what_we_save_the_library_loads(shallow, texts, tmp_path, pooling, recwarn):
    encoder = shallow(2, pooling=pooling, max_length=24)  # shorter than the tokenizer's own limit
    encoder.save(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    assert theirs.max_seq_length == 24 and theirs.similarity_fn_name == "cosine"
    np.testing.assert_allclose(theirs.encode(texts), encoder.encode(texts), atol=1e-5)
    assert not [w for w in recwarn.list if issubclass(w.category, FutureWarning | DeprecationWarning)]


def test_a_length_beyond_the_tokenizer_s_own(shallow, texts, tmp_path):
    encoder = shallow(1, max_length=100)
    encoder.tokenizer.model_max_length = 40
    encoder.save(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts), encoder.encode(texts), atol=1e-5)


def test_saving_over_the_library_s_model(shallow, texts, tmp_path):
    """Nothing that the earlier model said may reach the new one: its normalising layer, its prompt."""
    encoder = shallow(1)
    encoder.save(tmp_path)
    peer = SentenceTransformer(str(tmp_path), device="cpu", prompts={"query": "query: "}, default_prompt_name="query")
    peer.append(Normalize())
    peer.save(str(tmp_path))
    encoder.save(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts), encoder.encode(texts), atol=1e-5)


# --------------------------------------------------------------------------- saved there, loaded here


@pytest.fixture
def transformer(shallow, tmp_path):
    """The library's first layer around the base encoder, cut short."""
    shallow(2).save(tmp_path / "shallow")
    return Transformer(str(tmp_path / "shallow"))


@pytest.mark.parametrize("pooling", POOLING)
def test_what_the_library_saves_we_load(transformer, texts, tmp_path, pooling):
    """Version 6 keeps the pooling as a name, and the length with the tokenizer."""
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling), Normalize()]
    theirs = SentenceTransformer(modules=modules, device="cpu")
    theirs.max_seq_length = 24
    theirs.save(str(tmp_path))
    ours = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    assert (ours.pooling, ours.max_length) == (pooling, 24)
    np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), atol=1e-5)


def test_a_model_for_dot_products_stays_one(transformer, texts, tmp_path):
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="cls")
    original = SentenceTransformer(modules=[transformer, pooling], device="cpu", similarity_fn_name="dot")
    original.save(str(tmp_path / "theirs"))
    ours = SentenceEncoder.from_pretrained(tmp_path / "theirs", device="cpu")
    assert ours.similarity == "dot" and not ours.normalize
    ours.save(tmp_path / "ours")
    again = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    assert again.similarity_fn_name == "dot"
    for vectors in (ours.encode(texts), again.encode(texts)):
        np.testing.assert_allclose(vectors, original.encode(texts), atol=1e-5)


def test_lower_casing_is_the_library_s(base_encoder_folder, texts, tmp_path):
    """Of a tokenizer that tells upper from lower case, as RoBERTa's does."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(texts, 600, special_tokens=["<s>", "<pad>", "</s>", "<mask>"])
    trained.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, pad_token="<pad>")
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(CONFIGS["roberta"](len(tokenizer)))
    plain = SentenceEncoder(model, tokenizer).eval()
    plain.save(tmp_path / "start")
    settings = tmp_path / "start" / "sentence_bert_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "do_lower_case": True}))
    ours = SentenceEncoder.from_pretrained(tmp_path / "start", device="cpu")
    theirs = SentenceTransformer(str(tmp_path / "start"), device="cpu")
    ours.save(tmp_path / "ours")
    upper = [text.upper() for text in texts]
    assert ours.token_ids(upper) == ours.token_ids(texts) != plain.token_ids(upper)
    expected = theirs.encode(upper)
    assert abs(plain.encode(upper) - expected).max() > 0.01
    np.testing.assert_allclose(ours.encode(upper), expected, atol=1e-5)
    np.testing.assert_allclose(
        SentenceTransformer(str(tmp_path / "ours"), device="cpu").encode(upper), expected, atol=1e-5
    )
    again = SentenceEncoder.from_pretrained(tmp_path / "ours", device="cpu")
    np.testing.assert_allclose(again.encode(upper), expected, atol=1e-5)


def test_prompts_and_other_similarities_are_refused(transformer, tmp_path):
    modules = [transformer, Pooling(transformer.get_embedding_dimension())]
    theirs = SentenceTransformer(modules=modules, device="cpu", prompts={"query": "", "document": ""})
    theirs.save(str(tmp_path / "empty"))
    assert SentenceEncoder.from_pretrained(tmp_path / "empty", device="cpu").similarity == "cosine"
    for name, settings, message in (
        ("prompts", {"prompts": {"query": "query: "}}, "puts a prompt before its texts .query."),
        ("euclidean", {"similarity_fn_name": "euclidean"}, "compares vectors by euclidean"),
        ("manhattan", {"similarity_fn_name": "manhattan"}, "compares vectors by manhattan"),
    ):
        SentenceTransformer(modules=modules, device="cpu", **settings).save(str(tmp_path / name))
        with pytest.raises(ValueError, match=f"{message}.*Load it with sentence_transformers.SentenceTransformer"):
            SentenceEncoder.from_pretrained(tmp_path / name)


def test_unknown_pooling_is_refused(transformer, tmp_path):
    modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=("mean", "max"))]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path))
    with pytest.raises(ValueError, match="pools by mean and max"):
        SentenceEncoder.from_pretrained(tmp_path)


# --------------------------------------------------------------------------- other families

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
CONFIGS = {
    "roberta": lambda v: transformers.RobertaConfig(vocab_size=v, max_position_embeddings=66, **SIZES),
    "distilbert": lambda v: transformers.DistilBertConfig(vocab_size=v, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
    "mpnet": lambda v: transformers.MPNetConfig(vocab_size=v, max_position_embeddings=66, **SIZES),
}


@pytest.mark.parametrize("family", CONFIGS)
def test_other_families(family, base_encoder_folder, texts, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_encoder_folder)
    config = CONFIGS[family](len(tokenizer))
    config.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(0)
    encoder = SentenceEncoder(transformers.AutoModel.from_config(config), tokenizer).eval()
    encoder.save(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts), encoder.encode(texts), atol=1e-5)
