"""Stages build on each other, none is trained twice, and what a stage reads is what its domain may give."""

import dataclasses
from functools import partial

import pytest

from course_lib import experiments
from course_lib.experiments import PROFILES, STAGES, Run, as_run, load_or_run, runs, stages
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.models.minilm import MINILM_SHA256, reference_folder
from course_lib.search import BM25Search

SMALL = {"steps": 2, "batch_size": 8, "texts": 200}
RECIPES = {name: dataclasses.replace(r, **SMALL) for name, r in PROFILES["smoke"].recipes.items()}
TINY = dataclasses.replace(PROFILES["smoke"], recipes=RECIPES, queries=5, target_passages=4)
pytestmark = pytest.mark.usefixtures("generator")
needs_minilm = pytest.mark.skipif(not reference_folder(), reason="all-MiniLM-L6-v2's weights are not on this machine")


def run(row, profile=TINY, seed=0):
    return as_run(row, profile, seed, "target")


def measured(row):
    return load_or_run(run(row), progress=False)


@pytest.fixture(scope="module")
def gpl(generator):
    """The record of the whole pipeline, really run."""
    return measured(("source", "gpl"))


def test_the_whole_pipeline_ends_in_a_record_of_its_last_stage(gpl):
    assert gpl.title == "source labels → GPL" and gpl.method == "target-source-gpl"
    assert len(gpl.training["steps"]) == 2 and gpl.training["objective"]["name"] == "MarginMSE"
    assert set(gpl.results) == set(adaptation.MEASURED_BY) and gpl.seconds > 0
    assert [s["stage"] for s in gpl.configuration["stages"]] == ["source", "gpl"]
    assert {"query_generator", "cross_encoder", "start", "texts"} == set(gpl.data)


def test_no_stage_is_trained_twice(gpl, monkeypatch):
    trained, real = [], runs.train

    def train(objective, *arguments, **options):
        trained.append(type(objective).__name__)
        return real(objective, *arguments, **options)

    monkeypatch.setattr(runs, "train", train)
    assert measured(("source", "gpl")) == gpl
    measured(("source",))  # trained on the way to GPL
    measured(("source", "genq"))
    measured(("hybrid", "source"))
    assert trained == ["MultipleNegativesRanking"]
    measured(("tsdae", "source"))
    measured(("source", "tsdae"))  # the other order is another encoder
    assert trained[1:] == ["DenoisingAutoEncoder", "MultipleNegativesRanking", "DenoisingAutoEncoder"]
    measured(("cropping", "source"))
    assert trained[4:] == ["Cropping", "MultipleNegativesRanking"]
    assert run(("source", "genq")).is_trained() and not run(("simcse", "source")).is_trained()


def test_an_encoder_is_the_same_whether_its_stage_was_just_trained_or_found(gpl, tmp_path, monkeypatch):
    """What a stage begins with comes from the earlier one; a head that no stage keeps must not come from memory."""
    row = run(("source", "tsdae"))
    row.train(progress=False)
    found = row.encoder(progress=False).encode(["Sort an array."])
    monkeypatch.setattr(runs, "runs_folder", lambda: tmp_path)
    made = row.encoder(progress=False).encode(["Sort an array."])
    assert abs(found - made).max() < 1e-5


@pytest.mark.parametrize(
    "row, title",
    [("bm25", "BM25"), (("reranked", "bm25"), "BM25 + cross-encoder"), ("base", "Base encoder")],
)
def test_rows_without_training(row, title, gpl):
    record = measured(row)
    assert record.training is None and record.title == title
    assert set(record.results) == set(gpl.results)
    assert record.results["questions"]["per_query"].keys() == gpl.results["questions"]["per_query"].keys()


@needs_minilm
@pytest.mark.parametrize("stage", ["cropping_gentle", "tsdae"])
def test_a_row_may_start_from_a_finished_encoder(stage, gpl):
    row = ("minilm", stage)
    record = measured(row)
    assert record.title == f"all-MiniLM-L6-v2 → {STAGES[stage].title}"
    assert record.data["start"] == MINILM_SHA256[:16] != gpl.data["start"]
    assert [s["stage"] for s in record.configuration["stages"]] == [stage] and run(row).is_trained()
    adapted, start = run(row).encoder(), run("minilm").encoder()
    assert adapted.source == str(reference_folder()) and len(adapted.tokenizer) == len(start.tokenizer) > 30_000
    moved = [abs(a - b).max().item() for a, b in zip(adapted.state_dict().values(), start.state_dict().values())]
    assert 0 < max(moved) < 0.1  # its weights, a few small steps further


def test_how_to_search_with_what_a_stage_trained(gpl):
    """By dot product where MarginMSE came last and left the lengths of vectors free, else by cosine; and it is kept."""
    free = dataclasses.replace(TINY, recipes=RECIPES | {"gpl": dataclasses.replace(RECIPES["gpl"], options={})})
    assert run(("source", "gpl"), free).encoder(progress=False).similarity == "dot"
    assert run(("source", "gpl"), free).load_trained()[0].similarity == "dot"
    assert run(("gpl", "source"), free).encoder(progress=False).similarity == "cosine"
    assert run(("source", "gpl")).encoder().similarity == "cosine"  # vectors of one length order as cosines do
    assert run(("source",), free).encoder().similarity == "cosine"


