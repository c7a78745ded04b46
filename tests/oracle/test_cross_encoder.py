"""The cross-encoder against sentence-transformers 6: the same scores from the same folder, in both directions."""

import json

import numpy as np
import pytest
import sentence_transformers
import torch
import transformers
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, MultipleNegativesRankingLoss
from torch import nn

from course_lib.models import CrossEncoder, SentenceEncoder
from course_lib.objectives import Relevance
from course_lib.training import TrainingConfig, train

LAYERS = 2


@pytest.fixture(scope="module")
def groups(docs):
    """(summary, its description, two others) of real documents."""
    found = [d for d in docs.validation.documents if len(d.summary.split()) > 3 and len(d.body.split()) > 20]
    found = list({d.summary: d for d in {d.body[:60]: d for d in found}.values()}.values())[:24]
    return [(d.summary, d.body, found[i - 1].body, found[i - 2].body) for i, d in enumerate(found)]


@pytest.fixture(scope="module")
def pairs(groups):
    """Pairs of all lengths, some cut in the query, some in the text, some in both, and empty ones."""
    found = [(query, text) for query, *texts in groups[:8] for text in texts]
    return [
        *found,
        (found[0][1], "short"),
        ("short", found[1][1] * 9),
        (found[0][1] * 9, found[1][1] * 9),
        ("", ""),
        ("a [SEP] b", "c"),
    ]


@pytest.fixture
def cross_encoder(shallow):
    torch.manual_seed(0)
    cross_encoder = CrossEncoder(shallow(LAYERS, max_length=48))
    with torch.no_grad():  # as after training: a fresh classifier says 0 to everything
        cross_encoder.model.classifier.weight.mul_(40)
        cross_encoder.model.classifier.bias.fill_(-1.5)
    return cross_encoder.eval()


