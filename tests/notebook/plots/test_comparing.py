"""Figures that compare methods: the places follow from the values, and bad input is named."""

import pytest

from course_lib.notebook import plots

TWO = {"TSDAE": {"a": 0.5, "b": 0.2}, "SimCSE": {"a": 0.4, "b": 0.2}, "CT": {"a": 0.3, "b": 0.6}}


def test_the_first_place_is_on_top_and_equal_values_share_one(drawn):
    (axes,) = drawn["ranks"][1].axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[1, 2], [2, 2], [3, 1]]
    low, high = axes.get_ylim()
    assert low > high


def test_what_is_worth_its_cost_is_filled(drawn):
    first, _ = drawn["quality_by_cost"][1].axes
    filled = [line for line in first.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "white" for line in filled] == [False, True]


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: plots.ranks(TWO, {"a": "A", "c": "C"}), "lacks a task of a, c"),
        (lambda: plots.ranks({}, {"a": "A"}), "methods is {}"),
        (lambda: plots.quality_by_cost({"s": {"x": (0, 1, 1, 1, True)}}, {}, "y"), "draw what costs nothing"),
        (lambda: plots.quality_by_cost({}, {}, "y"), "panels is {}"),
    ],
)
def test_bad_input_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
