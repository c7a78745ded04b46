"""A learner's function may do anything; the check reports it and comes back."""

import contextlib
import html.parser
import io
import math
import random
import sys
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib import functional
from course_lib.notebook.exercises import sentence_encoder, simcse, start_here
from course_lib.notebook.exercises.comparing import difference
from course_lib.notebook.exercises.kit import Exercise, Mistake
from course_lib.notebook.exercises.showing import show_value, values_apart


@pytest.fixture
def impatient(monkeypatch):
    """The loss of SimCSE, checked with little patience."""
    assert simcse.info_nce.check(simcse.info_nce.reference).right  # what the reference does is known from here on
    monkeypatch.setattr(simcse.info_nce, "seconds", 0.5)
    return simcse.info_nce


# --------------------------------------------------------------------------- what never ends


def assert_ended():
    for thread in threading.enumerate():
        if thread.name == "exercise":
            thread.join(30)
            assert not thread.is_alive()


def test_an_endless_loop_is_stopped_and_its_line_shown(impatient):
    def my_info_nce(a, b, temperature):
        while True:
            temperature += 1

    outcome = impatient.check(my_info_nce)
    assert outcome.status == "raised" and "did not come back within 0.5 seconds and was stopped" in outcome.message
    assert any(line in outcome.details["in your"] for line in ("while True:", "temperature += 1"))
    assert_ended()


def test_an_endless_loop_that_catches_exceptions_is_stopped(impatient):
    def my_info_nce(a, b, temperature):
        while True:
            try:
                temperature += 1
            except Exception:
                pass

    assert "was stopped" in impatient.check(my_info_nce).message
    assert_ended()


def test_what_cannot_be_stopped_does_not_hold_the_check(impatient):
    end = threading.Event()

    def my_info_nce(a, b, temperature):
        while not end.is_set():
            with contextlib.suppress(BaseException):
                while not end.is_set():
                    pass

    outcome = impatient.check(my_info_nce)
    end.set()
    assert outcome.status == "raised" and "goes on in the background" in outcome.message
    assert_ended()


def test_endless_printing_is_stopped_and_cut(impatient):
    def my_info_nce(a, b, temperature):
        while True:
            print("again and again " + str(random.random()))

    outcome = impatient.check(my_info_nce)
    assert "was stopped" in outcome.message
    assert "again and again" in outcome.notes[0] and len(outcome.notes[0]) < 500
    assert_ended()


def test_endless_recursion_is_an_exception():
    def my_info_nce(a, b, temperature):
        return my_info_nce(a, b, temperature)

    outcome = simcse.info_nce.check(my_info_nce)
    assert outcome.status == "raised" and outcome.message.startswith("RecursionError")


def test_a_check_works_in_a_thread_that_is_not_the_first():
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(simcse.info_nce.check(functional.info_nce)))
    thread.start()
    thread.join(60)
    assert outcomes[0].right


# --------------------------------------------------------------------------- what goes wrong inside


def test_an_exception_is_shown_with_the_learners_line():
    def my_info_nce(a, b, temperature):
        first = a @ b
        return first.mean()

    outcome = simcse.info_nce.check(my_info_nce)
    assert outcome.status == "raised" and outcome.message.startswith("RuntimeError: mat1 and mat2")
    assert outcome.details["in your"].endswith("first = a @ b")
    assert "`temperature`" in outcome.details
    assert "Traceback" not in repr(outcome) and "site-packages" not in repr(outcome)


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), MemoryError(), StopIteration(), GeneratorExit()])
def test_nothing_that_is_raised_gets_out(error):
    def my_info_nce(a, b, temperature):
        raise error

    outcome = simcse.info_nce.check(my_info_nce)
    assert outcome.status == "raised" and outcome.details["in your"].endswith("raise error")


def test_an_error_whose_text_cannot_be_read():
    class Odd(Exception):
        def __str__(self):
            raise ValueError

    def my_info_nce(a, b, temperature):
        raise Odd

    assert simcse.info_nce.check(my_info_nce).status == "raised"


