"""Validation results of the target's rows: measured with labels and without, and found again by the run's name."""

import pytest

from course_lib.experiments import PROFILES, as_run, domain_adaptation, load_docs
from course_lib.recipes import target_validation as recipe

LABELLED = {"summary_to_description", "see_also"}  # no question was asked about a validation document
PROXIES = {"heading_to_passage", "half_to_half"}


def test_every_row_of_the_target_is_there_once():
    names = [run.name for run in recipe.target_runs()]
    assert len(set(names)) == len(names) and all(name.startswith("target-") for name in names)
    assert {"target-bm25", "target-source", "target-source-gpl", "target-minilm-cropping_gentle"} <= set(names)
    assert {run.seed for run in recipe.target_runs()} == {0}


def test_what_is_measured_comes_back_as_records(monkeypatch, tmp_path, capsys):
    bm25 = as_run("bm25", PROFILES["cpu"], domain="target")
    untrained = as_run(("source", "genq"), PROFILES["smoke"], seed=99, domain="target")
    monkeypatch.setattr(recipe, "RECORD", tmp_path / "target-validation.json")
    monkeypatch.setattr(recipe, "target_runs", lambda: [bm25, untrained])
    recipe.main()
    assert capsys.readouterr().out == "BM25\n" and recipe.as_records([untrained]) == {}
    record = recipe.as_records([bm25])["target-bm25"]
    assert set(record.results) == LABELLED | PROXIES
    tasks = domain_adaptation.target_tasks(load_docs(), split="validation") | recipe.proxy_tasks()
    for name, result in record.results.items():
        assert list(result["per_query"]) == [str(query) for query in tasks[name].queries]
        assert sum(result["per_query"].values()) / len(result["per_query"]) == pytest.approx(result["value"], abs=1e-4)
    recipe.main()
    assert capsys.readouterr().out == ""  # nothing is measured twice


def test_what_ships_belongs_to_rows():
    assert set(recipe.load()) <= {run.name for run in recipe.target_runs()}
    assert len(recipe.as_records(recipe.target_runs())) == len(recipe.load())
