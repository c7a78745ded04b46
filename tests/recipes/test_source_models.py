"""The training of the shipped cross-encoder and query generator: what they read, and what the log says."""

import json

import pytest

from course_lib.experiments import domain_adaptation as adaptation
from course_lib.experiments import load_cross_encoder, load_generator
from course_lib.experiments.stages import CROSS_ENCODER, GENERATOR
from course_lib.objectives import QueryGeneration
from course_lib.recipes import source_models


def last_evaluation(folder, part):
    return json.loads((folder / "training-log.json").read_text())[part]["evaluations"][-1]


@pytest.fixture(scope="module")
def unseen(docs):
    return source_models.held_out_pairs(docs)


def test_what_ships_is_small():
    for folder in (GENERATOR, CROSS_ENCODER):
        assert sum(f.stat().st_size for f in folder.iterdir()) <= 30 * 2**20


def test_the_generator_is_the_one_of_its_log(unseen):
    logged = -last_evaluation(GENERATOR, "queries")["negative_loss"]
    loss = source_models.token_loss(
        QueryGeneration(load_generator()), [(passage, query) for query, passage in unseen][:320]
    )
    assert loss == pytest.approx(logged, abs=0.03)  # trained in bf16, shipped in half precision


def test_the_generator_reads_its_passage(unseen):
    """With the passages exchanged, the right queries are harder to write."""
    pairs = [(passage, query) for query, passage in unseen][:96]
    exchanged = [(passage, query) for (passage, _), (_, query) in zip(pairs, pairs[1:] + pairs[:1])]
    generator = QueryGeneration(load_generator())
    assert source_models.token_loss(generator, exchanged) > source_models.token_loss(generator, pairs) + 0.5


def test_the_cross_encoder_is_the_one_of_its_log_and_better_than_chance(docs, unseen):
    answers = dict(unseen)
    pairs = [(query, str(n)) for n, query in enumerate(answers)]
    examples = source_models.with_negatives(pairs, {str(n): p for n, p in enumerate(answers.values())}, 5)[:200]
    share = source_models.share_first(load_cross_encoder(), examples)
    assert share == pytest.approx(last_evaluation(CROSS_ENCODER, "pairs")["first_of_six"], abs=0.03)
    assert share > 1 / 6 + 0.1


def test_practice_reads_training_text_alone_and_writes_no_summary(docs):
    allowed = set(docs.train.sentences)
    summaries = {d.summary for d in docs.documents if d.library in adaptation.TARGET}
    pairs = source_models.missing_sentences(docs)
    assert len(pairs) > 10_000
    assert all(sentence in allowed for _, sentence in pairs)
    assert sum(sentence in passage for passage, sentence in pairs) < 0.02 * len(pairs)  # as a part of a longer sentence
    # a sentence can stand in another document too
    assert len([s for _, s in pairs if s in summaries]) < 0.01 * len(pairs)


@pytest.fixture
def small(docs, monkeypatch):
    """One layer each, and of what BM25 mines in and the evaluations read only a part: the time goes there."""
    monkeypatch.setitem(source_models.LAYERS, "query-generator", 1)
    monkeypatch.setitem(source_models.LAYERS, "cross-encoder", 1)
    pairs, passages = adaptation.source_pairs(docs)
    few, sentences = pairs[:400], source_models.missing_sentences(docs)[:2000]
    monkeypatch.setattr(adaptation, "source_pairs", lambda docs: (few, {i: passages[i] for _, i in few}))
    held_out = source_models.held_out_pairs(docs)[:40]
    monkeypatch.setattr(source_models, "held_out_pairs", lambda docs: held_out)
    monkeypatch.setattr(source_models, "missing_sentences", lambda docs, seed: sentences)


def test_a_few_steps_of_each(docs, small):
    generator, records = source_models.train_generator(docs, steps=2, practice_steps=1, batch_size=8, progress=False)
    assert {name: len(r.steps) for name, r in records.items()} == {"practice": 1, "queries": 2}
    assert len(generator.generate(["Sort an array."], 2)[0]) == 2
    options = {"steps": 2, "practice_steps": 1, "batch_size": 4, "progress": False}
    cross_encoder, records = source_models.train_cross_encoder(docs, **options)
    assert {name: len(r.steps) for name, r in records.items()} == {"practice": 1, "pairs": 2}
    assert cross_encoder.predict([("sort", "Sort an array.")]).shape == (1,)


def test_killed_in_the_second_part_it_does_not_repeat_the_first(docs, small, tmp_path, monkeypatch):
    train, killed_in = source_models.train, []

    def sometimes_killed(objective, examples, config, output=None, **options):
        if output and output.name in killed_in:
            raise SystemExit
        return train(objective, examples, config, output, **options)

    monkeypatch.setattr(source_models, "train", sometimes_killed)
    settings = {"steps": 2, "practice_steps": 2, "batch_size": 8, "progress": False}
    expected, _ = source_models.train_generator(docs, **settings)
    killed_in.append("queries")
    with pytest.raises(SystemExit):
        source_models.train_generator(docs, **settings, output=tmp_path)
    killed_in[0] = "practice"  # repeating it would end here
    generator, records = source_models.train_generator(docs, **settings, output=tmp_path)
    assert [len(r.steps) for r in records.values()] == [2, 2]
    assert all(a.equal(b) for a, b in zip(generator.state_dict().values(), expected.state_dict().values()))
