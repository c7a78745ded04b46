"""The domains share nothing that must not be shared; the pipeline, stopped anywhere, ends as if it had not been."""

import pytest
import torch

from course_lib.experiments import domain_adaptation as adaptation
from course_lib.models import CrossEncoder, QueryGenerator
from course_lib.objectives import MarginMSE, MultipleNegativesRanking
from course_lib.search import BM25Search, ExactSearch
from course_lib.texts.harvest import LIBRARIES

# --------------------------------------------------------------------------- the two domains


def test_the_domains_are_disjoint_and_complete():
    assert not set(adaptation.SOURCE) & set(adaptation.TARGET)
    assert set(adaptation.SOURCE) | set(adaptation.TARGET) == set(LIBRARIES)


@pytest.fixture(scope="module")
def labelled(docs):
    return adaptation.source_pairs(docs)


@pytest.fixture(scope="module")
def unlabelled(docs):
    return adaptation.target_passages(docs)


def test_labels_come_from_the_source_s_training_documents_alone(docs, labelled):
    pairs, passages = labelled
    documents = {d.name: d for d in docs.train.documents}
    assert len(pairs) > 5000 and len(passages) == len(pairs) == len(set(passages.values()))
    for summary, name in pairs:
        assert documents[name].library in adaptation.SOURCE
        words = set(documents[name].text.split())
        assert (
            set(summary.split()) <= words and set(passages[name].split()) <= words and len(passages[name].split()) <= 50
        )
    held_out = {s for split in (docs.validation, docs.test) for d in split.documents for s in d.sentences}
    allowed = set(docs.train.sentences)
    for summary, name in pairs[::7]:
        kept = [s for s in documents[name].sentences if s in summary or s in passages[name]]
        assert not [s for s in kept if s in held_out and s not in allowed]


def test_of_the_target_there_is_text_and_no_held_out_sentence(docs, unlabelled):
    allowed = set(docs.train.sentences)
    sentences = {s for d in docs.train.documents if d.library in adaptation.TARGET for s in d.sentences if s in allowed}
    assert len(unlabelled) > 4000
    text = "\n".join(unlabelled.values())
    assert sum(s in text for s in list(sentences)[::50]) > 0.8 * len(list(sentences)[::50])
    held_out = [
        s for d in docs.test.documents if d.library in adaptation.TARGET for s in d.sentences if s not in allowed
    ]
    long = [s for s in held_out[::20] if len(s.split()) > 6]
    assert len(long) > 100 and not [s for s in long if f" {s}" in text or text.startswith(s)]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_it_is_judged_on_the_target_s_held_out_documents(docs, split):
    tasks = adaptation.target_tasks(docs, split=split)
    held_out = {d.name: d for d in getattr(docs, split).documents}
    assert set(tasks) == set(adaptation.MEASURED_BY) - ({"questions"} if split == "validation" else set())
    for task in tasks.values():
        assert len(task.queries) > (20 if split == "test" else 10) and len(task.corpus) >= 200
        assert {held_out[name].library for name in task.corpus} <= set(adaptation.TARGET)
        assert all(name in task.corpus for grades in task.relevant.values() for name in grades)
        assert set(task.relevant) == set(task.queries)


def test_libraries_that_are_not_there(docs):
    with pytest.raises(ValueError, match=r"`libraries` is \('fortran',\); the corpus has no document of them"):
        adaptation.source_pairs(docs, ("fortran",))


# --------------------------------------------------------------------------- the pipeline


@pytest.fixture(scope="module")
def encoder(shallow):
    return shallow(1, max_length=24)


@pytest.fixture(scope="module")
def passages(unlabelled):
    return dict(list(unlabelled.items())[:10])


@pytest.fixture(scope="module")
def corpus(unlabelled):
    return dict(list(unlabelled.items())[:40])


@pytest.fixture(scope="module")
def generator(encoder):
    torch.manual_seed(0)
    return QueryGenerator(encoder).eval()