FAMILIES = {
    "roberta": lambda v: transformers.RobertaConfig(
        vocab_size=v,
        max_position_embeddings=66,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    ),
    "distilbert": lambda v: transformers.DistilBertConfig(vocab_size=v, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
    "mpnet": lambda v: transformers.MPNetConfig(
        vocab_size=v,
        max_position_embeddings=66,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    ),
}


# --------------------------------------------------------------------------- saved here, loaded there


def test_the_library_gives_our_scores(cross_encoder, pairs, tmp_path):
    cross_encoder.save(tmp_path)
    theirs = sentence_transformers.CrossEncoder(str(tmp_path), device="cpu")
    scores = cross_encoder.predict(pairs, batch_size=7)
    assert scores.dtype == np.float32 and scores.max() > 1 and np.ptp(scores) > 1, scores  # not squashed
    assert isinstance(theirs.activation_fn, nn.Identity)
    np.testing.assert_allclose(theirs.predict(pairs), scores, atol=1e-5)
    loaded = CrossEncoder.from_pretrained(tmp_path, device="cpu")
    np.testing.assert_allclose(loaded.predict(pairs, batch_size=7), scores, atol=1e-6)
    assert loaded.settings() == cross_encoder.settings()


def test_without_the_stored_activation_the_library_would_squash(cross_encoder, pairs, tmp_path):
    """What the test above would miss if scores were only compared by order."""
    cross_encoder.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["sentence_transformers"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    squashed = sentence_transformers.CrossEncoder(str(tmp_path), device="cpu").predict(pairs)
    np.testing.assert_allclose(squashed, 1 / (1 + np.exp(-cross_encoder.predict(pairs))), atol=1e-5)
    np.testing.assert_allclose(
        CrossEncoder.from_pretrained(tmp_path, device="cpu").predict(pairs), cross_encoder.predict(pairs), atol=1e-6
    )  # ours are raw whatever a folder says


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families(family, base_encoder_folder, pairs, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(base_encoder_folder)
    config = FAMILIES[family](len(tokenizer))
    config.pad_token_id, config.initializer_range = tokenizer.pad_token_id, 0.5
    torch.manual_seed(0)
    encoder = SentenceEncoder(transformers.AutoModel.from_config(config), tokenizer, max_length=40)
    cross_encoder = CrossEncoder(encoder).eval()
    cross_encoder.save(tmp_path)
    theirs = sentence_transformers.CrossEncoder(str(tmp_path), device="cpu").predict(pairs)
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(cross_encoder.predict(pairs), theirs, atol=1e-4, rtol=1e-4)  # logits of 10 to 100


# --------------------------------------------------------------------------- saved there, loaded here


def test_the_library_s_folder_gives_its_scores_before_the_sigmoid(cross_encoder, pairs, tmp_path):
    cross_encoder.save(tmp_path / "start")
    theirs = sentence_transformers.CrossEncoder(str(tmp_path / "start"), device="cpu", activation_fn=nn.Sigmoid())
    theirs.save_pretrained(str(tmp_path / "saved"))
    ours = CrossEncoder.from_pretrained(tmp_path / "saved", device="cpu")
    np.testing.assert_allclose(ours.predict(pairs), theirs.predict(pairs, activation_fn=nn.Identity()), atol=1e-5)


def test_models_without_a_single_score_are_refused(base_encoder_folder, shallow, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)has no trained classifier; take .* or train CrossEncoder"):
        CrossEncoder.from_pretrained(base_encoder_folder)
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_labels=3
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    shallow(1).tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="gives 3 labels"):
        CrossEncoder.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder 'no/such-model'"):
        CrossEncoder.from_pretrained("no/such-model")


# --------------------------------------------------------------------------- training


def test_the_losses_are_the_library_s(cross_encoder, groups, tmp_path):
    cross_encoder.save(tmp_path)
    peer = sentence_transformers.CrossEncoder(str(tmp_path), device="cpu", activation_fn=nn.Identity()).eval()
    pairs = [(query, text) for query, *texts in groups[:6] for text in texts]
    labels = torch.tensor([1.0, 0.0, 0.0] * 6)
    reference = BinaryCrossEntropyLoss(peer)
    expected = reference([[q for q, _ in pairs], [t for _, t in pairs]], labels)
    compare(Relevance(cross_encoder, "binary"), groups[:6], peer, expected)
    # the library adds other queries' texts as negatives, so it is asked for one query at a time, which has none
    reference = MultipleNegativesRankingLoss(peer, num_negatives=None, scale=1.0, activation_fn=nn.Identity())
    expected = sum(reference([[text] for text in group], None) for group in groups[:6]) / 6
    compare(Relevance(cross_encoder, "softmax"), groups[:6], peer, expected)


def compare(objective, groups, peer, expected):
    objective.eval().zero_grad()
    peer.zero_grad()
    loss = objective(objective.collate(groups, None))
    loss.backward()
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    theirs, model = dict(peer.model.named_parameters()), objective.encoder.model
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, theirs[name].grad, atol=1e-5, rtol=1e-4, msg=lambda m: name + m)
    assert float(model.classifier.weight.grad.norm()) > 1e-3


@pytest.mark.parametrize("loss", ["binary", "softmax"])
def test_training_tells_positives_from_negatives(shallow, groups, loss, tmp_path):
    torch.manual_seed(0)
    encoder, groups = shallow(1, max_length=24), [group[:3] for group in groups[:12]]
    before = {k: v.clone() for k, v in encoder.transformer.state_dict().items()}
    cross_encoder = CrossEncoder(encoder)
    config = TrainingConfig(steps=24, batch_size=6, learning_rate=2e-3, precision="fp32")
    record = train(Relevance(cross_encoder, loss), groups, config, tmp_path, progress=False)
    assert sum(record.losses[-5:]) < 0.6 * sum(record.losses[:5])
    positive, negative = (cross_encoder.predict([(g[0], g[i]) for g in groups]) for i in (1, 2))
    assert (positive > negative).mean() > 0.8
    kept = CrossEncoder.from_pretrained(tmp_path, device="cpu")  # the whole model, not its encoder alone
    np.testing.assert_allclose(kept.predict([(g[0], g[1]) for g in groups]), positive, atol=1e-5)
    assert all(
        torch.equal(v, before[k]) for k, v in encoder.transformer.state_dict().items()
    )  # the encoder itself rests


def test_prepared_examples_make_the_same_batch(cross_encoder, groups):
    objective = Relevance(cross_encoder)
    prepared = objective.prepare(groups[:5])
    one, other = objective.collate(groups[:5], None), objective.collate(prepared, None)
    assert all(torch.equal(one[k], other[k]) for k in one) and set(one) == {
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "labels",
    }
    assert sum(len(p) for p in prepared) == int(one["attention_mask"].sum())
    assert one["labels"].tolist() == [[1, 0, 0]] * 5


def test_scores_do_not_depend_on_what_else_is_scored(cross_encoder, pairs):
    scores = cross_encoder.predict(pairs, batch_size=64)
    np.testing.assert_allclose(cross_encoder.predict(pairs[::-1], batch_size=1)[::-1], scores, atol=1e-5)
    assert cross_encoder.predict([]).shape == (0,)
    assert not np.allclose(
        cross_encoder.predict([(t, q) for q, t in pairs[:4]]), scores[:4], atol=1e-3
    )  # the order counts
    cross_encoder.train()
    np.testing.assert_allclose(cross_encoder.predict(pairs), scores, atol=1e-5)
    assert cross_encoder.training and cross_encoder.model.training


def test_bad_pairs(cross_encoder):
    with pytest.raises(ValueError, match=r"`pairs`\[1\] is \('a',\)"):
        cross_encoder.predict([("a", "b"), ("a",)])
    with pytest.raises(ValueError, match=r"`pairs`\[0\] is 'ab'"):
        cross_encoder.predict(["ab"])
    with pytest.raises(TypeError, match="`pairs` is a str"):
        cross_encoder.predict("ab")
    with pytest.raises(TypeError, match=r"`text`\[0\] is None"):
        cross_encoder.predict([("a", None)])
    with pytest.raises(ValueError, match="batch_size is 0"):
        cross_encoder.predict([("a", "b")], batch_size=0)
    with pytest.raises(ValueError, match=r"examples of \[2, 3\] texts"):
        Relevance(cross_encoder).prepare([("a", "b", "c"), ("a", "b")])
    with pytest.raises(ValueError, match="loss is 'hinge'; choose one of binary, softmax"):
        Relevance(cross_encoder, loss="hinge")
