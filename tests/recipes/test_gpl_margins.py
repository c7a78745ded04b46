"""GPL with other margins: each kind changes one thing, and what is recorded comes back as records."""

import dataclasses
import json

import numpy as np
import pytest

from course_lib import experiments
from course_lib.experiments import PROFILES, as_run, shortened, stages
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.recipes import gpl_margins as recipe

RECIPES = {
    name: dataclasses.replace(r, steps=2, batch_size=8, texts=None) for name, r in PROFILES["smoke"].recipes.items()
}
TINY = dataclasses.replace(PROFILES["smoke"], recipes=RECIPES, queries=5, target_passages=4)


@pytest.fixture(scope="module")
def run(generator):
    """A small run of GPL."""
    return as_run(("source", "gpl"), TINY, domain="target")


def test_rescaled_margins_keep_their_order_and_get_the_other_scale():
    triples = [("q", "p", "n", margin) for margin in (1.0, 5.0, -2.0, 8.0)]
    found = [t[-1] for t in recipe.rescaled(triples, [0.3, 0.1, 0.2, 0.0])]
    assert np.argsort(found).tolist() == [3, 1, 2, 0]
    assert np.mean(found) == pytest.approx(3.0) and np.std(found) == pytest.approx(np.std([1.0, 5.0, -2.0, 8.0]))


def test_each_kind_changes_one_thing(run, monkeypatch):
    monkeypatch.setattr(recipe, "weak_cross_encoder", experiments.load_cross_encoder)
    own = stages.pseudo_labels(run, progress=False)
    of = {kind: examples(run) for kind, examples in recipe.KINDS.items()}
    for kind in ("BM25's margins", "a weak cross-encoder"):
        assert [t[:3] for t in of[kind]] == [t[:3] for t in own.margins]
    strong = [t[-1] for t in of["a weak cross-encoder"]]  # here it is the one that ships
    assert strong == pytest.approx([t[-1] for t in own.margins], abs=1e-3)
    assert [t[-1] for t in of["BM25's margins"]] != pytest.approx([t[-1] for t in own.margins], abs=0.5)
    found = [{own.passages[i] for i in mined} for mined in own.mined]
    alone = of["mined negatives alone"]
    assert len(alone) == len(own.margins) and all(t[2] in texts for t, texts in zip(alone, found))


def test_the_notebooks_cross_encoder_learns_from_such_examples():
    examples = recipe.examples_of_relevance(12)
    assert len(examples) <= 12 and all(len(set(example)) == 4 for example in examples)
    config = dataclasses.replace(recipe.WEAK, steps=2, batch_size=4)
    assert len(recipe.weak_cross_encoder(config).model.base_model.encoder.layer) == recipe.WEAK_LAYERS


def test_what_is_recorded_comes_back_as_records(run, monkeypatch, tmp_path):
    tasks = {name: shortened(t, 5) for name, t in adaptation.target_tasks(experiments.load_docs()).items()}
    monkeypatch.setattr(adaptation, "target_tasks", lambda docs: tasks)
    monkeypatch.setattr(recipe, "RECORD", tmp_path / "gpl-margins.json")
    assert recipe.as_records() == {kind: [] for kind in recipe.KINDS}
    kind = "BM25's margins"
    one = recipe.record_one(kind, run)
    recipe.RECORD.write_text(json.dumps({kind: {"0": one}}))
    (record,) = recipe.as_records()[kind]
    assert record.seed == 0 and set(record.results) == set(tasks) and len(one["losses"]) == 2
    for task, result in record.results.items():
        assert list(result["per_query"]) == list(tasks[task].queries)
        assert np.mean(list(result["per_query"].values())) == pytest.approx(result["value"], abs=1e-4)
    assert -1 <= one["agreement"] < 1


def test_what_ships_is_whole():
    for kind, seeds in recipe.load().items():
        assert kind in recipe.KINDS
        for one in seeds.values():
            assert len(one["losses"]) == PROFILES["cpu"].recipes["gpl"].steps
    assert all(record.results for records in recipe.as_records().values() for record in records)