def test_stages_read_what_their_domain_gives(gpl, docs):
    whole = {name: dataclasses.replace(recipe, texts=None) for name, recipe in RECIPES.items()}
    run = partial(as_run, profile=dataclasses.replace(TINY, recipes=whole), domain="target")
    held_out = {s for split in (docs.validation, docs.test) for d in split.documents for s in d.sentences}
    of_target = {d.name for d in docs.train.documents if d.library in adaptation.TARGET}
    sentences = run("simcse").examples()
    allowed = {s for d in docs.train.documents if d.name in of_target for s in d.sentences}
    assert len(sentences) > 5000 and set(sentences) <= allowed and not set(sentences) & held_out
    passages = set(adaptation.target_passages(docs).values())
    for stage in ("mlm", "cropping", "cropping_long", "cropping_gentle"):
        assert set(run(stage).examples()) == passages
    examples = [*run("genq").examples(progress=False), *run("gpl").examples(progress=False)]
    for query, positive, *rest in examples:
        assert query and positive in passages and all(n in passages for n in rest[:1])
    # "target" is the yardstick: never a part of a pipeline without labels
    for stage, libraries in (("source", adaptation.SOURCE), ("target", adaptation.TARGET)):
        bodies = {d.name: set(" ".join(d.sentences).split()) for d in docs.train.documents if d.library in libraries}
        pairs, named = adaptation.source_pairs(docs, libraries)
        assert run(stage).examples() == [(summary, named[name]) for summary, name in pairs]
        assert all(set(named[name].split()) <= bodies[name] for _, name in pairs)
    assert len(stages.passages_to_ask_about(TINY)) == TINY.target_passages


def test_gpl_with_bm25_learns_the_mean_of_two_margins_for_the_same_triples(gpl):
    plain, helped = (run(stage).examples(progress=False) for stage in ("gpl", "gpl_bm25"))
    assert [t[:3] for t in helped] == [t[:3] for t in plain]
    search = BM25Search(stages.pseudo_labels(run("gpl"), progress=False).passages)
    hits = {query: {h.text: h.score for h in search.search(query, len(search))} for query, *_ in plain}
    for (query, positive, negative, first), (*_, margin) in zip(plain, helped):
        by_words = hits[query].get(positive, 0) - hits[query].get(negative, 0)  # what shares no word is no hit
        assert margin == pytest.approx((first + by_words) / 2, abs=1e-4)
    for stage in ("gpl_bm25_long", "genq_long"):
        asked_about = {positive for _, positive, *_ in run(stage).examples(progress=False)}
        assert TINY.target_passages < len(asked_about) <= 4 * TINY.target_passages
    record = measured(("source", "gpl_bm25"))
    assert record.title == "source labels → GPL with BM25" and record.training["objective"]["name"] == "MarginMSE"
    assert {"cross_encoder", "query_generator"} <= set(record.data)


def test_a_stage_is_known_by_what_it_reads(gpl):
    other = dataclasses.replace(TINY, target_passages=5)
    keys = {
        run(row, p, s).training_key for row in (("source",), ("source", "gpl")) for p in (TINY, other) for s in (0, 1)
    }
    assert len(keys) == 6  # how many passages are asked about changes nothing for the source's labels


def test_gpl_is_known_by_the_encoder_that_mined_its_negatives(gpl):
    other = dataclasses.replace(TINY, recipes=RECIPES | {"source": dataclasses.replace(RECIPES["source"], steps=3)})
    for row in (("source", "gpl"), ("minilm", "gpl"), ("cropping", "gpl")):
        assert run(row).training_key != run(row, other).training_key
    assert run(("source", "genq")).before.training_key != run(("source", "genq"), other).before.training_key
    assert run(("minilm", "genq")).training_key == run(("minilm", "genq"), other).training_key  # mines nothing


def test_a_stage_of_the_target_is_refused_elsewhere():
    with pytest.raises(ValueError, match="stage 'genq' reads texts of the target"):
        as_run(("source", "genq")[1:], TINY)


def test_the_search_that_nobody_chose(monkeypatch):
    """BM25 while nothing useful has been trained; then BM25 with the best encoder that has been."""
    trained = set()
    monkeypatch.setattr(Run, "is_trained", lambda run: run.name in trained)
    assert experiments.default_search(TINY) == "bm25"
    for name, title in (("mlm", "Base encoder"), ("simcse", "SimCSE"), ("cropping", "cropping")):
        trained.add(name)
        assert experiments.search_title("hybrid", TINY) == f"BM25 and {title}, merged"
    assert experiments.default_search(TINY) == "hybrid"


def test_a_search_with_an_adapted_encoder(gpl):
    texts = ["Sort an array.", "Read a table."]
    hits = experiments.searcher("gpl", texts, TINY, progress=False).search("sort", k=2)
    vectors = run(("source", "gpl")).encoder().encode(["sort", *texts], normalize=True)
    scores = sorted((vectors[1:] @ vectors[0]).tolist(), reverse=True)
    assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)
    titles = {"BM25", "Base encoder", "source labels → GPL", "BM25 and Base encoder, merged"}
    assert titles <= set(experiments.trained_searchers(["a"], TINY))
    with pytest.raises(FileNotFoundError, match="'gpl' has not been trained in the smoke profile yet; notebooks"):
        experiments.searcher("gpl", texts, dataclasses.replace(TINY, target_passages=5))
    with pytest.raises(FileNotFoundError, match="run: course compare simcse"):
        experiments.searcher("simcse", texts, TINY)
