"""The command that records: what is missing is made once, most valuable first; what is stale is named and removed."""

import dataclasses
import json

import pytest

from course_lib import objectives
from course_lib.experiments import COMPARISON, PROFILES, STAGES, load_shipped, records, runs
from course_lib.recipes import recorded_runs
from course_lib.recipes.recorded_runs import RECORDED, Row, chosen_runs, main, record_runs


def tiny(steps=2):
    recipes = {n: dataclasses.replace(r, steps=steps, batch_size=8) for n, r in PROFILES["smoke"].recipes.items()}
    return dataclasses.replace(PROFILES["smoke"], name="tiny", recipes=recipes, queries=5)


@pytest.fixture(scope="module")
def table(docs, tmp_path_factory):
    """Two rows of a small profile, and folders of their own."""
    cache, shipped = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("shipped")
    few = dataclasses.replace(runs.DOMAINS["target"], passages=lambda: docs.validation.passages[:100])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "runs_folder", lambda: cache)
        patch.setattr(records, "RECORDS", shipped)
        patch.setitem(PROFILES, "tiny", tiny())
        patch.setitem(runs.DOMAINS, "target", few)
        rows = (Row("mlm", "target", "tiny", seeds=(0, 1)), Row("bm25", "target", "tiny"))
        patch.setattr(recorded_runs, "RECORDED", rows)
        yield shipped


def names(folder):
    return sorted(path.name for path in folder.glob("tiny-*.json"))


def test_it_stops_at_an_interruption_and_goes_on_with_what_is_missing(table, monkeypatch, capsys):
    real, calls = objectives.MaskedLanguageModel.forward, []

    def stops(self, batch):
        calls.append(1)
        if len(calls) == 4:  # in the last step of the second seed
            raise KeyboardInterrupt
        return real(self, batch)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(objectives.MaskedLanguageModel, "forward", stops)
        main([])
    assert stopped.value.code == 130 and "The same command continues" in capsys.readouterr().err
    assert names(table) == ["tiny-target-mlm-0.json"]
    written = [path.name for path in record_runs(chosen_runs(), progress=False)]
    assert written == ["tiny-target-mlm-1.json", "tiny-target-bm25-0.json"]  # in the table's order, the first kept
    assert record_runs(chosen_runs(), progress=False) == []
    assert {r.seed: len(r.training["steps"]) for r in load_shipped("target-mlm")} == {0: 2, 1: 2}


def test_a_changed_recipe_makes_its_records_stale_and_missing(table, monkeypatch, capsys):
    record_runs(chosen_runs(), progress=False)
    main(["--list"])
    assert "there 0 1" in (said := capsys.readouterr().out) and "0 of 3" in said and "stale" not in said
    before = json.loads((table / records.QUERIES).read_text())
    monkeypatch.setitem(PROFILES, "tiny", tiny(steps=3))
    main(["--list"])
    said = capsys.readouterr().out
    assert "missing 0 1" in said and "2 of 3" in said
    assert "stale: tiny-target-mlm-0.json" in said and "stale: tiny-target-bm25-0.json" not in said
    assert len(names(table)) == 3  # only named
    main(["--prune"])
    assert names(table) == ["tiny-target-bm25-0.json"]
    assert load_shipped("target-bm25")[0].results and json.loads((table / records.QUERIES).read_text()) == before
    (written,) = record_runs(chosen_runs(["target-mlm"], seeds=[1]), progress=False)
    assert written.name == "tiny-target-mlm-1.json"


def test_records_of_other_texts_are_not_mixed(table, monkeypatch):
    record_runs(chosen_runs(["target-bm25"]), progress=False)
    (record,) = load_shipped("target-bm25")
    record.data["texts"] = "another"
    record.ship()
    with pytest.raises(SystemExit, match="install the versions of requirements.lock"):
        main(["target-bm25"])


def test_names_that_no_row_has(table):
    with pytest.raises(SystemExit, match="no row of the table is called 'word2vec'; choose among target-mlm"):
        main(["word2vec"])


def test_the_table_that_ships():
    """Every row is a run of today's stages, and no run is there twice."""
    every = [run for row in RECORDED for run in row.runs()]
    assert len({(run.profile.name, run.name, run.seed) for run in every}) == len(every)
    assert {run.name for run in every if run.domain == "python"} >= set(COMPARISON)
    assert all(run.seed == 0 for run in every if not run.stages)
    assert {stage for run in every for stage in run.stages} <= set(STAGES)
