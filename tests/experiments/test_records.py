"""What ships is small, and is read back as it was; what many records share stands in one file beside them."""

import dataclasses
import json
import shutil

import pytest

from course_lib.experiments import RunRecord, load_shipped
from course_lib.experiments import records as records_module


@pytest.fixture(scope="module")
def records():
    """Runs of two domains with and without a training, as they ship."""
    return load_shipped("bm25", "simcse", "target-source")


def test_a_shipped_record_is_read_as_a_saved_one(records, tmp_path):
    for record in records:
        record.save(tmp_path / "saved.json")
        path = record.ship(tmp_path / "shipped")
        assert path.name == f"{record.profile}-{record.method}-{record.seed}.json"
        assert RunRecord.load(path) == RunRecord.load(tmp_path / "saved.json") == record
        assert json.loads(path.read_text())["results"]["questions"]["value"] == record.results["questions"]["value"]
        assert path.stat().st_size < (tmp_path / "saved.json").stat().st_size / 3
    assert sorted(records[0].results["questions"]["per_query"])[0] == "question 0"
    assert records[1].training["steps"][1].keys() >= {"step", "loss", "seconds"}


def test_names_and_scores_are_written_once(records, tmp_path):
    for record in records:
        record.ship(tmp_path)
    shared = records_module.read_shared(tmp_path)
    lists = {tuple(result["per_query"]) for record in records for result in record.results.values()}
    assert len(shared) == len(lists) + 1  # STS-B's human scores
    other = dataclasses.replace(records[0], seed=9, results={"t": {"value": 1.0, "per_query": {"a new name": 1.0}}})
    assert RunRecord.load(other.ship(tmp_path)) == other
    assert all(RunRecord.load(path).results for path in tmp_path.glob("cpu-*.json"))


def test_a_record_without_the_shared_names_says_so(records, tmp_path):
    path = records[0].ship(tmp_path / "whole")
    (tmp_path / "alone").mkdir()
    copy = shutil.copy(path, tmp_path / "alone")
    with pytest.raises(ValueError, match="is not a run record"):
        RunRecord.load(copy)


def test_all_that_ships_is_small():
    assert sum(path.stat().st_size for path in records_module.RECORDS.iterdir()) < 8 * 2**20
