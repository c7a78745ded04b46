"""Every exercise of the course keeps its promises, whichever module it is in."""

import html
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib.notebook.exercises import all_exercises
from course_lib.notebook.exercises.observing import named
from course_lib.notebook.exercises.verdict import behaves_like

EXERCISES = {exercise.name: exercise for exercise in all_exercises()}
MISTAKES = {f"{name}: {mistake.name}": (name, mistake) for name, e in EXERCISES.items() for mistake in e.mistakes}


@pytest.fixture(params=EXERCISES)
def exercise(request):
    return EXERCISES[request.param]


def returns_ellipsis(*args, **kwargs):
    return ...


def returns_none(*args, **kwargs):
    pass


def raises_not_implemented(*args, **kwargs):
    raise NotImplementedError


@pytest.mark.parametrize("stub", [returns_ellipsis, returns_none, raises_not_implemented])
def test_an_untouched_stub_is_not_attempted(exercise, stub):
    assert exercise.check(stub).status == "not attempted"


def test_the_reference_is_right(exercise):
    assert exercise.check(exercise.reference).right, exercise.check(exercise.reference)


def test_the_solution_is_right_and_leaves_no_noise(exercise):
    names = {"torch": torch, "F": F, "np": np, "math": math}
    exec(compile(exercise.solution_source, "solution", "exec"), names)
    outcome = exercise.check(names[f"my_{exercise.name.split('.')[1]}"])
    assert outcome.right and not outcome.notes, outcome


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_gets_its_own_message(name):
    exercise, mistake = EXERCISES[MISTAKES[name][0]], MISTAKES[name][1]
    outcome = exercise.check(mistake.code)
    assert (outcome.status, outcome.mistake) == ("wrong", mistake.name), outcome
    assert mistake.message in outcome.message and outcome.hint == mistake.hint


def test_no_behaviour_is_two_mistakes(exercise):
    """The check takes the first mistake that fits; none may fit where another was made."""
    for mistake in exercise.mistakes:
        seen = exercise.mistaken(mistake)
        others = [m.name for m in exercise.mistakes if m is not mistake and behaves_like(exercise, seen, m)]
        assert not others, f"{mistake.name} is also recognised as {others}"


def test_messages_differ(exercise):
    assert len({m.message for m in exercise.mistakes}) == len(exercise.mistakes)


def spoilt(value):
    """A wrong answer that nobody planted: the right one with every number moved, every truth and order turned."""
    if torch.is_tensor(value):
        return ~value if value.dtype == torch.bool else value + (0.37 if value.is_floating_point() else 1)
    if isinstance(value, (bool, np.bool_)):
        return not value
    if isinstance(value, (int, float, np.number, np.ndarray)):
        return value + (1 if isinstance(value, (int, np.integer)) else 0.37)
    if isinstance(value, str):
        return value + "!"
    if isinstance(value, dict):
        return {key: spoilt(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(spoilt(v) for v in value)
    raise TypeError(f"this test cannot spoil a {type(value)}; teach it")


def test_an_unplanted_mistake_shows_the_input_that_tells(exercise):
    def unplanted(*args, **kwargs):
        return spoilt(exercise.reference(*args, **kwargs))

    outcome = exercise.check(unplanted)
    assert (outcome.status, outcome.mistake) == ("wrong", None), outcome
    inputs = {f"`{name}`" for name in named(exercise, exercise.argument_sets[0])}
    assert {"yours", *inputs} <= set(outcome.details), outcome
    assert any(what.startswith("expected") for what in outcome.details)
    assert all(html.escape(text) in outcome._repr_html_() for text in outcome.details.values())


def test_what_every_exercise_must_have(exercise):
    topic, variable = exercise.name.split(".")
    module = __import__(f"course_lib.notebook.exercises.{topic}", fromlist=[variable])
    assert getattr(module, variable) is exercise
    assert len(exercise.mistakes) >= 3
    assert 2 <= len(exercise.hints) <= 3
    assert 2 <= exercise.minutes <= 30
    assert exercise.why.endswith(".") and not exercise.why.startswith("Right")
    assert all(len(look) > 3 and not look.endswith(".") for look in exercise.looks)
    assert all(m.message.endswith((".", "?")) and m.hint.endswith((".", "?", ")")) for m in exercise.mistakes)
    assert all(text.count("`") % 2 == 0 for m in exercise.mistakes for text in (m.message, m.hint))


def test_every_notebook_has_at_least_three_and_the_first_has_one():
    by_notebook = {}
    for name in EXERCISES:
        by_notebook.setdefault(name.split(".")[0], []).append(name)
    assert len(by_notebook.pop("start_here")) == 1
    assert all(len(names) >= 3 for names in by_notebook.values()), by_notebook
