"""Runs are trained and measured once; what they are known by does not depend on the network or on other packages."""

import dataclasses
import json
import shutil
import socket
from importlib import metadata

import pytest

from course_lib import objectives
from course_lib.experiments import (
    PROFILES,
    Run,
    RunRecord,
    as_run,
    compare,
    comparison,
    current_profile,
    load_or_run,
    runs,
)
from course_lib.experiments import records as records_module
from course_lib.recipes.recorded_runs import EXAMPLES, chosen_runs
from course_lib.texts import hub


def with_steps(steps):
    """The smoke profile, smaller still. Embedding what queries are searched in takes most of the time here."""
    recipes = PROFILES["smoke"].recipes.items()
    recipes = {name: dataclasses.replace(recipe, steps=steps, batch_size=16, texts=500) for name, recipe in recipes}
    return dataclasses.replace(PROFILES["smoke"], queries=6, recipes=recipes)


SMOKE = with_steps(3)


def run(name, profile=SMOKE, seed=0):
    return as_run(name, profile, seed)


@pytest.fixture(scope="module")
def records():
    """BM25, the base encoder and SimCSE with two seeds, really run."""
    return [
        load_or_run(run(n, seed=seed), progress=False)
        for n, seed in (("bm25", 0), ("base", 0), ("simcse", 0), ("simcse", 1))
    ]


@pytest.fixture
def nothing_runs(monkeypatch):
    """Neither training nor measuring is allowed."""

    def forbid(patch=monkeypatch):
        patch.setattr(runs, "train", lambda *a, **k: pytest.fail("trained again"))
        patch.setattr(runs, "measure", lambda *a, **k: pytest.fail("measured again"))

    return forbid


def test_a_record_holds_what_is_needed_to_judge_and_repeat_a_run(records):
    simcse = records[2]
    assert simcse.training["config"]["steps"] == 3 and len(simcse.training["steps"]) == 3
    assert simcse.versions["torch"] and simcse.machine["cores"] >= 1
    assert simcse.data["texts"] and simcse.data["start"] == runs.start_weights("base", SMOKE)
    assert simcse.recipe == json.loads(json.dumps(SMOKE.recipes["simcse"].settings()))
    assert simcse.seconds > 0 and simcse.texts_per_second > 0 and simcse.peak_memory > 10**8
    for task in ("summary_to_description", "see_also", "questions", "across_libraries"):
        values = simcse.results[task]["per_query"].values()
        assert len(values) == SMOKE.queries
        assert simcse.results[task]["value"] == pytest.approx(sum(values) / SMOKE.queries, abs=1e-4)


def test_a_finished_run_is_not_repeated(records, nothing_runs):
    nothing_runs()
    assert load_or_run(run("simcse"), progress=False) == RunRecord(
        **json.loads(json.dumps(dataclasses.asdict(records[2])))
    )


def test_a_run_is_found_offline_online_and_beside_other_packages(records, nothing_runs, monkeypatch):
    """What was trained without a network is found with one, and after an update of a package that trains nothing."""
    nothing_runs()
    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("a look-up touched the network"))
    monkeypatch.setattr(hub, "available", lambda name: False)
    assert load_or_run(run("simcse")).results.keys() == records[2].results.keys()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    real = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "99.0" if name in ("datasets", "bm25s", "scipy") else real(name)
    )
    assert load_or_run(run("simcse")).results == records[2].results
    key = run("simcse").training_key
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == "torch" else real(name))
    runs._numerics.cache_clear()
    assert run("simcse").training_key != key
    monkeypatch.undo()
    runs._numerics.cache_clear()


def test_how_many_queries_are_measured_is_no_part_of_the_training(records, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *a, **k: pytest.fail("trained again"))
    more = load_or_run(run("simcse", dataclasses.replace(SMOKE, queries=7)), progress=False)
    assert len(more.results["questions"]["per_query"]) == 7 and more.training == records[2].training


