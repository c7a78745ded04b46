"""Figures of training: what they say is so; bad input is named."""

import numpy as np
import pytest
import torch

from course_lib.notebook import plots
from course_lib.notebook.plots import paths, training


def test_bands_hold_lowest_and_highest_seed(drawn, examples):
    axes = drawn["curves"][1].axes[0]
    band = axes.collections[0].get_paths()[0].vertices
    assert np.isclose(band[:, 1].min(), 0.2) and np.isclose(band[:, 1].max(), 0.575)
    assert np.allclose(axes.lines[0].get_ydata(), [v + 0.05 for _, v in examples.CURVE])
    assert axes.get_legend().get_title().get_text() == "Band: lowest to highest\nof 2 seeds"


def test_bands_of_a_training(drawn):
    loss = drawn["training_curves of seeds"][1].axes[0]
    band = loss.collections[0].get_paths()[0].vertices
    middle = loss.lines[0].get_ydata()
    assert len(loss.lines) == 1 and np.isclose(band[:, 1].max() - middle.max(), 0.25)


def test_seeds_measured_at_other_steps_are_compared_where_both_were(examples):
    one, other = examples.training_record(), examples.training_record(60)
    assert "Loss (2 seeds) from 3.00 at 1 to" in (alt := plots.training_curves([one, other]).alt) and "at 60," in alt


def test_smoothing_averages_around_a_point_and_keeps_a_level_line_level():
    assert np.allclose(training._smoothed(np.full(10, 2.5), 4), 2.5)
    assert np.allclose(training._smoothed(np.array([0.0, 0, 6, 0, 0]), 3), [0, 2, 2, 2, 0])


def test_training_of_a_dict_without_evaluations(examples):
    record = {"steps": examples.training_record(30).steps, "evaluations": []}
    assert "30 steps" in plots.training_curves(record).alt


def test_a_training_that_diverged_says_so(examples):
    record = examples.training_record()
    record.steps[50]["gradient_norm"] = float("inf")
    assert "Gradient norm (not finite at 1 of 80 steps)" in plots.training_curves(record).alt
    for step in record.steps:
        step["loss"] = float("nan")
    with pytest.raises(ValueError, match="no finite loss in 80 steps"):
        plots.training_curves(record)


def test_what_is_evaluated_is_named_in_words(examples):
    record = examples.training_record()
    record.evaluations = [{"step": 40, "held_out_loss": 3.1, "mrr@10": 0.2, "STS": 0.4}]
    alt = plots.training_curves(record).alt
    assert all(f"{name} from" in alt for name in ("Held out loss", "MRR@10", "STS"))


def test_a_schedule_is_told_as_torch_makes_it():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule, rates = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 80], gamma=0.1), []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    alt = plots.learning_rates({"torch": rates}).alt
    assert "1e-4 from step 1, then 1e-5 from step 31, then 1e-6 from step 81 to step 100" in alt


def test_stairs_stay_stairs(drawn, examples):
    (axes,) = drawn["learning_rates"][1].axes
    assert np.array_equal(axes.lines[0].get_ydata(), examples.STAIRS)
    assert axes.lines[0].get_drawstyle() == "steps-mid" and axes.get_ylim()[0] == 0
    assert {"1e-5", "5e-5"} <= {label.get_text() for label in axes.get_yticklabels()}


def test_frontier_is_in_the_order_of_time_with_its_intervals(drawn, examples):
    (axes,) = drawn["frontier"][1].axes
    assert axes.get_xscale() == "log" and axes.lines[0].get_xdata().tolist() == [118, 361, 1810]
    intervals = [segment[:, 1].tolist() for segment in axes.collections[0].get_segments()]
    assert intervals == [[low, high] for _, _, low, high in sorted(examples.TIMES["SimCSE"])]
    levels = {line.get_label(): line.get_ydata()[0] for line in axes.lines if line.get_color() == plots.GREY}
    assert levels == {"Base encoder: 0.340": 0.34, "BM25: 0.605": 0.605}


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (120, 1800, ["10 min", "2 min", "30 min", "6 min"]),
        (12, 30_000, ["1 min", "10 min", "1 h", "10 s", "10 h"]),
        (47, 47, ["47 s"]),
        (1, 1, ["1 s"]),
        (90, 95, ["90 s"]),
    ],
)
def test_ticks_of_time_are_telling_and_apart(low, high, ticks):
    figure, axes = plots.picture.plt.subplots()
    axes.set_xscale("log")
    paths._time_axis(axes, np.array([low, high]))
    assert {t.get_text() for t in axes.get_xticklabels()} >= set(ticks)
    plots.picture.plt.close(figure)


CURVE = [(0, 0.2), (25, 0.3)]
BAD = {
    "no lines": (lambda: plots.curves({}, "Loss"), "series is {}"),
    "a curve that is not of pairs": (lambda: plots.curves({"a": [1, 2, 3]}, "Loss"), r"series\['a'\] has shape"),
    "seeds of different lengths": (lambda: plots.curves({"a": [CURVE, CURVE[1:]]}, "Loss"), r"series\['a'\] cannot be"),
    "seeds at different steps": (lambda: plots.curves({"a": [CURVE, [(s + 1, v) for s, v in CURVE]]}, "Loss"), "steps"),
    "a curve with NaN": (lambda: plots.curves({"a": [(0, np.nan)]}, "Loss"), r"series\['a'\] holds 1"),
    "a level that is NaN": (lambda: plots.curves({"a": CURVE}, "Loss", references={"b": np.nan}), r"references\['b'\]"),
    "a training without steps": (lambda: plots.training_curves({"steps": [], "evaluations": []}), "finite loss in 0"),
    "a training of another kind": (lambda: plots.training_curves({"loss": [1]}), "record has no 'steps'"),
    "no trainings": (lambda: plots.training_curves([]), "record is an empty list"),
    "bars with too few marks": (
        lambda: plots.batch_bars({"a": [1.0, 2.0]}, [True], ("x", "y"), "Gradient"),
        "marked holds 1 for 2 bars",
    ),
    "no schedules": (lambda: plots.learning_rates({}), "schedules is {}"),
    "a schedule of pairs": (lambda: plots.learning_rates({"a": CURVE}), r"schedules\['a'\] has shape \(2, 2\)"),
    "a frontier from 0 seconds": (lambda: plots.frontier({"a": CURVE}, "nDCG@10"), "pass the start as a reference"),
    "points of three numbers": (lambda: plots.frontier({"a": (1, 2, 3)}, "nDCG@10"), r"methods\['a'\] has shape"),
    "alignment of three numbers": (lambda: plots.alignment_uniformity({"a": (1, 2, 3)}), r"points\['a'\] has shape"),
    "steps that do not match": (lambda: plots.alignment_uniformity({"a": CURVE}, steps=[0]), "steps holds 1 for paths"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    draw, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        draw()
