"""Tables, pages and pictures are computed from records alone, and show no run that was interrupted."""

import dataclasses
import io

import pytest
from rich.console import Console

from course_lib.experiments import RunRecord, load_shipped, report
from course_lib.notebook.plots import comparison_picture


@pytest.fixture(scope="module")
def records():
    """BM25, the base encoder and three seeds of SimCSE, as they ship."""
    return [r for r in load_shipped("bm25", "base", "simcse") if r.profile == "cpu"]


def test_the_table_is_computed_from_records_alone(records, tmp_path):
    paths = []
    for i, record in enumerate(records):
        paths.append(tmp_path / f"{i}.json")
        record.save(paths[-1])
    rows = report.table([RunRecord.load(p) for p in paths])
    assert [r["method"] for r in rows] == ["BM25", "Base encoder", "SimCSE"]
    assert rows[2]["seeds"] == 3
    seeds = [r.results["see_also"]["value"] for r in records[2:]]
    value, low, high = rows[2]["see_also"]
    assert value == pytest.approx(sum(seeds) / 3, abs=1e-4) and low <= value <= high
    assert rows[0]["seconds"] is None and rows[2]["seconds"] > 0
    assert "SimCSE" in report.as_markdown(records)


def test_an_interrupted_run_is_in_no_table_page_or_picture(records, tmp_path):
    simcse = records[2]
    cut = dataclasses.replace(
        simcse, method="cut", title="Cut short", training=simcse.training | {"outcome": "interrupted"}
    )
    shown = [*records[:2], cut]
    assert [r["method"] for r in report.table(shown)] == ["BM25", "Base encoder"]
    assert "Cut short" not in report.as_markdown(shown) + report.as_html(shown, b"")
    assert comparison_picture(shown) == comparison_picture(records[:2])


def test_the_page_escapes_what_it_shows_and_the_picture_is_one(records, tmp_path):
    hostile = dataclasses.replace(records[0], title="<script>alert(1)</script>")
    shown = [hostile, *records[1:]]
    files = report.write_comparison(shown, comparison_picture(shown), tmp_path)
    page = files["page"].read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "alt='" in page
    assert files["picture"].read_bytes().startswith(b"\x89PNG")


def test_an_interval_below_zero_is_set_like_the_others(records):
    low = dataclasses.replace(records[0], results={"stsb": dict(records[1].results["stsb"], scores=list(range(1379)))})
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report.as_rich_table([low]))
    assert "-.0" in console.export_text() and "[" not in console.export_text()


def test_seconds_come_from_runs_that_had_two_cores(records):
    """Two runs side by side have one core each, and take longer."""
    slow, fast, on_gpu = (dataclasses.replace(records[2], seed=seed) for seed in range(3))
    slow.machine, fast.machine = slow.machine | {"threads": 1}, fast.machine | {"threads": 2}
    on_gpu.training = on_gpu.training | {"device": "cuda"}
    assert report.timed([slow, fast, on_gpu]) == [fast]
    assert report.timed([slow, on_gpu]) == [slow]
    assert report.timed([on_gpu]) == [on_gpu]
