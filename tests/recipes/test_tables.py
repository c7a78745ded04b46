"""The README's tables are those that the records give."""

import dataclasses

import pytest

from course_lib.experiments import load_shipped, report
from course_lib.recipes import tables


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_pages_show_what_the_records_give():
    shown = set()
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.with_tables(text) == text, "run: make tables"
        shown |= {name for _, name, _ in tables.BLOCK.findall(text)}
    assert shown == set(tables.TABLES)


def test_the_first_table_and_the_picture_show_the_rows_of_the_comparison():
    simcse = [record for record in load_shipped("cropping") if record.profile == "cpu"]
    mean = sum(record.results["questions"]["value"] for record in simcse) / len(simcse)
    first = tables.first().splitlines()
    assert len(first) == 2 + len(tables.FIRST) and f"{mean:.2f}" in first[2] and "cropping" in first[2]
    labels = [text.get_text() for text in tables.draw().axes[2].texts]
    assert labels == [cells(row)[3] for row in first[2:]] and all(f" {label}" in tables.picture() for label in labels)
    assert tables.PICTURE.is_file()


def test_a_row_holds_means_over_seeds():
    heading, _, *rows = tables.table("comparison").splitlines()
    (simcse,) = (dict(zip(cells(heading), cells(row))) for row in rows if cells(row)[0] == "SimCSE")
    records = [record for record in load_shipped("simcse") if record.profile == "cpu"]
    mean = sum(record.results["see_also"]["value"] for record in records) / len(records)
    assert float(simcse["See also"]) == pytest.approx(mean, abs=6e-4) and int(simcse["Seeds"]) == len(records)
    assert not any("long" in row and "–" in row for row in rows)  # what has no record has no row
    with pytest.raises(ValueError, match="there is no table 'speed'; choose one of picture, first, reading-path"):
        tables.with_tables("<!-- table: speed -->\n<!-- /table -->")


def test_sweeps_stay_out_of_the_comparison(monkeypatch):
    """Also once they are recorded."""
    (simcse,) = (record for record in load_shipped("simcse") if (record.profile, record.seed) == ("cpu", 0))
    monkeypatch.setattr(tables, "shipped_record", lambda run: dataclasses.replace(simcse, title=run.title))
    titles = [cells(row)[0] for row in tables.table("comparison").splitlines()]
    assert "SimCSE" in titles and not any("temperature" in title or "dropout" in title for title in titles)


def test_the_cost_of_a_training_is_that_on_a_cpu_where_there_is_one():
    simcse = [record for record in load_shipped("simcse") if record.profile == "cpu"]
    on_gpu = dataclasses.replace(simcse[0], training=simcse[0].training | {"device": "cuda"}, seconds=5.0)
    assert report.table([*simcse[1:], on_gpu])[0]["seconds"] == report.training_seconds(simcse[1:])
    assert report.table([on_gpu])[0]["seconds"] == 5.0