@pytest.fixture(scope="module")
def cross_encoder(encoder):
    torch.manual_seed(0)
    cross_encoder = CrossEncoder(encoder).eval()
    with torch.no_grad():
        cross_encoder.model.classifier.weight.mul_(100)
    return cross_encoder


@pytest.fixture(scope="module")
def retrievers(encoder, corpus):
    return {"bm25": BM25Search(corpus), "dense": ExactSearch(encoder, corpus)}


class Stopped(Exception):
    pass


def stopping(function, calls):
    """The function, which raises at the call after so many."""
    count = [0]

    def call(*args, **kwargs):
        if count[0] == calls:
            raise Stopped
        count[0] += 1
        return function(*args, **kwargs)

    return call


def pipeline(generator, passages, corpus, retrievers, cross_encoder, folder):
    options = {"folder": folder, "progress": False}
    pairs = adaptation.generate_queries(generator, passages, 2, max_new_tokens=5, chunk=4, **options)
    mined = adaptation.mine_negatives(pairs, corpus, retrievers, per_retriever=5, chunk=6, **options)
    negatives = adaptation.draw_negatives(mined, 2, seed=1)
    return pairs, mined, adaptation.pseudo_labels(cross_encoder, pairs, negatives, corpus, chunk=6, **options)


@pytest.fixture(scope="module")
def whole(generator, passages, corpus, retrievers, cross_encoder, tmp_path_factory):
    return pipeline(generator, passages, corpus, retrievers, cross_encoder, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stage, calls", [("generate", 0), ("generate", 2), ("mine", 1), ("label", 0), ("label", 2)])
def test_stopped_at_any_stage_it_ends_as_if_it_had_not_been(
    whole, generator, passages, corpus, retrievers, cross_encoder, tmp_path, monkeypatch, stage, calls
):
    where = {
        "generate": (generator, "generate"),
        "label": (cross_encoder, "predict"),
        "mine": (adaptation, "mine_hard_negatives"),
    }
    owner, name = where[stage]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stopping(getattr(owner, name), calls))
        with pytest.raises(Stopped):
            pipeline(generator, passages, corpus, retrievers, cross_encoder, tmp_path)
    assert pipeline(generator, passages, corpus, retrievers, cross_encoder, tmp_path) == whole


def test_what_is_done_is_not_done_again(
    whole, generator, passages, corpus, retrievers, cross_encoder, tmp_path, monkeypatch
):
    pipeline(generator, passages, corpus, retrievers, cross_encoder, tmp_path)
    for owner, name in ((generator, "generate"), (cross_encoder, "predict"), (adaptation, "mine_hard_negatives")):
        monkeypatch.setattr(owner, name, stopping(None, 0))
    assert pipeline(generator, passages, corpus, retrievers, cross_encoder, tmp_path) == whole


def test_queries(whole, generator, passages, tmp_path):
    pairs, *_ = whole
    assert {i for _, i in pairs} == set(passages) and len(set(pairs)) == len(pairs)
    assert [i for _, i in pairs] == sorted((i for _, i in pairs), key=list(passages).index)
    greedy = adaptation.generate_queries(
        generator, passages, 3, temperature=0, max_new_tokens=3, folder=tmp_path, progress=False
    )
    assert [i for _, i in greedy] == list(passages)  # three equal queries are one
    other = adaptation.generate_queries(
        generator, passages, 2, max_new_tokens=5, chunk=4, seed=1, folder=tmp_path, progress=False
    )
    assert other != pairs


def test_negatives(whole, corpus):
    pairs, mined, _ = whole
    assert len(mined) == len(pairs)
    for (_, positive), found in zip(pairs, mined):
        assert positive not in found and set(found) <= set(corpus) and 5 <= len(found) <= 10
        assert {name for ranks in found.values() for name in ranks} <= {"bm25", "dense"}
    drawn = adaptation.draw_negatives(mined, 3, seed=0)
    assert all(len(ids) == len(set(ids)) == 3 and set(ids) <= set(found) for ids, found in zip(drawn, mined))
    assert drawn == adaptation.draw_negatives(mined, 3, seed=0) != adaptation.draw_negatives(mined, 3, seed=1)


