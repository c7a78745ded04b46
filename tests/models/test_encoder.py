"""From text to vectors and to disk, and what bad input says."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import RobertaProcessing
from transformers import PreTrainedTokenizerFast

from course_lib import functional
from course_lib.models import CrossEncoder, QueryGenerator, SentenceEncoder, folders, minilm


@pytest.fixture(scope="module")
def encoder(base_encoder_folder):
    return SentenceEncoder.from_pretrained(base_encoder_folder, device="cpu")


@pytest.fixture(scope="module")
def sentences(docs):
    """Real sentences, short and long mixed."""
    return docs.validation.sentences[:40]


# --------------------------------------------------------------------------- encode


def test_vectors_are_the_pooled_token_vectors_of_the_text_alone(encoder, sentences):
    vectors = encoder.encode(sentences)
    assert vectors.dtype == np.float32 and vectors.shape == (len(sentences), encoder.dimension)
    for i in (0, 7, 39):  # in the order given, whatever was encoded with it
        batch = encoder.tokenize([sentences[i]])
        with torch.no_grad():
            alone = functional.mean_pool(encoder.token_embeddings(batch), batch["attention_mask"])[0]
        np.testing.assert_allclose(vectors[i], alone.numpy(), atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_batch_size_does_not_matter(encoder, sentences, batch_size):
    np.testing.assert_allclose(encoder.encode(sentences, batch_size=batch_size), encoder.encode(sentences), atol=1e-5)


def test_encoding_is_repeatable_and_leaves_the_mode_alone(encoder, sentences):
    reference = encoder.encode(sentences[:8])
    encoder.train()
    encoder.transformer.encoder.layer[0].eval()
    try:
        assert np.array_equal(encoder.encode(sentences[:8]), reference)  # no dropout
        assert encoder.training and encoder.transformer.encoder.layer[1].training
        assert not encoder.transformer.encoder.layer[0].training
    finally:
        encoder.eval()


def test_normalised_vectors_have_length_one_and_the_same_direction(encoder, sentences):
    plain, unit = encoder.encode(sentences[:5]), encoder.encode(sentences[:5], normalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(plain / np.linalg.norm(plain, axis=1, keepdims=True), unit, atol=1e-6)


def test_an_empty_list_gives_an_array_without_rows(encoder):
    assert encoder.encode([]).shape == (0, encoder.dimension)
    assert encoder.encode([]).dtype == np.float32
    assert encoder.tokenize([])["input_ids"].shape == (0, 0)


def test_odd_texts_have_vectors(encoder):
    odd = ["", " ", "\n\n", "日本語", "\x00", "🙂" * 50, "a" * 100_000, "array " * 20_000]
    vectors = encoder.encode(odd)
    assert np.isfinite(vectors).all()
    assert np.array_equal(vectors[0], vectors[1])  # only white space: only [CLS] and [SEP]
    cut = encoder.encode(["array " * (encoder.max_length - 2)])
    np.testing.assert_allclose(vectors[-1], cut[0], atol=1e-5)  # a long text counts up to max_length


def test_sequences_of_strings_other_than_lists(encoder, sentences):
    expected = encoder.encode(sentences[:4])
    for kind in (tuple, np.array):
        assert np.array_equal(encoder.encode(kind(sentences[:4])), expected)


@pytest.mark.parametrize(
    "bad, message",
    [
        ("one text", "`texts` is a str; pass a list of strings"),
        (b"bytes", "`texts` is a bytes"),
        (None, "`texts` is a None"),
        (3, "`texts` is a int"),
        ({"a": "b"}, "`texts` is a dict"),
        (["a", None], r"`texts`\[1\] is None"),
        (["a", 3.5, "b"], r"`texts`\[1\] is 3.5, a float"),
        ([["a"], "b"], r"`texts`\[0\] is \['a'\]"),
    ],
)
def test_anything_but_a_list_of_strings_is_an_error(encoder, bad, message):
    with pytest.raises(TypeError, match=message):
        encoder.encode(bad)


def test_a_batch_size_of_zero_is_an_error(encoder):
    with pytest.raises(ValueError, match="batch_size is 0"):
        encoder.encode(["a"], batch_size=0)


def test_progress_is_shown_only_when_asked(encoder, capfd):
    encoder.encode(["a text"])
    assert capfd.readouterr() == ("", "")
    encoder.encode(["a text"], progress=True)
    assert "Encoding" in capfd.readouterr().err


# --------------------------------------------------------------------------- tokenize


def test_tokenising_pads_on_the_right_and_cuts_at_max_length(shallow, sentences):
    encoder = shallow(max_length=12)
    batch = encoder.tokenize(sentences)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    reference = encoder.tokenizer(sentences, truncation=True, max_length=12, padding=True, return_tensors="pt")
    assert torch.equal(ids, reference["input_ids"]) and torch.equal(mask, reference["attention_mask"])
    assert ids.shape[1] == 12 and ids.dtype == mask.dtype == torch.int64


def test_token_ids_pass_through_the_tokenizer_unchanged(encoder, sentences):
    rows = encoder.token_ids(sentences)
    assert encoder.token_ids(rows) is rows
    assert torch.equal(encoder.tokenize(rows)["input_ids"], encoder.tokenize(sentences)["input_ids"])


# --------------------------------------------------------------------------- to disk and back


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_what_is_saved_is_what_is_loaded(shallow, sentences, tmp_path, pooling):
    encoder = shallow(pooling=pooling, max_length=20)
    encoder.save(tmp_path / "new" / "folder")
    loaded = SentenceEncoder.from_pretrained(tmp_path / "new" / "folder", device="cpu")
    assert (loaded.pooling, loaded.max_length) == (pooling, 20)
    assert np.array_equal(loaded.encode(sentences), encoder.encode(sentences))
    assert not [p for p in (tmp_path / "new" / "folder").rglob("*") if p.suffix in (".bin", ".part", ".pt")]
    assert SentenceEncoder.from_pretrained(tmp_path / "new" / "folder", pooling="max", max_length=9).max_length == 9


def test_saving_replaces_an_earlier_model(shallow, sentences, tmp_path):
    shallow(2, pooling="cls").save(tmp_path)
    encoder = shallow(1, max_length=9)
    encoder.save(tmp_path)
    loaded = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    assert np.array_equal(loaded.encode(sentences), encoder.encode(sentences))


def test_an_interrupted_save_leaves_the_earlier_model(shallow, sentences, tmp_path, monkeypatch):
    first = shallow(1)
    first.save(tmp_path)
    second = shallow(1)
    second.transformer.embeddings.word_embeddings.weight.data.mul_(2)
    monkeypatch.setattr(second.tokenizer, "save_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        second.save(tmp_path)
    loaded = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    assert np.array_equal(loaded.encode(sentences), first.encode(sentences))
    assert not list(tmp_path.glob(".saving*"))


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize("moves", range(4))
@pytest.mark.parametrize("kind", [SentenceEncoder, CrossEncoder, QueryGenerator])
def test_an_interrupted_save_never_mixes_two_models(shallow, tmp_path, monkeypatch, kind, moves):
    """However many files were replaced, the folder is refused until a save has finished."""
    first, second = (model_of(kind, shallow(layers)) for layers in (1, 2))
    first.save(tmp_path)
    replace, moved = os.replace, []

    def stops(old, new):
        if Path(new).suffix != ".part":  # which is not the name of the model's file yet
            if len(moved) == moves:
                raise KeyboardInterrupt
            moved.append(new)
        replace(old, new)

    monkeypatch.setattr(os, "replace", stops)
    with pytest.raises(KeyboardInterrupt):
        second.save(tmp_path)
    monkeypatch.undo()
    for loader in (SentenceEncoder, CrossEncoder, QueryGenerator):
        with pytest.raises(FileNotFoundError, match="is not a model folder: it needs config.json"):
            loader.from_pretrained(tmp_path)
    second.save(tmp_path)
    loaded = kind.from_pretrained(tmp_path, device="cpu")
    weights = dict(second.named_parameters())
    assert {k: v.shape for k, v in loaded.named_parameters()} == {k: v.shape for k, v in weights.items()}
    assert all(torch.equal(weight, weights[name]) for name, weight in loaded.named_parameters())


def model_of(kind, encoder):
    return encoder if kind is SentenceEncoder else kind(encoder)


def test_another_kind_of_model_leaves_nothing_of_the_first(shallow, sentences, tmp_path):
    """The files that describe an encoder go when a query generator is saved over it, and the other way round."""
    encoder = shallow(1, pooling="cls")
    encoder.save(tmp_path)
    QueryGenerator(shallow(1, max_length=16)).save(tmp_path)
    assert QueryGenerator.from_pretrained(tmp_path, device="cpu").max_length == 16
    with pytest.warns(UserWarning, match="pooled by the mean"):
        assert SentenceEncoder.from_pretrained(tmp_path, device="cpu").pooling == "mean"
    encoder.save(tmp_path)
    assert not (tmp_path / "query_generator.json").exists()
    loaded = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    assert np.array_equal(loaded.encode(sentences), encoder.encode(sentences))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask, file_mode, folder_mode", [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
@pytest.mark.parametrize("kind", [SentenceEncoder, CrossEncoder, QueryGenerator])
def test_saved_models_have_the_permissions_of_the_umask(shallow, tmp_path, kind, umask, file_mode, folder_mode):
    before = os.umask(umask)
    try:
        model_of(kind, shallow(1)).save(tmp_path / "new" / "model")
    finally:
        os.umask(before)
    for path in (tmp_path / "new" / "model", *(tmp_path / "new" / "model").rglob("*")):
        assert path.stat().st_mode & 0o777 == (folder_mode if path.is_dir() else file_mode), path


def test_saving_to_a_file_is_an_error(encoder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; name a folder"):
        encoder.save(tmp_path / "file")


def test_loading_says_nothing_and_drops_the_pooler(base_encoder_folder, capfd, recwarn):
    encoder = SentenceEncoder.from_pretrained(str(base_encoder_folder))
    assert encoder.transformer.pooler is None and not encoder.training
    assert next(encoder.parameters()).dtype == torch.float32  # the shipped weights are halves
    assert capfd.readouterr() == ("", "") and not recwarn.list


# --------------------------------------------------------------------------- which pooling


def test_without_modules_json_pooling_is_the_mean_with_a_warning(copy, recwarn):
    (copy / "modules.json").unlink()
    with pytest.warns(UserWarning, match='is pooled by the mean, because it has no modules.json .*pooling="mean"'):
        assert SentenceEncoder.from_pretrained(copy, device="cpu").pooling == "mean"
    recwarn.clear()
    for pooling in ("mean", "cls"):
        assert SentenceEncoder.from_pretrained(copy, pooling=pooling, device="cpu").pooling == pooling
    assert not recwarn.list


@pytest.mark.parametrize(
    "error, message",
    [
        (
            lambda: LocalEntryNotFoundError("no network"),
            r"modules.json could not be fetched \(LocalEntryNotFoundError\)",
        ),
        (lambda: EntryNotFoundError("404"), "it has no modules.json"),
    ],
    ids=["no network", "no such file"],
)
def test_the_warning_tells_a_network_error_from_an_absent_file(copy, monkeypatch, error, message):
    """The folder plays a hub model whose other files are in the cache."""

    def fails(*arguments):
        raise error()

    monkeypatch.setattr(folders, "hf_hub_download", fails)
    monkeypatch.chdir(copy.parent)
    monkeypatch.setattr(folders, "Path", lambda path: Path("not here") if str(path) == "model" else Path(path))
    with pytest.warns(UserWarning, match=message):
        assert SentenceEncoder.from_pretrained("model", device="cpu").pooling == "mean"


# --------------------------------------------------------------------------- other families

SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
CONFIGS = {
    "bert": lambda v: transformers.BertConfig(vocab_size=v, **SMALL),
    "roberta": lambda v: transformers.RobertaConfig(vocab_size=v, max_position_embeddings=66, **SMALL),
    "distilbert": lambda v: transformers.DistilBertConfig(vocab_size=v, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
    "mpnet": lambda v: transformers.MPNetConfig(vocab_size=v, max_position_embeddings=66, **SMALL),
}


@pytest.mark.parametrize("family", CONFIGS)
def test_other_families_of_encoders(family, encoder, sentences, tmp_path):
    tokenizer = encoder.tokenizer
    config = CONFIGS[family](len(tokenizer))
    config.pad_token_id = tokenizer.pad_token_id
    torch.manual_seed(0)
    model = SentenceEncoder(transformers.AutoModel.from_config(config), tokenizer).eval()
    assert model.max_length == (64 if family in ("roberta", "mpnet") else tokenizer.model_max_length)
    vectors = model.encode([*sentences, "array " * 1000])
    assert vectors.shape == (41, 32) and np.isfinite(vectors).all()
    model.save(tmp_path)
    loaded = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    assert np.array_equal(loaded.encode(sentences), model.encode(sentences))


def test_a_byte_level_tokenizer(docs, sentences):
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(docs.validation.sentences[:500], 600, special_tokens=["<s>", "<pad>", "</s>", "<mask>"])
    trained.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, pad_token="<pad>", mask_token="<mask>")
    model = SentenceEncoder(transformers.AutoModel.from_config(CONFIGS["roberta"](len(tokenizer))), tokenizer).eval()
    np.testing.assert_allclose(model.encode(sentences, batch_size=1), model.encode(sentences), atol=1e-5)


# --------------------------------------------------------------------------- models that are none


@pytest.fixture
def copy(shallow, tmp_path):
    """A small saved model to be damaged."""
    shallow(1).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_truncated_weights(copy, share):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(weights.stat().st_size * share)])
    with pytest.raises(ValueError, match="is damaged .*copy or download it again"):
        SentenceEncoder.from_pretrained(copy)


def test_weights_that_lack_a_layer_are_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(ValueError, match="lacks 16 weights, first encoder.layer.1"):
        SentenceEncoder.from_pretrained(copy)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config.json", "{", "config.json.* is not a valid JSON"),
        ("config.json", '{"model_type": "nosuch"}', "nosuch"),
        ("tokenizer.json", "{", "is damaged"),
        ("modules.json", "[{", "modules.json is damaged"),
        ("1_Pooling/config.json", "{", "1_Pooling/config.json is damaged"),
        (
            "1_Pooling/config.json",
            '{"pooling_mode": "lasttoken"}',
            "pools by lasttoken; SentenceEncoder knows mean, cls",
        ),
        ("1_Pooling/config.json", '{"pooling_mode": ["mean", "cls"]}', "pools by mean and cls"),
        ("1_Pooling/config.json", '{"pooling_mode_lasttoken": true}', "pools by pooling_mode_lasttoken"),
        ("modules.json", '[{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]', "has a Dense layer"),
    ],
)
def test_damaged_or_unknown_files(copy, name, content, message):
    (copy / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        SentenceEncoder.from_pretrained(copy)


@pytest.mark.parametrize("absent", ["config.json", "model.safetensors"])
def test_a_folder_without_a_model_says_what_is_missing(copy, absent):
    (copy / absent).unlink()
    with pytest.raises(FileNotFoundError, match="is not a model folder: it needs config.json, .*and holds"):
        SentenceEncoder.from_pretrained(copy)


def test_weights_that_would_have_to_be_unpickled_are_refused(copy):
    shutil.move(copy / "model.safetensors", copy / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        SentenceEncoder.from_pretrained(copy)


def test_a_file_a_missing_folder_and_an_unknown_name(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no network
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="is a file; name the folder"):
        SentenceEncoder.from_pretrained(tmp_path / "file")
    for name in (tmp_path / "nothing", "no-such-owner/no-such-model", "no such name"):
        with pytest.raises(FileNotFoundError, match="there is no folder .*without a network, give the path"):
            SentenceEncoder.from_pretrained(name)
    with pytest.raises(TypeError, match="name_or_path is None"):
        SentenceEncoder.from_pretrained(None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pooling": "sum"}, "pooling is 'sum'; choose one of mean, cls, max"),
        ({"pooling": ""}, "pooling is ''"),
        ({"max_length": 0}, "max_length is 0; this model takes 3 to 128"),
        ({"max_length": 2}, "max_length is 2"),
        ({"max_length": 513}, "max_length is 513"),
    ],
)
def test_settings_out_of_range(base_encoder_folder, options, message):
    with pytest.raises(ValueError, match=message):
        SentenceEncoder.from_pretrained(base_encoder_folder, **options)


def test_models_that_are_not_encoders_are_refused(encoder):
    t5 = transformers.T5Config(vocab_size=100, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(ValueError, match="a t5 model is no encoder"):
        SentenceEncoder(transformers.AutoModel.from_config(t5), encoder.tokenizer)


def test_an_unknown_similarity_is_refused(encoder):
    with pytest.raises(ValueError, match="similarity is 'euclidean'; choose one of cosine, dot"):
        SentenceEncoder(encoder.transformer, encoder.tokenizer, similarity="euclidean")


# --------------------------------------------------------------------------- all-MiniLM-L6-v2


def test_looking_for_the_reference_never_touches_the_network(tmp_path, monkeypatch):
    """Without the package it is looked for in the hub's cache; a socket is not even created."""
    monkeypatch.setattr(minilm.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket", interrupted)
    assert minilm.reference_folder() is None


def test_other_weights_are_not_the_reference(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *arguments, **options: str(tmp_path))
    monkeypatch.setattr(minilm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="does not hold the published weights of all-MiniLM-L6-v2"):
        minilm.minilm_folder()
    assert minilm.reference_folder() is None