def test_a_task_that_was_absent_is_measured_when_it_is_there(records, monkeypatch):
    """STS-B arrives later: it is added, and nothing else is measured or trained again."""
    pairs = [f"A sentence, number {n}." for n in range(40)]
    sts = pairs[:20], pairs[20:], [n / 4 for n in range(20)]
    monkeypatch.setattr(hub, "available", lambda name: False)
    alone = load_or_run(run("simcse", seed=7), progress=False)
    assert records_module.STS not in alone.results
    monkeypatch.setattr(hub, "available", lambda name: True)
    monkeypatch.setattr(hub, "load_sts", lambda split: sts)
    monkeypatch.setattr(records_module, "evaluate_retrieval", lambda *a, **k: pytest.fail("measured again"))
    later = load_or_run(run("simcse", seed=7), progress=False)
    assert len(later.results[records_module.STS]["per_query"]) == 20
    assert {t: r for t, r in later.results.items() if t != records_module.STS} == alone.results


def test_a_run_stopped_before_it_was_measured_does_not_train_again(monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "measure", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        load_or_run(run("simcse", seed=5), progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "train", lambda *a, **k: pytest.fail("trained again"))
        later = load_or_run(run("simcse", seed=5), progress=False)
    whole = load_or_run(run("simcse", seed=5), refresh=True, progress=False)
    assert later.results == whole.results and len(later.training["steps"]) == 3


def stop_at_batch(monkeypatch, number):
    """Press Ctrl-C, so to speak, at a batch of SimCSE; returns the true forward."""
    real, calls = objectives.SimCSE.forward, []

    def stops(self, batch):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(objectives.SimCSE, "forward", stops)
    return real


def test_an_interrupted_run_leaves_no_record_and_goes_on_where_it_was(monkeypatch):
    whole = load_or_run(run("simcse", seed=3), progress=False)
    folder = run("simcse", seed=3).folder
    shutil.rmtree(folder)
    real = stop_at_batch(monkeypatch, 3)
    monkeypatch.setattr(runs, "measure", lambda *a, **k: pytest.fail("measured a half-trained encoder"))
    with pytest.raises(KeyboardInterrupt):
        load_or_run(run("simcse", seed=3), progress=False)
    assert not list(folder.glob("*.json")) and not run("simcse", seed=3).is_trained()
    monkeypatch.undo()
    monkeypatch.setattr(objectives.SimCSE, "forward", real)
    resumed = load_or_run(run("simcse", seed=3), progress=False)
    losses = [[s["loss"] for s in r.training["steps"]] for r in (whole, resumed)]
    assert losses[0] == losses[1] and resumed.results["questions"] == whole.results["questions"]


def test_an_interruption_stops_the_whole_comparison(monkeypatch):
    """Neither the next method is trained nor anything returned that a table could show."""
    stop_at_batch(monkeypatch, 2)
    monkeypatch.setattr(objectives.ContrastiveTension, "forward", lambda *a: pytest.fail("trained the next method"))
    with pytest.raises(KeyboardInterrupt):
        compare(with_steps(4), ["simcse", "ct"], seeds=[11], progress=False, say=lambda line: None)


def test_other_settings_are_another_run(records):
    keys = {run("simcse", p, s).training_key for p in (SMOKE, with_steps(4)) for s in (0, 1)}
    assert len(keys) == 4
    with_start = {Run(start, ("simcse",), SMOKE).training_key for start in ("base", "base_cls")}
    with_domain = {Run("base", ("simcse",), SMOKE, domain=d).training_key for d in ("python", "target")}
    assert len(with_start) == len(with_domain) == 2


def test_a_training_is_known_by_the_texts_and_not_by_what_measures(docs, monkeypatch):
    key = run("simcse").training_key
    first = docs.train.documents[0]
    reworded = [
        dataclasses.replace(first, paragraphs=[["Another sentence altogether."]]) if d is first else d
        for d in docs.documents
    ]
    asked = [q | {"question": q["question"] + " Really?"} for q in docs.questions]
    for documents, questions, same in ((reworded, docs.questions, False), (docs.documents, asked, True)):
        other = type(docs)(documents, questions)
        monkeypatch.setattr(runs, "load_docs", lambda other=other: other)
        assert (run("simcse").training_key == key) is same


def test_neither_the_order_of_options_nor_the_profile_s_name_is_another_run():
    options = ({"temperature": 0.1, "x": 1}, {"x": 1, "temperature": 0.1})
    recipes = [SMOKE.recipes | {"simcse": dataclasses.replace(SMOKE.recipes["simcse"], options=o)} for o in options]
    profiles = [dataclasses.replace(SMOKE, recipes=r, name=f"name {n}") for n, r in enumerate(recipes)]
    assert len({run("simcse", profile).folder for profile in profiles}) == 1


def test_only_training_texts_reach_the_objectives(docs):
    held_out = {d.name for split in (docs.validation, docs.test) for d in split.documents}
    assert not held_out & {d.name for d in docs.train.documents}
    assert set(run("simcse").examples()) <= set(docs.train.sentences)
    assert set(run("mlm", PROFILES["cpu"]).examples()) == set(docs.train.passages)


def test_what_a_profile_does_not_train_is_shown_as_recorded(records, tmp_path, monkeypatch):
    """A plain `course compare` trains what its time allows; the other rows say that they come from elsewhere."""
    profile = dataclasses.replace(SMOKE, trains=("mlm",), name="quick")
    monkeypatch.setattr(runs, "runs_folder", lambda: tmp_path / "runs")  # nothing has been trained here
    monkeypatch.setattr(records_module, "RECORDS", tmp_path)
    monkeypatch.setattr(comparison, "COMPARISON", ("bm25", "simcse"))
    for record in records[2:]:
        record.save(tmp_path / f"quick-simcse-{record.seed}.json")
    said = []
    shown = compare(profile, progress=False, say=said.append)
    rows = [(r.method, r.seed, r.note) for r in shown]
    assert rows == [("bm25", 0, ""), ("simcse", 0, "recorded"), ("simcse", 1, "recorded")]
    assert "course compare simcse" in said[-1]
    other = dataclasses.replace(profile, recipes=with_steps(2).recipes)
    assert not records_module.shipped_records(run("simcse", other))  # other settings: nothing was recorded
    assert [r.note for r in compare(profile, ["simcse"], progress=False, say=said.append)] == [""]  # asked for by name
    assert [r.note for r in compare(profile, progress=False, say=said.append)] == ["", ""]  # now it is there


def test_what_is_trained_unasked_is_trained_first(monkeypatch):
    """An interrupted `make course` has then made the encoder that `course search` takes; rows keep their order."""
    monkeypatch.setattr(
        comparison, "load_or_run", lambda run, progress: trained.append(run.name) or runs._new_record(run, "test")
    )
    monkeypatch.setattr(comparison, "shipped_records", lambda run: [])
    monkeypatch.setattr(comparison, "COMPARISON", ["bm25", "mlm", "simcse", "cropping"])
    trained = []
    profile = dataclasses.replace(SMOKE, trains=("cropping", "simcse"), name="in order")
    shown = compare(profile, progress=False, say=lambda line: None)
    assert trained == ["cropping", "simcse", "bm25"]
    assert [r.method for r in shown] == ["bm25", "simcse", "cropping"]
    trained.clear()
    compare(profile, seeds=range(2), progress=False, say=lambda line: None, full=True)
    assert trained == ["cropping", "cropping", "simcse", "simcse", "bm25", "mlm", "mlm"]


def test_pipelines_are_run_on_the_target_with_every_seed_and_do_without_minilm(monkeypatch):
    monkeypatch.setattr(comparison, "load_or_run", lambda run, progress: runs._new_record(run, "test"))
    monkeypatch.setattr(comparison, "PIPELINES", (("source", "genq"), ("hybrid", "source"), "bm25", "minilm"))
    monkeypatch.setattr(comparison, "reference_folder", lambda: None)
    said = []
    shown = comparison.compare_pipelines(SMOKE, seeds=range(2), progress=False, say=said.append)
    trained = ["target-source-genq"] * 2 + ["target-hybrid-source"] * 2
    assert [(r.method, r.seed) for r in shown] == [*zip(trained, [0, 1, 0, 1]), ("target-bm25", 0)]
    assert [line for line in said if "left out" in line] == [
        "all-MiniLM-L6-v2's weights are not on this machine: all-MiniLM-L6-v2 (supervised) is left out."
    ]


def test_what_trains_nothing_is_measured_only_where_no_record_fits(records, tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "RECORDS", tmp_path)
    measured = []
    monkeypatch.setattr(runs, "measure", lambda *a: measured.append(1) or {})
    shipped, path = records[1], tmp_path / "smoke-base-0.json"
    fresh = dataclasses.replace(SMOKE, name="elsewhere", queries=9)  # not in the cache
    record = dataclasses.replace(shipped, configuration=shipped.configuration | {"queries": 9})
    record.save(path)
    assert load_or_run(run("base", fresh)) == dataclasses.replace(record, profile="elsewhere") and not measured
    for part in ("texts", "start"):
        dataclasses.replace(record, data=record.data | {part: "another"}).save(path)
        shutil.rmtree(run("base", fresh).folder, ignore_errors=True)
        assert load_or_run(run("base", fresh)).results == {} and measured.pop()


def test_shipped_records_are_found_by_todays_recipes():
    """Every record that ships has the recipes, weights and passages of today."""
    cpu, seeds = PROFILES["cpu"], {}
    rows = {(run.name, run.seed): run for run in chosen_runs()}
    for path in sorted(records_module.RECORDS.glob("*-[0-9]*.json")):
        record = RunRecord.load(path)
        seeds.setdefault(record.method, []).append(record.seed)
        of_row = rows[record.method, record.seed]
        assert of_row.title == record.title
        assert record in records_module.shipped_records(of_row), path.name
        assert path.name == f"cpu-{of_row.name}-{record.seed}.json"
    assert set(seeds) >= {*comparison.COMPARISON, *EXAMPLES, "static", "whitened", "target-bm25", "target-minilm"}
    assert all(found == list(range(len(found))) for found in seeds.values())
    changed = dataclasses.replace(
        cpu, recipes=cpu.recipes | {"simcse": dataclasses.replace(cpu.recipes["simcse"], steps=9)}
    )
    assert records_module.shipped_records(as_run("ct", changed))
    assert not records_module.shipped_records(as_run("simcse", changed))


def test_a_damaged_record_says_what_to_do(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"method": "simcse"')
    with pytest.raises(ValueError, match="delete it and run again"):
        RunRecord.load(path)


def test_runs_of_an_earlier_version_are_set_aside_and_named(folder, monkeypatch):
    from course_lib import doctor

    monkeypatch.setattr(runs, "cache_folder", lambda: folder)
    monkeypatch.setattr(runs, "runs_folder", lambda: folder / "runs-2")
    old = folder / "runs" / "cpu-simcse-0-0123456789ab"
    old.mkdir(parents=True, exist_ok=True)
    (old / "record.json").write_text('{"method": "simcse", "title": "SimCSE", "accumulate": 1}')
    assert old in runs.foreign_runs()
    check = doctor._old_runs()
    assert check.state == "note" and "earlier version" in check.found and "can be deleted" in check.remedy


def test_the_same_recipes_at_a_number_of_sentences():
    profile = PROFILES["cpu"].at_sentences(6400)
    assert {n: r.steps * r.batch_size for n, r in profile.recipes.items()} == dict.fromkeys(profile.recipes, 6400)
    assert profile.name != "cpu" and profile.recipes["ct"].learning_rate == PROFILES["cpu"].recipes["ct"].learning_rate
    with pytest.raises(ValueError, match="sentences is 5; one batch already takes more"):
        PROFILES["cpu"].at_sentences(5)


def test_profiles(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    assert current_profile().name == "smoke"
    monkeypatch.setenv("COURSE_PROFILE", "fast")
    with pytest.raises(ValueError, match="COURSE_PROFILE takes smoke, cpu, gpu, full"):
        current_profile()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("base", ("word2vec",)), "there is no stage 'word2vec'; choose among mlm"),
        (("word2vec", ()), "there is no start 'word2vec'; choose among bm25"),
        (("base", ("source", "minilm")), "there is no stage 'minilm'"),  # a start, and no stage
        (("bm25", ("simcse",)), "BM25 cannot be trained"),
    ],
)
def test_names_that_are_in_no_table(arguments, message):
    with pytest.raises(ValueError, match=message):
        Run(*arguments, SMOKE)


def test_every_profile_has_a_recipe_for_every_stage():
    for profile in PROFILES.values():
        assert set(profile.recipes) == set(runs.STAGES)