def test_a_passage_that_was_given_for_the_same_query_is_no_negative(corpus, retrievers, tmp_path):
    first, second, *_ = corpus
    query = corpus[first]
    found = adaptation.mine_negatives(
        [(query, first), (query, second)], corpus, retrievers, 40, folder=tmp_path, progress=False
    )
    assert found[0] == found[1] and not {first, second} & set(found[0]) and len(found[0]) == len(corpus) - 2


def test_margins(whole, cross_encoder, corpus):
    pairs, _, labels = whole
    assert len(labels) == 2 * len(pairs)
    for query, positive, negative, margin in labels[::5]:
        scores = cross_encoder.predict([(query, positive), (query, negative)])
        assert margin == pytest.approx(float(scores[0] - scores[1]), abs=1e-4)
    assert max(abs(margin) for *_, margin in labels) > 1.5  # not squashed
    assert min(margin for *_, margin in labels) < 0  # nor cut
    assert [(q, p) for q, p, *_ in labels[::2]] == [(q, corpus[i]) for q, i in pairs]


def test_margins_with_bm25_name_what_was_not_searched(corpus):
    some = list(corpus.values())
    with pytest.raises(ValueError, match="`search` does not search in 'Another text"):
        adaptation.with_bm25([("sort", some[0], "Another text.", 1.0)], BM25Search(corpus))
    ((*texts, margin),) = adaptation.with_bm25([("xyzzy", some[0], some[1], 3.0)], BM25Search(corpus))
    assert texts == ["xyzzy", some[0], some[1]] and margin == 1.5  # a word that no passage has says nothing


def test_what_comes_out_can_be_trained_on(whole, encoder, corpus):
    pairs, _, labels = whole
    margin_mse, ranking = MarginMSE(encoder), MultipleNegativesRanking(encoder)
    assert float(margin_mse(margin_mse.collate(labels[:6], None)).detach()) > 0
    assert float(ranking(ranking.collate([(q, corpus[i]) for q, i in pairs[:6]], None)).detach()) > 0


def test_no_negatives_no_labels(cross_encoder, corpus, tmp_path):
    first, second, third, *_ = corpus
    pairs, negatives = [("sort an array", first), ("join", second)], [[], [third]]
    labels = adaptation.pseudo_labels(cross_encoder, pairs, negatives, corpus, folder=tmp_path, progress=False)
    assert [(q, p, n) for q, p, n, _ in labels] == [("join", corpus[second], corpus[third])]
    with pytest.raises(ValueError, match="`negatives` has 1 lists for 2 `pairs`"):
        adaptation.pseudo_labels(cross_encoder, pairs, negatives[:1], corpus)


def test_filtering_keeps_what_the_judge_likes(whole, cross_encoder, corpus, tmp_path):
    pairs, *_ = whole
    scores = adaptation.score_pairs(cross_encoder, pairs, corpus, folder=tmp_path, progress=False)
    assert scores == pytest.approx(cross_encoder.predict([(q, corpus[i]) for q, i in pairs]).tolist(), abs=1e-4)
    kept = adaptation.filter_queries(pairs, scores, keep=0.5)
    assert len(kept) == round(0.5 * len(pairs)) and [p for p in pairs if p in kept] == kept
    worst = min(scores[pairs.index(pair)] for pair in kept)
    assert all(score <= worst for pair, score in zip(pairs, scores) if pair not in kept)
    assert adaptation.filter_queries(pairs, scores, keep=1) == pairs
    for keep in (0, 1.1):
        with pytest.raises(ValueError, match=f"keep is {keep}"):
            adaptation.filter_queries(pairs, scores, keep)
    with pytest.raises(ValueError, match="`scores` has 1 numbers"):
        adaptation.filter_queries(pairs, scores[:1])
