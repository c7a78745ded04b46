"""The losses of GenQ and GPL against sentence-transformers 6: the same value, the same gradient of every parameter."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MarginMSELoss, MultipleNegativesRankingLoss
from sentence_transformers.util import pairwise_cos_sim

from course_lib import functional
from course_lib.objectives import MarginMSE, MultipleNegativesRanking
from course_lib.objectives.examples import strip_prefix

LAYERS = 2


@pytest.fixture(scope="module")
def examples(docs):
    """(summary, description, another one's description, margin) of real documents, all different."""
    found = [d for d in docs.validation.documents if len(d.summary.split()) > 3 and len(d.body.split()) > 20]
    found = list({d.summary: d for d in {d.body[:60]: d for d in found}.values()}.values())[:24]
    margins = [9.5, -0.25, 3.0, 12.125]
    return [(d.summary, d.body, other.body, margins[i % 4]) for i, (d, other) in enumerate(zip(found[:12], found[12:]))]


@pytest.fixture
def peer(shallow, tmp_path):
    """An encoder without dropout, and the library's model of the same weights."""
    encoder = shallow(LAYERS, max_length=40)
    encoder.save(tmp_path)
    return encoder.eval(), SentenceTransformer(str(tmp_path), device="cpu").eval()


def assert_same(objective, reference, examples, columns, labels=None):
    """The objective's batch of the examples, and the library's columns of the same texts, tokenised by the library."""
    theirs = [objective_columns(reference.model, [e[i] for e in examples]) for i in range(columns)]
    ours = objective(objective.collate(examples, None))
    expected = reference(theirs, labels)
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), abs=1e-5, rel=1e-6)
    ours.backward()
    expected.backward()
    mine, compared = dict(objective.encoder.transformer.named_parameters()), 0
    for name, parameter in reference.model[0].auto_model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(mine[name].grad, parameter.grad, atol=1e-5, rtol=1e-5, msg=lambda m: name + m)
            compared += 1
    assert compared >= 5 + 16 * LAYERS and float(mine["embeddings.word_embeddings.weight"].grad.norm()) > 1e-3


def objective_columns(model, texts):
    return {k: v for k, v in model.preprocess(texts).items() if torch.is_tensor(v)}


@pytest.mark.parametrize("negatives", [False, True])
@pytest.mark.parametrize("scale", [20.0, 5.0])
def test_multiple_negatives_ranking(peer, examples, negatives, scale):
    encoder, model = peer
    columns = 3 if negatives else 2
    assert_same(
        MultipleNegativesRanking(encoder, scale),
        MultipleNegativesRankingLoss(model, scale=scale),
        [e[:columns] for e in examples],
        columns,
    )


def test_margin_mse(peer, examples):
    encoder, model = peer
    with torch.no_grad():  # vectors of length 1 or so, so that an error in the margins shows in the fifth decimal
        for transformer in (encoder.transformer, model[0].auto_model):
            transformer.encoder.layer[-1].output.LayerNorm.weight.mul_(0.2)
    assert_same(MarginMSE(encoder), MarginMSELoss(model), examples, 3, torch.tensor([e[3] for e in examples]))


def test_margin_mse_of_vectors_of_one_length(peer, examples):
    encoder, model = peer
    margins = torch.tensor([e[3] for e in examples])
    theirs = MarginMSELoss(model, similarity_fct=lambda a, b: 20 * pairwise_cos_sim(a, b))
    assert_same(MarginMSE(encoder, length=20**0.5), theirs, examples, 3, margins)


# --------------------------------------------------------------------------- on embeddings alone