def test_other_parameters_are_named():
    outcome = simcse.info_nce.check(lambda a, b: a)
    assert outcome.status == "raised"
    assert "`info_nce(a, b, temperature)`" in outcome.message and "`(a, b)`" in outcome.message


def test_what_is_no_function():
    assert simcse.info_nce.check(None).status == "not attempted"
    assert "function itself" in simcse.info_nce.check(torch.tensor(3.0)).message


def test_nothing_returned_asks_for_the_return():
    def my_info_nce(a, b, temperature):
        functional.info_nce(a, b, temperature)

    assert "`return`" in simcse.info_nce.check(my_info_nce).message


# --------------------------------------------------------------------------- what comes back is of the wrong kind


def wrong(exercise, function):
    """The difference that a check finds, for a function that makes no known mistake."""
    outcome = exercise.check(function)
    assert (outcome.status, outcome.mistake) == ("wrong", None), outcome
    assert isinstance(repr(outcome), str) and isinstance(outcome._repr_html_(), str)
    return outcome


@pytest.mark.parametrize(
    "kind, said, change",
    [
        ("nan", "NaN", lambda loss: loss * float("nan")),
        ("nan", "infinity", lambda loss: loss / 0),
        ("shape", "(1,), and it should be ()", lambda loss: loss[None]),
        ("dtype", "int64, and it should be float32", lambda loss: loss.long()),
        ("type", "the result should be a tensor, and it is a number. Compute with torch", lambda loss: loss.item()),
        ("type", "and it is a tuple, each part a tensor", lambda loss: (loss, loss)),
        ("type", "an object of type generator", lambda loss: (i for i in range(3))),
        ("value", "The result is 1.86; it should be 0.86.", lambda loss: loss + 1),
        ("gradient", "no gradient reaches `a`", lambda loss: loss.detach()),
    ],
)
def test_what_differs_is_said(kind, said, change):
    outcome = wrong(simcse.info_nce, lambda a, b, temperature: change(functional.info_nce(a, b, temperature)))
    assert outcome.difference.kind == kind and said in outcome.message


@pytest.mark.parametrize("got, same", [(math.inf, True), (-math.inf, False), (1.0, False), (math.nan, False)])
def test_infinity_is_no_other_number(got, same):
    assert (difference(math.inf, got, tolerance=1e-4) is None) == same


def test_a_gradient_that_is_wrong_is_shown():
    def twice_the_gradient(a, b, temperature):
        return functional.info_nce(a + (a - a.detach()), b, temperature)

    outcome = wrong(simcse.info_nce, twice_the_gradient)
    assert "gradient with respect to `a`" in outcome.message
    assert {"expected gradient of `a`", "yours"} <= set(outcome.details)


@pytest.mark.parametrize(
    "change",
    [lambda hidden: hidden.add_(1), lambda hidden: hidden.resize_(1, 1, 2), lambda hidden: hidden.unsqueeze_(0)],
)
def test_changing_an_argument_is_wrong(change):
    def my_mean_pool(hidden, mask):
        answer = functional.mean_pool(hidden, mask)
        change(hidden)
        return answer

    outcome = wrong(sentence_encoder.mean_pool, my_mean_pool)
    assert outcome.difference.kind == "arguments" and "`hidden`" in outcome.message


def test_a_known_mistake_is_recognised_although_an_argument_was_changed():
    def my_mean_pool(hidden, mask):
        hidden *= mask.unsqueeze(-1)
        return hidden.mean(1)

    outcome = sentence_encoder.mean_pool.check(my_mean_pool)
    assert outcome.mistake == "divided by T" and "`hidden`" in outcome.notes[0]


def test_randomness_where_none_belongs():
    outcome = wrong(simcse.info_nce, lambda a, b, t: functional.info_nce(F.dropout(a), b, t))
    assert outcome.difference.kind == "randomness"


def test_a_function_that_remembers():
    calls = []

    def my_info_nce(a, b, temperature):
        calls.append(a)
        return functional.info_nce(a, b, temperature) + len(calls)

    assert wrong(simcse.info_nce, my_info_nce).difference.kind == "randomness"


