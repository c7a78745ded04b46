"""The tables of notebook 11 say what the records say."""

import pytest

from course_lib.experiments import load_shipped, report
from course_lib.experiments.claims import CLAIMS
from course_lib.notebook import comparing

TASK = "summary_to_description"


@pytest.fixture(scope="module")
def records():
    return {name: load_shipped(name, profile="cpu") for name in ("simcse", "tsdae", "base")}


def lines(shown):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.data.splitlines()]


def test_recipes_are_those_of_the_records(records):
    _, _, simcse, tsdae = lines(comparing.recipes({name: records[name] for name in ("simcse", "tsdae")}))
    assert simcse == ["SimCSE", "`SimCSE`", "mean", "240 × 64", "15,360", "0.0003", "3"]
    assert tsdae[2:5] == ["cls", "280 × 32", "8,960"] and comparing.sentences(records["tsdae"]) == 8960


def test_the_cost_is_that_of_the_least_disturbed_seed(records):
    assert comparing.fewest_seconds(records["simcse"]) == min(record.seconds for record in records["simcse"])


def test_first_places_come_with_their_difference(records):
    _, _, row = lines(comparing.first_places(records, [TASK]))
    found = report.difference(records["tsdae"], records["simcse"], TASK)
    assert row[1:3] == ["TSDAE", "SimCSE"] and row[3].startswith(f"{found.difference:+.3f} (") and row[4] == "better"


def test_a_seed_has_the_value_of_its_record(records):
    found = comparing.seed_intervals(records["simcse"], TASK)
    assert list(found) == [f"SimCSE, seed {seed}" for seed in range(3)]
    for record, (value, low, high) in zip(records["simcse"], found.values()):
        assert low < value < high and value == pytest.approx(record.results[TASK]["value"], abs=1e-4)


def test_pipelines_stand_beside_their_baseline():
    rows = {name: load_shipped(name) for name in ("target-source", "target-bm25")}
    _, _, source, bm25 = lines(comparing.pipelines(rows, rows["target-bm25"]))
    assert source[0] == "source labels" and source[1].endswith("worse") and bm25[-2] == "–" and "," not in bm25[1]


def test_claims_without_runs_say_why():
    found = {claim: {} for claim in CLAIMS if claim.reason} | {CLAIMS[0]: CLAIMS[0].differences()}
    shown = lines(comparing.claims(found, lambda task: task))[2:]
    assert len(shown) == len(found) and all(row[4] == "**cannot be tested**" for row in shown[:-1])
    assert shown[0][3] == next(iter(found)).reason and f"{TASK} +" in shown[-1][3]
