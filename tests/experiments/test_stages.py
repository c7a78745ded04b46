"""Stages build on each other, none is trained twice, and what a stage reads is what its domain may give."""

import dataclasses

import pytest

from course_lib.experiments import adaptation_runs as runs
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.experiments import runs as experiments
from course_lib.experiments.profiles import PROFILES
from course_lib.recipes import source_models
from course_lib.search import BM25Search

RECIPES = {name: dataclasses.replace(r, steps=2, batch_size=8) for name, r in PROFILES["smoke"].recipes.items()}
TINY = dataclasses.replace(PROFILES["smoke"], recipes=RECIPES, queries=5, target_passages=6)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Runs and stages of these tests alone; the corpus stays where it is."""
    folder = tmp_path_factory.mktemp("cache")
    generator, _ = source_models.train_generator(
        experiments.load_docs(), steps=1, practice_steps=0, batch_size=8, progress=False
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "load_generator", lambda: generator)  # it writes nonsense, which costs as much as sense
        patch.setattr(experiments, "runs_folder", lambda: folder / "runs")
        patch.setattr("course_lib.storage.cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def gpl():
    """The record of the whole pipeline, really run."""
    return runs.run(("source", "gpl"), TINY, progress=False)


def test_the_whole_pipeline_ends_in_a_record_of_its_last_stage(gpl):
    assert gpl.title == "source labels → GPL" and gpl.method == "target-source-gpl"
    assert len(gpl.training["steps"]) == 2 and gpl.training["objective"]["name"] == "MarginMSE"
    assert set(gpl.results) == set(adaptation.JUDGED_BY) and gpl.seconds > 0
    assert [stage for stage, _ in gpl.configuration["stages"]] == ["source", "gpl"]
    assert {"query_generator", "cross_encoder", "base_encoder", "texts"} <= set(gpl.data)


def test_no_stage_is_trained_twice(gpl, monkeypatch):
    trained = []
    real = experiments.train
    monkeypatch.setattr(
        experiments,
        "train",
        lambda objective, *a, **k: trained.append(type(objective).__name__) or real(objective, *a, **k),
    )
    assert runs.run(("source", "gpl"), TINY, progress=False) == gpl
    runs.run(("source",), TINY, progress=False)  # trained on the way to GPL
    runs.run(("source", "genq"), TINY, progress=False)
    runs.run(("hybrid", "source"), TINY, progress=False)
    assert trained == ["MultipleNegativesRanking"]
    runs.run(("tsdae", "source"), TINY, progress=False)
    runs.run(("source", "tsdae"), TINY, progress=False)  # the other order is another encoder
    assert trained[1:] == ["DenoisingAutoEncoder", "MultipleNegativesRanking", "DenoisingAutoEncoder"]
    runs.run(("cropping", "source"), TINY, progress=False)
    assert trained[4:] == ["Cropping", "MultipleNegativesRanking"]
    assert runs.is_trained(("source", "genq"), TINY) and not runs.is_trained(("simcse", "source"), TINY)


def test_an_encoder_is_the_same_whether_its_stage_was_just_trained_or_found(gpl, tmp_path, monkeypatch):
    """What a stage begins with comes from the earlier one; a head that no stage keeps must not come from memory."""
    found = runs.load_encoder(("source", "tsdae"), TINY, progress=False).encode(["Sort an array."])
    monkeypatch.setattr(experiments, "runs_folder", lambda: tmp_path)
    made = runs.load_encoder(("source", "tsdae"), TINY, progress=False).encode(["Sort an array."])
    assert abs(found - made).max() < 1e-5


@pytest.mark.parametrize("row", ["bm25", "bm25_reranked", "base"])
def test_rows_without_training(row, gpl):
    record = runs.run(row, TINY, progress=False)
    assert record.training is None and record.title == runs.SEARCHES[row]
    assert set(record.results) == set(gpl.results)
    assert record.results["questions"]["per_query"].keys() == gpl.results["questions"]["per_query"].keys()


@pytest.mark.parametrize("stage", ["cropping_gentle", "tsdae"])
def test_a_row_may_start_from_a_finished_encoder(stage, gpl):
    row = ("minilm", stage)
    record = runs.run(row, TINY, progress=False)
    finished = experiments.reference_folder()
    assert record.title == f"all-MiniLM-L6-v2 → {runs.STAGES[stage]}"
    assert record.data["base_encoder"] == experiments.weights_fingerprint(finished) != gpl.data["base_encoder"]
    assert [s for s, _ in record.configuration["stages"]] == [stage] and runs.is_trained(row, TINY)
    adapted, start = runs.load_encoder(row, TINY), runs.load_encoder(("minilm",), TINY)
    assert adapted.source == str(finished) and len(adapted.tokenizer) == len(start.tokenizer) > 30_000
    moved = [abs(a - b).max().item() for a, b in zip(adapted.state_dict().values(), start.state_dict().values())]
    assert 0 < max(moved) < 0.1  # its weights, a few small steps further


def test_how_to_search_with_what_marginmse_trained():
    free = dataclasses.replace(
        TINY, recipes=TINY.recipes | {"gpl": dataclasses.replace(TINY.recipes["gpl"], options={})}
    )
    assert (
        runs.similarity_of(("source", "gpl"), free) == "dot" and runs.similarity_of(("gpl", "source"), free) == "cosine"
    )
    assert (
        runs.similarity_of(("source", "gpl"), TINY) == "cosine"
    )  # vectors of one length: dot products order as cosines do
    assert runs.similarity_of(("source",), free) == runs.similarity_of((), free) == "cosine"
    assert runs.similarity_of(("source", "gpl_bm25"), free) == "cosine"  # its own recipe says so


def test_stages_read_what_their_domain_gives(gpl, docs):
    held_out = {s for split in (docs.validation, docs.test) for d in split.documents for s in d.sentences}
    of_target = {d.name for d in docs.train.documents if d.library in adaptation.TARGET}
    sentences = runs.stage_examples("simcse", TINY)
    allowed = {s for d in docs.train.documents if d.name in of_target for s in d.sentences}
    assert len(sentences) > 5000 and set(sentences) <= allowed and not set(sentences) & held_out
    for stage in ("mlm", *runs.CROPPED):
        assert set(runs.stage_examples(stage, TINY)) == set(adaptation.target_passages(docs).values())
    passages = set(adaptation.target_passages(docs).values())
    for query, positive, *rest in [*runs.stage_examples("genq", TINY), *runs.stage_examples("gpl", TINY)]:
        assert query and positive in passages and all(n in passages for n in rest[:1])
    for (
        stage,
        libraries,
    ) in runs.LABELLED.items():  # "target" is the yardstick: never a part of a pipeline without labels
        bodies = {d.name: set(" ".join(d.sentences).split()) for d in docs.train.documents if d.library in libraries}
        pairs, named = adaptation.source_pairs(docs, libraries)
        assert runs.stage_examples(stage, TINY) == [(summary, named[name]) for summary, name in pairs]
        assert all(set(named[name].split()) <= bodies[name] for _, name in pairs)
    assert len(runs.passages_to_ask_about(TINY)) == TINY.target_passages


def test_gpl_with_bm25_learns_the_mean_of_two_margins_for_the_same_triples(gpl):
    plain, helped = (runs.stage_examples(stage, TINY) for stage in ("gpl", "gpl_bm25"))
    assert [t[:3] for t in helped] == [t[:3] for t in plain]
    search = BM25Search(runs.pseudo_labels(TINY, progress=False).passages)
    hits = {query: {h.text: h.score for h in search.search(query, len(search))} for query, *_ in plain}
    for (query, positive, negative, judged), (*_, margin) in zip(plain, helped):
        by_words = hits[query].get(positive, 0) - hits[query].get(negative, 0)  # what shares no word is no hit
        assert margin == pytest.approx((judged + by_words) / 2, abs=1e-4)
    for stage in ("gpl_bm25_long", "genq_long"):
        asked_about = {positive for _, positive, *_ in runs.stage_examples(stage, TINY)}
        assert TINY.target_passages < len(asked_about) <= runs.LONG * TINY.target_passages
    record = runs.run(("source", "gpl_bm25"), TINY, progress=False)
    assert record.title == "source labels → GPL with BM25" and record.training["objective"]["name"] == "MarginMSE"
    assert {"cross_encoder", "query_generator"} <= set(record.data)


def test_other_settings_are_another_run(gpl, monkeypatch):
    other = dataclasses.replace(TINY, target_passages=7)
    folders = {
        experiments.run_folder(runs._blank(row, profile, seed))
        for row in (("source",), ("source", "gpl"))
        for profile in (TINY, other)
        for seed in (0, 1)
    }
    assert len(folders) == 6  # how many passages are asked about changes nothing for the source's labels


def test_an_unknown_stage(docs):
    with pytest.raises(ValueError, match="there is no stage 'word2vec'; choose among mlm"):
        runs.run(("source", "word2vec"), TINY)
    with pytest.raises(ValueError, match="there is no stage 'minilm'"):
        runs.run(("source", "minilm"), TINY)  # a start, and no stage
    with pytest.raises(FileNotFoundError, match="'gpl' has not been trained in the smoke profile yet"):
        experiments.searcher("gpl", ["a text"], dataclasses.replace(TINY, target_passages=5))


def test_shipped_records_are_those_of_todays_recipes():
    cpu = PROFILES["cpu"]
    for row, seeds in (
        ("bm25", [0]),
        (("source",), [0, 1, 2]),
        (("source", "gpl"), [0, 1, 2]),
        (("tsdae",), [0]),
        (("simcse", "source"), [0, 1, 2]),
        (("source", "target"), [0]),
        (("cropping_long", "source"), [0, 1, 2]),
        (("source", "genq"), [0, 1, 2]),
        (("source", "genq_long"), [0, 1, 2]),
        (("source", "gpl_bm25"), [0, 1, 2]),
        (("hybrid", "source", "gpl_bm25"), [0, 1, 2]),
        (("source", "gpl_bm25_long"), [0, 1, 2]),
        (("hybrid", "source", "gpl_bm25_long"), [0, 1, 2]),
        (("cropping_long", "source", "genq"), [0, 1, 2]),
        (("hybrid", "cropping_long", "source", "genq"), [0, 1, 2]),
        (("cropping_long", "source", "gpl"), [0]),
        (("simcse", "source", "gpl"), [0, 1, 2]),
        (("tsdae", "source", "gpl"), [0]),
        ("minilm_hybrid", [0]),
        (("minilm", "cropping_gentle"), [0, 1, 2]),
        (("minilm", "genq"), [0]),
        (("minilm", "gpl"), [0]),
        (("minilm", "tsdae"), [0]),
        (("hybrid", "minilm", "cropping_gentle"), [0, 1, 2]),
    ):
        found = runs.recorded(row, cpu)
        assert [r.seed for r in found] == seeds and {r.title for r in found} == {runs.title(row)}
    other = dataclasses.replace(cpu.recipes["gpl"], steps=151)
    changed = dataclasses.replace(cpu, recipes=cpu.recipes | {"gpl": other})
    assert not runs.recorded(("source", "gpl"), changed) and runs.recorded(("source",), changed)


def test_a_search_with_an_adapted_encoder(gpl):
    texts = ["Sort an array.", "Read a table."]
    hits = experiments.searcher("gpl", texts, TINY, progress=False).search("sort", k=2)
    vectors = runs.load_encoder(("source", "gpl"), TINY).encode(["sort", *texts], normalize=True)
    assert [hit.score for hit in hits] == pytest.approx(
        sorted((vectors[1:] @ vectors[0]).tolist(), reverse=True), abs=1e-5
    )
    assert {"BM25", "Base encoder", "source labels → GPL"} <= set(experiments.trained_searchers(["a"], TINY))