def test_random_numbers_from_another_place_than_the_generator():
    exercise = Exercise(
        "kit.draw",
        "Draw",
        "easy",
        2,
        functional.draw,
        lambda: {"two rows": ((2, 3), torch.Generator().manual_seed(5))},
        [],
        ["?", "!"],
        "",
        "",
    )
    assert exercise.check(lambda shape, generator: torch.rand(shape, generator=generator)).right
    outcome = wrong(exercise, lambda shape, generator: torch.rand(shape))
    assert outcome.difference.kind == "randomness" and "`generator`" in outcome.message
    outcome = wrong(exercise, lambda shape, generator: torch.rand(shape, generator=torch.Generator().manual_seed(1)))
    assert outcome.difference.kind == "value"


def test_numbers_of_other_libraries_are_numbers():
    for convert in (float, np.float64, np.float32, np.array, torch.tensor):
        assert start_here.cosine.check(lambda a, b: convert(start_here.cosine.reference(a, b))).right

    def largest(x):
        return int(x.argmax())

    cases = {"three numbers": (torch.tensor([0.0, 2.0, 1.0]),), "the first": (torch.tensor([3.0, 2.0]),)}
    exercise = Exercise("kit.largest", "Largest", "easy", 2, largest, lambda: cases, [], ["argmax"], "", "")
    assert exercise.check(lambda x: torch.tensor(largest(x))).right
    outcome = wrong(exercise, lambda x: float(largest(x)))
    assert "decimal numbers, and it should be whole numbers" in outcome.message


class Odd:
    """An object that does nothing as objects should."""

    def __repr__(self):
        raise RuntimeError

    def __eq__(self, other):
        raise RuntimeError

    def __array__(self, *args, **kwargs):
        raise RuntimeError

    __hash__ = None


