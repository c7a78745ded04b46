"""A run with a changed recipe: its name, its training, its record; and the sweeps made of such runs."""

import dataclasses

import pytest

from course_lib.experiments import (
    ALL,
    AMOUNTS,
    COMPARISON,
    PROFILES,
    SWEEPS,
    Run,
    as_run,
    load_or_run,
    records,
    runs,
    stages,
)
from course_lib.experiments.sweeps import Sweep
from course_lib.objectives import DenoisingAutoEncoder
from course_lib.recipes import recorded_runs

RECIPES = {n: dataclasses.replace(r, steps=2, batch_size=16, texts=None) for n, r in PROFILES["smoke"].recipes.items()}
SMOKE = dataclasses.replace(PROFILES["smoke"], queries=6, recipes=RECIPES)


def changed(**changes):
    return as_run("simcse", SMOKE, changes=changes)


def test_changes_reach_the_recipe_of_the_last_stage_alone():
    run = Run("base", ("mlm", "simcse"), SMOKE, changes={"temperature": 0.2, "steps": 3})
    assert run.recipe.options == {"temperature": 0.2} and run.config().steps == 3
    assert run.before == Run("base", ("mlm",), SMOKE) and run.before.recipe == SMOKE.recipes["mlm"]
    assert [s["recipe"]["steps"] for s in run.configuration()["stages"]] == [2, 3]
    assert run.name == "mlm-simcse-temperature-0.2-steps-3" and run.title == "MLM → SimCSE, temperature 0.2, steps 3"
    assert run.folder != Run("base", ("mlm", "simcse"), SMOKE).folder


def test_a_value_that_the_recipe_has_is_no_change():
    assert changed(temperature=0.05) == as_run("simcse", SMOKE) == changed(steps=2)
    assert changed(temperature=0.05, dropout=0.3) == changed(dropout=0.3)
    with pytest.raises(ValueError, match="without a stage there is no recipe to change"):
        as_run("base", SMOKE, changes={"temperature": 0.2})


def test_a_sweep_s_records_are_made_and_found_by_the_same_code(docs, tmp_path, monkeypatch):
    few = dataclasses.replace(stages.DOMAINS["python"], sentences=lambda: docs.train.sentences[:500])
    monkeypatch.setitem(stages.DOMAINS, "python", few)
    monkeypatch.setitem(PROFILES, "smoke", SMOKE)
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    rows = [recorded_runs.Row("simcse", profile="smoke", seeds=(0,), changes=c) for c in ({}, {"dropout": 0.0})]
    monkeypatch.setattr(recorded_runs, "RECORDED", rows)
    written = recorded_runs.record_runs(recorded_runs.chosen_runs(), progress=False)
    assert [path.name for path in written] == ["smoke-simcse-0.json", "smoke-simcse-dropout-0-0.json"]
    found = Sweep("simcse", {0.1: {}, 0.0: {"dropout": 0.0}, 0.3: {"dropout": 0.3}}).records(SMOKE)
    assert {label: [r.method for r in rs] for label, rs in found.items()} == {
        0.1: ["simcse"],
        0.0: ["simcse-dropout-0"],
        0.3: [],
    }
    assert found[0.0][0].results != found[0.1][0].results and found[0.0][0].title == "SimCSE, dropout 0"
    assert load_or_run(changed(dropout=0.0), progress=False).results == found[0.0][0].results
    assert recorded_runs.stale_files() == [] and [r.method for r in records.load_shipped("simcse")] == ["simcse"]
    monkeypatch.setattr(recorded_runs, "RECORDED", rows[:1])
    assert [path.name for path in recorded_runs.prune()] == ["smoke-simcse-dropout-0-0.json"]


ALL_SWEEPS = {**SWEEPS, **{f"amount, {row}": sweep for row, sweep in AMOUNTS.items()}}


@pytest.mark.parametrize("sweep", ALL_SWEEPS.values(), ids=ALL_SWEEPS)
def test_the_sweeps_that_ship(sweep):
    """At most four settings (amounts: three at two rates), the recipe among them: the comparison's own record."""
    made = sweep.runs()
    assert len(made) <= (6 if sweep in AMOUNTS.values() else 4)
    assert len({run.name for run in made.values()}) == len(made)
    assert [run.name for run in made.values() if not run.changes] == [as_run(sweep.row, PROFILES["cpu"]).name]
    rows = {run.name for row in recorded_runs.RECORDED for run in row.runs()}
    assert {run.name for run in made.values()} <= rows
    assert not {run.name for run in made.values() if run.changes} & {*COMPARISON}


@pytest.mark.parametrize(
    "name, changed", [("temperature", "temperature"), ("dropout", "dropout"), ("deletion", "deletion_probability")]
)
def test_the_label_of_the_recipe_is_its_value(name, changed):
    """A setting written as {} must be what its label says: from the recipe, the objective or the base encoder."""
    (label,) = [label for label, run in SWEEPS[name].runs().items() if not run.changes]
    run = SWEEPS[name].runs()[label]
    config = runs.SentenceEncoder.from_pretrained(PROFILES["cpu"].base_encoder).transformer.config
    default = DenoisingAutoEncoder.__init__.__defaults__[0]
    known = {"dropout": config.hidden_dropout_prob, "deletion_probability": default, **run.recipe.options}
    assert known[changed] == label
    assert all(other.changes in ({}, {changed: at}) for at, other in SWEEPS[name].runs().items())


def test_texts_are_drawn_for_each_seed_and_none_leaves_the_training_as_it_was():
    whole, few = changed(), [as_run("simcse", SMOKE, seed, changes={"texts": 50}) for seed in (0, 1)]
    drawn = [run.examples() for run in few]
    assert [len(set(texts)) for texts in drawn] == [50, 50] and drawn[0] != drawn[1]
    assert set(drawn[0]) < set(whole.examples()) and drawn[0] == few[0].examples()
    assert few[0].name == "simcse-texts-50" and few[0].folder != whole.folder
    assert "texts" not in whole.recipe.settings() and few[0].recipe.settings()["texts"] == 50


@pytest.mark.parametrize("row", AMOUNTS)
def test_amounts_are_trained_in_the_recipe_s_steps_at_two_rates(row):
    recipe, made = PROFILES["cpu"].recipes[row], AMOUNTS[row].runs()
    assert {(run.recipe.texts or ALL, run.recipe.learning_rate) for run in made.values()} == set(made)
    assert {run.recipe.steps for run in made.values()} == {recipe.steps}
    assert {rate for _, rate in made} == {recipe.learning_rate, 1e-4} and len(made) == 6
