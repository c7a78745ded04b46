"""Figures of results: what they say is so; bad input is named."""

import numpy as np
import pytest

from course_lib.experiments.report import table
from course_lib.notebook import plots


def test_bars_take_their_numbers_from_the_comparison(drawn, examples):
    picture, figure, _ = drawn["comparison_bars"]
    rows = {r["method"]: r for r in table(examples.run_records())}
    for method, row in rows.items():
        value, low, high = row["see_also"]
        assert f"{method} {value:.3f} ({low:.3f} to {high:.3f})" in picture.alt
    axes = next(a for a in figure.axes if a.get_title(loc="left").startswith("See also"))
    assert [b.get_width() for b in axes.patches] == [rows[m]["see_also"][0] for m in rows if m != "BM25"]
    (line,) = [line for line in axes.lines if line.get_label() == "BM25"]
    assert line.get_xdata()[0] == rows["BM25"]["see_also"][0] and line.get_linestyle() == "--"


def test_bars_of_rows_are_those_of_records_and_picture_is_the_same(examples):
    records = examples.run_records()
    from_records = plots.comparison_bars(records, ["see_also"])
    from_rows = plots.comparison_bars(table(records), {"see_also": "See also, ndcg@10"})
    assert from_rows == from_records and "Summary" not in from_records.alt
    assert plots.comparison_picture(records) == plots.comparison_bars(records).data


def test_bars_of_bm25_alone_and_of_a_correlation_that_is_not_a_number(examples):
    bm25, base = table(examples.run_records()[:2])
    assert "BM25 0.5" in plots.comparison_bars([bm25]).alt
    alt = plots.comparison_bars([base | {"see_also": (np.nan, np.nan, np.nan)}], ["see_also"]).alt
    assert "Base encoder not measured" in alt


def test_an_interval_over_zero_is_called_one(examples):
    assert "includes 0" in plots.bootstrap_distribution(examples.RESAMPLED - 0.04, 0.0, -0.02, 0.02).alt


def test_gains_stand_at_their_differences_and_a_row_without_one_is_named(drawn, examples):
    _, figure, texts = drawn["gains"]
    for axes, of in zip(figure.axes, examples.GAINS.values()):
        found = [d for rows in of.values() for d in rows.values() if d]
        points = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
        spans = [
            tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2 and line.get_color() != "black"
        ]
        assert points == [d.difference for d in found] and spans == [(d.low, d.high) for d in found]
    assert [t.get_text() for t in texts].count("not recorded") == 2


def test_parts_of_memory_stand_one_behind_the_other(drawn, examples):
    picture, figure, _ = drawn["memory_bars"]
    (axes,) = figure.axes
    for y, parts in enumerate(examples.MEMORY.values()):
        bars = [b for b in axes.patches if round(b.get_y() + b.get_height() / 2) == y]
        sizes = [size for size in parts.values() if size]
        assert np.allclose([b.get_width() for b in bars], sizes)
        assert np.allclose([b.get_x() for b in bars], np.cumsum([0, *sizes[:-1]]))
    colours = [b.get_facecolor() for b in axes.patches]
    assert colours[0] == colours[4] and colours[3] == colours[6]  # weights and activations of both methods
    assert "logits 0" not in picture.alt


BAD = {
    "no records": (lambda: plots.comparison_bars([]), "records is empty"),
    "a task nobody measured": (
        lambda: plots.comparison_bars([{"method": "a", "b": (1, 0, 2)}], ["sts"]),
        "sts; measured: b",
    ),
    "an interval beside its value": (lambda: plots.bootstrap_distribution([0.1, 0.2], 0.5, 0, 0.2), "observed is 0.5"),
    "no gains": (lambda: plots.gains({}, "a"), "tasks is {}"),
    "gains of no row": (lambda: plots.gains({"a": {"b": {}}}, "c"), r"tasks\['a'\]\['b'\] is {}"),
    "a gain that is not a number": (lambda: plots.gains({"a": {"b": {"c": (np.nan, 0, 1, 0)}}}, "d"), "holds 1 values"),
    "no memory": (lambda: plots.memory_bars({}), "methods is {}"),
    "memory of nothing": (lambda: plots.memory_bars({"a": {"weights": 0}}), r"methods\['a'\] is .* some part"),
    "negative memory": (lambda: plots.memory_bars({"a": {"weights": -1, "b": 3}}), "not negative"),
    "memory that is not a number": (lambda: plots.memory_bars({"a": {"b": np.inf}}), r"methods\['a'\]\['b'\] holds 1"),
    "too many parts": (lambda: plots.memory_bars({"a": {str(i): 1 for i in range(8)}}), "8 different parts"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    draw, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        draw()