@pytest.mark.parametrize(
    "value",
    [
        Odd(),
        [Odd()],
        "text",
        b"bytes",
        {"a": 1},
        {1, 2},
        [[1], [1, 2]],
        object,
        torch.eye(2).to_sparse(),
        np.array("x"),
        np.array([None]),
        complex(1, 2),
        range(3),
        [],
        torch.tensor([]),
        torch.nn.Linear(1, 1),
        open,
        10**400,
        (),
        float,
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_results_are_only_wrong(value):
    for exercise in (simcse.info_nce, simcse.two_views, start_here.cosine, sentence_encoder.mean_pool):
        wrong(exercise, lambda *args: value)


def test_nothing_for_one_of_the_cases():
    def my_info_nce(a, b, temperature):
        if temperature == 0.5:
            return functional.info_nce(a, b, temperature)

    outcome = wrong(simcse.info_nce, my_info_nce)
    assert "nothing (None)" in outcome.message and outcome.details["`temperature`"] == "0.4"


def test_a_result_in_pieces_that_are_too_many():
    outcome = wrong(simcse.two_views, lambda encoder, batch: (*simcse.two_views.reference(encoder, batch), 1))
    assert "should be 3 values" in outcome.message


def test_two_views_in_another_order():
    def my_two_views(encoder, batch):
        first, second, labels = simcse.two_views.reference(encoder, batch)
        return first, second.flip(0), labels

    outcome = wrong(simcse.two_views, my_two_views)
    assert "second view" in outcome.message
    assert outcome.details["`batch`"].startswith("a dict of 2:\n  'input_ids': tensor int64, shape (3, 4)\n")


# --------------------------------------------------------------------------- what it leaves behind


def test_printed_noise_is_a_note_and_no_fault(capsys):
    def my_info_nce(a, b, temperature):
        print("dimensions:", a.ndim)
        print("careful", file=sys.stderr)
        return functional.info_nce(a, b, temperature)

    before = sys.stdout, sys.stderr
    outcome = simcse.info_nce.check(my_info_nce)
    assert outcome.right and outcome.notes == ("it printed dimensions: 2 careful",)
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("", "")


def test_random_numbers_of_the_notebook_are_left_alone():
    def draws():
        return torch.rand(1).item(), np.random.rand(), random.random()

    def my_info_nce(a, b, temperature):
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        return functional.info_nce(a, b, temperature)

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    expected = draws()
    torch.set_rng_state(states[0]), np.random.set_state(states[1]), random.setstate(states[2])
    simcse.info_nce.check(my_info_nce)
    assert draws() == expected


def test_a_check_under_no_grad_asks_for_gradients_all_the_same():
    with torch.no_grad():
        assert simcse.info_nce.check(lambda a, b, t: functional.info_nce(a, b, t)).right
        assert simcse.info_nce.check(lambda a, b, t: functional.info_nce(a, b.detach(), t)).mistake


# --------------------------------------------------------------------------- hints, solutions, use


def test_hints_come_one_by_one():
    exercise = Exercise("kit.pool", "Pool", "easy", 2, functional.mean_pool, dict, [], ["one `x`", "two"], "", "")
    assert repr(exercise.hint()) == "Hint 1 of 2: one `x`"
    assert (
        repr(exercise.hint())
        == repr(exercise.hint())
        == ("Hint 1 of 2: one `x`\nHint 2 of 2: two\nThat was the last one.")
    )
    assert "<code>x</code>" in exercise.hint()._repr_html_()


def test_the_solution_is_folded_in_a_notebook():
    shown = simcse.info_nce.solution()
    assert "<details><summary>Solution</summary>" in shown._repr_html_()
    assert "def my_info_nce(a, b, temperature):" in repr(shown)


def test_use_gives_the_library_until_the_learner_is_right(capsys):
    def my_info_nce(a, b, temperature):
        similarity = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / temperature
        return -similarity.log_softmax(1).diag().mean()

    assert simcse.info_nce.use(my_info_nce) is my_info_nce
    assert simcse.info_nce.use(lambda a, b, temperature: ...) is functional.info_nce
    assert simcse.info_nce.use(lambda a, b, temperature: a.mean()) is functional.info_nce
    assert simcse.info_nce.use(lambda a, b, temperature: 1 / 0) is functional.info_nce
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and "your own" in said[0] and "library's" in said[1]
    assert [line.split("; ")[1] for line in said[1:]] == [
        "yours is not attempted yet.",
        "yours is not right yet.",
        "yours raises an error.",
    ]


# --------------------------------------------------------------------------- what a learner sees

EVIL = '<script>alert(1)</script> <img src=x onerror="alert(1)"> $x^2$ & `<b>`'


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [tag, *(name for name, _ in attrs)]

    def handle_data(self, data):
        self.text += data


def assert_harmless(shown):
    tags = Tags(shown._repr_html_())
    assert not {"script", "img", "onerror"} & set(tags.found)
    assert "alert(1)" in tags.text and "mathjax_ignore" in shown._repr_html_()


def evil_exercise():
    mistake = Mistake("same", lambda ranking: ranking, EVIL, EVIL)
    return Exercise(
        "kit.evil",
        EVIL,
        "easy",
        2,
        lambda ranking: [name + "!" for name in ranking],
        lambda: {EVIL: ([EVIL, "b"],)},
        [mistake],
        [EVIL, EVIL],
        EVIL,
        EVIL,
    )


def raises_evil(ranking):
    raise ValueError(EVIL)


def prints_evil(ranking):
    print(EVIL)
    return [name + "!" for name in ranking]


@pytest.mark.parametrize(
    "function",
    [
        raises_evil,
        prints_evil,
        lambda ranking: list(ranking),
        lambda ranking: [EVIL, EVIL],
        lambda ranking: {EVIL: EVIL},
        lambda ranking: None,
    ],
)
def test_text_is_shown_as_text(function):
    assert_harmless(evil_exercise().check(function))


def test_text_is_shown_as_text_in_everything_else():
    exercise = evil_exercise()
    for shown in (exercise, exercise.hint(), exercise.solution()):
        assert_harmless(shown)

    def my_answer(ranking):
        return [name + "!" for name in ranking]  # <script>alert(1)</script>

    assert exercise.check(my_answer).right
    assert_harmless(exercise.answer())


def test_an_outcome_is_told_without_colour():
    outcomes = {
        "right": simcse.info_nce.check(functional.info_nce),
        "wrong": simcse.info_nce.check(lambda a, b, t: functional.info_nce(a, b, t) * 2),
        "raised": simcse.info_nce.check(lambda a, b, t: a.nothing),
        "not attempted": simcse.info_nce.check(lambda a, b, t: None),
    }
    for status, outcome in outcomes.items():
        assert outcome.status == status
        for text in (repr(outcome), Tags(outcome._repr_html_()).text):
            assert f"SimCSE's loss: {status}." in text
    assert len({repr(outcome)[0] for outcome in outcomes.values()}) == 4


def test_a_wrong_answer_shows_inputs_expected_and_got():
    outcome = simcse.info_nce.check(lambda a, b, t: functional.info_nce(a, b, t) + 1)
    assert list(outcome.details) == ["`a`", "`b`", "`temperature`", "expected", "yours"]
    assert all(len(line) <= 110 for line in repr(outcome).splitlines())
    assert float(outcome.details["yours"].split()[0]) == pytest.approx(
        float(outcome.details["expected"].split()[0]) + 1, abs=2e-3
    )


def test_values_are_short_and_tell_apart():
    assert len(show_value(torch.rand(100, 100))) < 600
    assert len(show_value({i: "x" * 50 for i in range(1000)})) < 1000
    expected, got = values_apart(torch.tensor([1.0, 2.00001]), torch.tensor([1.0, 2.00003]))
    assert expected != got


# --------------------------------------------------------------------------- making exercises


def test_a_broken_exercise_says_so():
    mistake = Mistake("broken", lambda hidden, mask: hidden.nothing, "It is broken.", "Mend it.")
    exercise = Exercise(
        "kit.pool", "Pool", "easy", 2, functional.mean_pool, sentence_encoder.mean_pool.cases, [mistake], ["?"], "", ""
    )
    with pytest.raises(RuntimeError, match="kit.pool is broken: mistake 'broken' raised"):
        exercise.check(lambda hidden, mask: hidden.sum(1))
    exercise = Exercise(
        "kit.pool", "Pool", "easy", 2, functional.mean_pool, lambda: [torch.zeros(1)], [], ["?"], "", ""
    )
    with pytest.raises(TypeError, match="tuple or dict of arguments"):
        exercise.check(functional.mean_pool)


@pytest.mark.parametrize(
    "name, difficulty, names, message",
    [
        ("pool", "easy", ["a"], "module.variable"),
        ("kit.pool", "trivial", ["a"], "easy, medium, hard"),
        ("kit.pool", "easy", ["a", "a"], "same name"),
    ],
)
def test_a_wrongly_made_exercise_is_refused(name, difficulty, names, message):
    mistakes = [Mistake(each, functional.max_pool, "?", "!") for each in names]
    with pytest.raises(ValueError, match=message):
        Exercise(name, "Pool", difficulty, 2, functional.mean_pool, dict, mistakes, ["?"], "", "")


def test_arguments_may_be_named():
    exercise = Exercise(
        "kit.nce",
        "The loss",
        "easy",
        2,
        functional.info_nce,
        lambda: {"names": dict(zip("ab", simcse.info_nce.argument_sets[0])) | {"temperature": 0.3}},
        [],
        ["?"],
        "",
        "",
    )
    assert exercise.check(lambda b, a, temperature: functional.info_nce(a, b, temperature)).right
    assert exercise.check(lambda a, b, temperature: functional.info_nce(a, b, 1.0)).status == "wrong"


def test_writing_goes_to_the_reader_and_not_to_a_file(tmp_path):
    """A learner's own redirection of printing survives a check."""
    with contextlib.redirect_stdout(io.StringIO()) as mine:
        simcse.info_nce.use(functional.info_nce)
    assert "your own" in mine.getvalue()
