"""Runs are kept and never repeated; the comparison is computed from their records alone."""

import dataclasses
import json
import shutil

import pytest

from course_lib.experiments import comparison, objectives
from course_lib.experiments import runs as experiments
from course_lib.experiments.comparison import RunRecord
from course_lib.experiments.profiles import PROFILES, current_profile

QUERIES = 6  # of each task: embedding what they are searched in takes most of the time here


def with_steps(steps):
    """The smoke profile, smaller still."""
    recipes = {
        name: dataclasses.replace(recipe, steps=steps, batch_size=16)
        for name, recipe in PROFILES["smoke"].recipes.items()
    }
    return dataclasses.replace(PROFILES["smoke"], queries=QUERIES, recipes=recipes)


SMOKE = with_steps(3)


@pytest.fixture(autouse=True)
def runs(tmp_path_factory, monkeypatch, request):
    folder = tmp_path_factory.mktemp("runs")
    monkeypatch.setattr(experiments, "runs_folder", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def records(tmp_path_factory, docs):
    """BM25, the base encoder and SimCSE with two seeds, really run."""
    folder = tmp_path_factory.mktemp("module-runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "runs_folder", lambda: folder)
        return [
            experiments.run(method, SMOKE, seed, progress=False)
            for method, seed in (("bm25", 0), ("base", 0), ("simcse", 0), ("simcse", 1))
        ]


def test_a_record_holds_what_is_needed_to_judge_and_repeat_a_run(records):
    simcse = records[2]
    assert simcse.training["config"]["steps"] == 3 and len(simcse.training["steps"]) == 3
    assert simcse.versions["torch"] and simcse.machine["cores"] >= 1
    assert simcse.data["texts"] and simcse.data["base_encoder"]
    assert simcse.seconds > 0 and simcse.texts_per_second > 0 and simcse.peak_memory > 10**8
    for task in ("summary_to_description", "see_also", "questions", "across_libraries"):
        values = simcse.results[task]["per_query"].values()
        assert len(values) == QUERIES
        assert simcse.results[task]["value"] == pytest.approx(sum(values) / QUERIES, abs=1e-4)


def test_a_finished_run_is_not_repeated(monkeypatch):
    first = experiments.run("simcse", SMOKE, progress=False)
    monkeypatch.setattr(experiments, "train", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(comparison, "measure", lambda *a, **k: pytest.fail("measured again"))
    assert experiments.run("simcse", SMOKE, progress=False) == RunRecord(
        **json.loads(json.dumps(dataclasses.asdict(first)))
    )


def test_a_run_stopped_before_it_was_measured_does_not_train_again(monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(comparison, "measure", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        experiments.run("simcse", SMOKE, seed=5, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "train", lambda *a, **k: pytest.fail("trained again"))
        later = experiments.run("simcse", SMOKE, seed=5, progress=False)
    whole = experiments.run("simcse", SMOKE, seed=5, refresh=True, progress=False)
    assert later.results == whole.results and len(later.training["steps"]) == 3


def test_an_interrupted_run_goes_on_where_it_was(monkeypatch):
    whole = experiments.run("simcse", SMOKE, seed=3, progress=False)
    folder = experiments.run_folder(whole)
    shutil.rmtree(folder)
    real, calls = objectives.SimCSE.forward, []

    def stops(self, batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(objectives.SimCSE, "forward", stops)
    interrupted = experiments.run("simcse", SMOKE, seed=3, progress=False)
    assert interrupted.training["outcome"] == "interrupted" and not (folder / "record.json").exists()
    monkeypatch.setattr(objectives.SimCSE, "forward", real)
    resumed = experiments.run("simcse", SMOKE, seed=3, progress=False)
    losses = [[s["loss"] for s in r.training["steps"]] for r in (whole, resumed)]
    assert losses[0] == losses[1]
    assert resumed.results["questions"] == whole.results["questions"]


def test_other_settings_are_another_run():
    longer = with_steps(4)
    folders = {experiments.run_folder(experiments._blank("simcse", p, s)) for p in (SMOKE, longer) for s in (0, 1)}
    assert len(folders) == 4


def test_only_training_texts_reach_the_objectives(docs):
    held_out = {d.name for split in (docs.validation, docs.test) for d in split.documents}
    train_names = {d.name for d in docs.train.documents}
    assert not held_out & train_names
    assert set(experiments.training_texts("simcse")) <= set(docs.train.sentences)
    assert set(experiments.training_texts("mlm")) == set(docs.train.passages)


def test_the_table_is_computed_from_records_alone(records, tmp_path):
    paths = []
    for i, record in enumerate(records):
        paths.append(tmp_path / f"{i}.json")
        record.save(paths[-1])
    rows = comparison.table([RunRecord.load(p) for p in paths])
    assert [r["method"] for r in rows] == ["BM25", "Base encoder", "SimCSE"]
    assert rows[2]["seeds"] == 2
    seeds = [r.results["see_also"]["value"] for r in records[2:]]
    value, low, high = rows[2]["see_also"]
    assert value == pytest.approx(sum(seeds) / 2, abs=1e-4) and low <= value <= high
    assert rows[0]["seconds"] is None and rows[2]["seconds"] > 0
    assert "SimCSE" in comparison.as_markdown(records)


def test_a_damaged_record_says_what_to_do(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"method": "simcse"')
    with pytest.raises(ValueError, match="delete it and run again"):
        RunRecord.load(path)


def test_the_page_escapes_what_it_shows_and_the_picture_is_one(records, tmp_path):
    hostile = dataclasses.replace(records[0], title="<script>alert(1)</script>")
    files = experiments.write_comparison([hostile, *records[1:]], tmp_path)
    page = files["page"].read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "alt='" in page
    assert files["picture"].read_bytes().startswith(b"\x89PNG")


def test_what_a_profile_does_not_train_is_shown_as_recorded(records, runs, tmp_path, monkeypatch, docs):
    """A plain `course compare` trains what its time allows; the other rows say that they come from elsewhere."""
    profile = dataclasses.replace(SMOKE, trains=("mlm",), name="quick")
    monkeypatch.setattr(experiments, "RECORDED", tmp_path)
    monkeypatch.setattr(experiments, "METHODS", {m: experiments.METHODS[m] for m in ("bm25", "simcse")})
    for record in records[2:]:
        record.save(tmp_path / f"quick-simcse-{record.seed}.json")
    said = []
    shown, _ = experiments.compare(profile, progress=False, say=said.append)
    assert [(r.method, r.seed, r.note) for r in shown] == [
        ("bm25", 0, ""),
        ("simcse", 0, "recorded"),
        ("simcse", 1, "recorded"),
    ]
    assert [row["method"] for row in comparison.table(shown)] == ["BM25", "SimCSE (recorded)"]
    assert "course compare simcse" in said[-1]
    other = dataclasses.replace(profile, recipes=with_steps(2).recipes)
    assert not experiments.recorded_runs("simcse", other)  # other settings: nothing was recorded
    trained, _ = experiments.compare(profile, ["simcse"], progress=False, say=said.append)  # asked for by name
    assert [r.note for r in trained] == [""]
    assert [r.note for r in experiments.compare(profile, progress=False, say=said.append)[0]] == [
        "",
        "",
    ]  # now it is there


def test_what_trains_nothing_is_measured_only_where_no_record_fits(records, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "RECORDED", tmp_path)
    monkeypatch.setattr(experiments, "run", lambda method, profile: "measured here")
    shipped, path = records[1], tmp_path / "smoke-base-0.json"
    assert experiments.measured("base", SMOKE) == "measured here"
    shipped.save(path)
    assert experiments.measured("base", SMOKE) == shipped
    assert experiments.measured("base", dataclasses.replace(SMOKE, queries=7)) == "measured here"
    for part in ("texts", "base_encoder"):
        dataclasses.replace(shipped, data=shipped.data | {part: "another"}).save(path)
        assert experiments.measured("base", SMOKE) == "measured here"


def test_the_same_recipes_at_a_number_of_sentences():
    profile = PROFILES["cpu"].at_sentences(6400)
    assert {name: r.steps * r.batch_size for name, r in profile.recipes.items()} == dict.fromkeys(profile.recipes, 6400)
    assert (
        profile.name != PROFILES["cpu"].name
        and profile.recipes["ct"].learning_rate == PROFILES["cpu"].recipes["ct"].learning_rate
    )
    with pytest.raises(ValueError, match="sentences is 5; a batch alone takes more"):
        PROFILES["cpu"].at_sentences(5)


def test_profiles(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    assert current_profile().name == "smoke"
    monkeypatch.setenv("COURSE_PROFILE", "fast")
    with pytest.raises(ValueError, match="COURSE_PROFILE takes smoke, cpu, gpu, full"):
        current_profile()


def test_unknown_method_and_untrained_method(docs):
    with pytest.raises(ValueError, match="choose one of bm25"):
        experiments.run("word2vec", SMOKE)
    with pytest.raises(FileNotFoundError, match="course compare"):
        experiments.load_encoder("simcse", with_steps(999))


def test_races_at_equal_sentences_and_at_equal_seconds(records):
    def run(method, texts, seconds, seed=0):
        training = {"steps": [{}, {}], "config": {"batch_size": texts // 2, "accumulate": 1}}
        return dataclasses.replace(records[0], method=method, training=training, seconds=seconds, seed=seed)

    runs = [
        records[0],
        run("a", 100, 50),
        run("a", 100, 54, 1),
        run("a", 200, 110),
        run("b", 100, 100),
        run("c", 100, 300),
    ]
    assert comparison.at_equal_sentences(runs, 100) == [runs[1], runs[2], runs[4], runs[5]]
    assert comparison.at_equal_seconds(runs, 100) == [runs[3], runs[4]]  # c has no run of such a length
    assert comparison.at_equal_seconds(runs, 52) == [runs[1], runs[2]]
