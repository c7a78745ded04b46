"""Figures of evaluation: what they say is so; bad input is named."""

import numpy as np
import pytest

from course_lib.notebook import plots


def test_shares_of_a_task_add_up_and_stand_one_behind_the_other(drawn):
    (axes,) = drawn["wins"][1].axes
    widths = [b.get_width() for b in axes.patches]
    assert np.allclose(widths, [25, 25, 25, 25, 100, 0, 0, 0])
    assert [b.get_x() for b in axes.patches[:4]] == [0, 25, 50, 75]


def test_intervals_reach_from_low_to_high_and_the_reference_is_in_its_panel(drawn):
    upper, lower = drawn["intervals"][1].axes
    spans = [tuple(line.get_xdata()) for line in upper.lines if len(line.get_xdata()) == 2]
    assert spans == [(0.45, 0.5), (0.43, 0.48)]
    assert upper.get_legend() is None and [t.get_text() for t in lower.get_legend().get_texts()] == ["no difference"]


def test_a_system_looks_the_same_in_every_panel(drawn):
    looks = [[(p.get_color(), p.get_marker()) for p in axes.lines] for axes in drawn["systems"][1].axes]
    assert looks[0] == looks[1] and len(set(looks[0])) == 2


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: plots.scatter({"a": ([1, 2], [1])}, "x", "y"), "holds 2 x and 1 y"),
        (lambda: plots.scatter({}, "x", "y"), "panels is {}"),
        (lambda: plots.systems({"a": {"b": (1, np.nan)}}, "x", "y"), r"panels\['a'\]\['b'\] holds 1 values"),
        (lambda: plots.wins({"a": ([1, 2], [1])}, "b", "c"), "holds 2 and 1 values"),
        (lambda: plots.intervals({"a": {"b": (np.nan, 0, 1)}}), r"panels\['a'\]\['b'\] holds 1 values"),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