def gradients(loss, *inputs):
    """The loss of copies of the inputs, and its gradients."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    value = loss(*inputs)
    value.backward()
    return [value.detach(), *(x.grad for x in inputs)]


@pytest.mark.parametrize("size", [2, 9])
@pytest.mark.parametrize("negatives", [0, 1, 3])
def test_ranking_embeddings(size, negatives):
    generator = torch.Generator().manual_seed(size)
    columns = torch.randn(2 + negatives, size, 12, generator=generator)
    reference = MultipleNegativesRankingLoss(None, scale=20.0)
    ours = gradients(
        lambda q, p, *n: functional.multiple_negatives_ranking(q, p, torch.cat(n) if n else None), *columns
    )
    theirs = gradients(lambda *columns: reference.compute_loss_from_embeddings(list(columns), None), *columns)
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_masked_duplicates_are_as_if_they_were_not_in_the_batch():
    """The library's way to the same end is a batch that lacks them: one query's loss at a time can be compared."""
    generator = torch.Generator().manual_seed(0)
    queries, positives = torch.randn(2, 6, 12, generator=generator)
    duplicates = torch.eye(6).bool()
    duplicates[0, 3] = duplicates[3, 0] = True
    losses = []
    for row in range(6):
        kept = [row, *(i for i in range(6) if i != row and not duplicates[row, i])]
        reference = MultipleNegativesRankingLoss(None)
        scores = reference.similarity_fct(queries[[row]], positives[kept]) * 20
        losses.append(torch.nn.functional.cross_entropy(scores, torch.tensor([0])))
    ours = functional.multiple_negatives_ranking(queries, positives, duplicates=duplicates)
    torch.testing.assert_close(ours, torch.stack(losses).mean())
    assert ours < functional.multiple_negatives_ranking(queries, positives)


def test_margin_embeddings():
    generator = torch.Generator().manual_seed(1)
    columns, margins = torch.randn(3, 9, 12, generator=generator), torch.randn(9, generator=generator) * 5
    reference = MarginMSELoss(None)
    ours = gradients(lambda q, p, n: functional.margin_mse(q, p, n, margins), *columns)
    theirs = gradients(lambda *columns: reference.compute_loss_from_embeddings(list(columns), margins), *columns)
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_margins_of_another_shape_would_be_compared_with_every_query():
    a = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"margins has the shape \(3, 1\); it must be one per query, \(3,\)"):
        functional.margin_mse(a, a, a, torch.zeros(3, 1))


# --------------------------------------------------------------------------- batches


def test_ranking_batches(shallow, examples):
    objective = MultipleNegativesRanking(shallow(max_length=40))
    (q1, p1, n1, _), (q2, p2, *_), (q3, p3, *_), *_ = examples
    texts = [(q1, p1, n1), (q2, p1, p2), (q3, p2, p1), (q1, p3, n1)]  # a passage twice, a query twice, one as negative
    batch = objective.collate(objective.prepare(texts), None)
    assert batch["duplicates"].long().tolist() == [
        # p1 p1 p2 p3 | n1 p2 p1 n1
        [1, 1, 0, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 1, 0, 0],
        [1, 0, 0, 1, 0, 0, 0, 0],
    ]
    columns = [objective.encoder.tokenize([t[i] for i in part for t in texts])["input_ids"] for part in ([0], [1, 2])]
    assert torch.equal(strip_prefix("query", batch)["input_ids"], columns[0]) and torch.equal(
        batch["input_ids"], columns[1]
    )


@pytest.mark.parametrize(
    "kind, columns", [(MultipleNegativesRanking, 2), (MultipleNegativesRanking, 3), (MarginMSE, 4)]
)
def test_prepared_examples_make_the_same_batch(shallow, examples, kind, columns):
    objective, texts = kind(shallow(max_length=16)), [e[:columns] for e in examples]
    prepared = objective.prepare(texts)
    one, other = objective.collate(texts, None), objective.collate(prepared, None)
    assert all(torch.equal(one[k], other[k]) for k in one) and all(torch.is_tensor(v) for v in one.values())
    tokens = [
        int(sum(objective.encoder.tokenize([t])["attention_mask"].sum() for t in example[:3])) for example in texts
    ]
    assert [len(p) for p in prepared] == tokens


def test_bad_examples(shallow):
    ranking, margin = MultipleNegativesRanking(shallow()), MarginMSE(shallow())
    with pytest.raises(ValueError, match=r"`texts`\[1\] holds 3; each example must be \(query, positive\)"):
        ranking.prepare([("a", "b"), ("a", "b", "c")])
    with pytest.raises(ValueError, match=r"`texts`\[0\] is a str; each example must be \(query, positive\)"):
        ranking.prepare(["a", "b"])
    with pytest.raises(TypeError, match=r"`positive`\[1\] is None"):
        ranking.prepare([("a", "b"), ("a", None)])
    with pytest.raises(ValueError, match=r"holds 1 pair\(s\); MultipleNegativesRanking"):
        ranking.collate([("a", "b")], None)
    with pytest.raises(ValueError, match="scale is 0"):
        MultipleNegativesRanking(shallow(), 0)
    with pytest.raises(ValueError, match="length is 0; it must be above 0, or None"):
        MarginMSE(shallow(), length=0)
    with pytest.raises(ValueError, match=r"the margin of `texts`\[0\] is nan"):
        margin.prepare([("a", "b", "c", float("nan"))])
    with pytest.raises(ValueError, match=r"must be \(query, positive, negative, margin\)"):
        margin.prepare([("a", "b", "c")])
