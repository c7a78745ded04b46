"""Exercises that say which mistake it is.

A check runs the learner's function on crafted inputs and compares what it returns, and the gradients of that, with
the reference and with typical mistakes, which every exercise carries as code. Nobody's source text is read. To write
an exercise, make an `Exercise` at module level of the module of its notebook in this package; it is found there, and
tests/notebook/exercises/test_exercises.py proves its promises.
"""

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from course_lib.notebook.exercises import answers
from course_lib.notebook.exercises.comparing import Difference, difference
from course_lib.notebook.exercises.observing import GENERATORS, missing, named, observe_all, signature_that_refuses
from course_lib.notebook.exercises.running import TimeIsUp, line_in, run
from course_lib.notebook.exercises.showing import Outcome, Shown, box, code_block, inline, show_value, values_apart

__all__ = ["Exercise", "Mistake", "Outcome"]

DIFFICULTIES = {"easy": "●○○", "medium": "●●○", "hard": "●●●"}


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer.

    name: short, unique in its exercise. code: the wrong function itself, called as the reference is. message: what is
    wrong, true of this mistake alone. hint: the next step. Text between backticks is set as code.
    """

    name: str
    code: Callable
    message: str
    hint: str


class Exercise:
    """One function for the learner to write.

    name: "module.variable", such as "simcse.info_nce". difficulty: easy, medium or hard. minutes: what it takes.
    reference: the right function, of the library where it has one; `use` gives it to the notebook.
    cases: a function that returns a list of argument tuples (or dicts of keyword arguments) on which every mistake
    differs from the reference and from the other mistakes. Arguments are copied for each call; a torch.Generator
    starts from the same state each time, and the global generators are seeded.
    hints: two or three, from a nudge to nearly the answer. solution: source of a right answer, which defines
    my_<variable>, such as my_info_nce, and may use torch, F, np and math.
    gradients: compare gradients with respect to the floating-point tensors among the arguments too, where the
    reference has them.
    measure: measure(call, *arguments) → {what is measured, in words: number or tensor}. It is compared in place of
    the result, where that is random or not all that counts; `call` is the function under test, and may be called
    often. Such a result must have the reference's type, shape and dtype. Draw no number outside of `call`.
    shapes: False where a right result may have another shape than the reference's, being random.
    tolerance: numbers agree within tolerance · max(1, |expected|); for measures also {what: tolerance}.
    seconds: how long a check waits for the function.
    Raises ValueError for a name without a dot, an unknown difficulty, and two mistakes of one name.
    """

    def __init__(
        self,
        name,
        title,
        difficulty,
        minutes,
        reference,
        cases,
        mistakes,
        hints,
        solution,
        gradients=True,
        measure=None,
        shapes=True,
        tolerance=1e-4,
        seconds=10.0,
    ):
        if name.count(".") != 1:
            raise ValueError(f"name is {name!r}; it must be module.variable, such as 'simcse.info_nce'")
        if difficulty not in DIFFICULTIES:
            raise ValueError(f"difficulty of {name} is {difficulty!r}; it must be one of {', '.join(DIFFICULTIES)}")
        if len({m.name for m in mistakes}) < len(mistakes):
            raise ValueError(f"two mistakes of {name} have the same name; give each its own")
        self.name, self.title, self.difficulty, self.minutes = name, title, difficulty, minutes
        self.reference, self.cases, self.measure = reference, cases, measure
        self.mistakes, self.hints = tuple(mistakes), tuple(hints)
        self.solution_source = inspect.cleandoc(solution)
        self.gradients, self.shapes, self.tolerance, self.seconds = gradients, shapes, tolerance, seconds
        self._hints_shown = 0
        self._mistaken = {}

    # ------------------------------------------------------------------- for the learner

    def check(self, function):
        """Say whether a function is right, and if not, what is wrong with it.

        function: the learner's, not called. Returns an Outcome: not attempted, raised, wrong or right. A right answer
        is written into the progress file.
        """
        outcome = self._judge(function)
        if outcome.right:
            remark = answers.save(self.name, _source(function))
            outcome = replace(outcome, notes=(*outcome.notes, remark)) if remark else outcome
        elif outcome.status == "not attempted" and answers.load()[0].get(self.name):
            before = f"you have solved it before; `{self.name}.answer()` shows your answer"
            outcome = replace(outcome, notes=(*outcome.notes, before))
        return outcome

    def use(self, function):
        """The learner's function if it is right, else the library's; says in one line which."""
        outcome = self.check(function)
        reasons = {
            "not attempted": "yours is not attempted yet",
            "raised": "yours raises an error",
            "wrong": "yours is not right yet",
        }
        print(
            f"{self.title}: the notebook goes on with your own function."
            if outcome.right
            else f"{self.title}: the notebook goes on with the library's function; {reasons[outcome.status]}."
        )
        return function if outcome.right else self.reference

    def hint(self):
        """The hints so far and one more."""
        self._hints_shown = min(self._hints_shown + 1, len(self.hints))
        given = self.hints[: self._hints_shown]
        last = "That was the last one." if len(given) == len(self.hints) else ""
        lines = [f"Hint {n} of {len(self.hints)}: {hint}" for n, hint in enumerate(given, 1)]
        lines += [last] if last else []
        return Shown("\n".join(lines), box("<br>".join(inline(line) for line in lines)))

    def solution(self):
        """A right answer, folded in a notebook."""
        folded = f"<details><summary>Solution</summary>{code_block(self.solution_source)}</details>"
        return Shown(f"Solution:\n{self.solution_source}", box(folded))

    def answer(self):
        """The learner's own right answer, from the progress file; it outlives the kernel."""
        solved, remark = answers.load()
        text = solved.get(self.name) or (
            "solved, but its source could not be kept" if self.name in solved else "not solved yet"
        )
        title = f"Your answer to {self.title}"
        remark = f"Note: {remark}." if remark else ""
        return Shown(f"{title}:\n{text}\n{remark}".rstrip(), box(inline(title) + code_block(text) + inline(remark)))

    def __repr__(self):
        return f"Exercise: {self.title} · {DIFFICULTIES[self.difficulty]} {self.difficulty} · {self.minutes} minutes"

    def _repr_html_(self):
        return box(inline(repr(self)))

    # ------------------------------------------------------------------- verdict

    def _judge(self, function):
        if not callable(function):
            return self._outcome(
                "not attempted" if function is None or function is ... else "wrong",
                "`check` takes the function itself: write its name without calling it.",
            )
        refused = signature_that_refuses(function, self.argument_sets[0])
        if refused:
            call = f"{self.name.split('.')[1]}({', '.join(named(self, self.argument_sets[0]))})"
            return self._outcome("raised", f"It is called as `{call}`, and yours takes `{refused}`.")
        right, seen = self.right, []  # the reference runs before the clock starts
        ran = run(lambda: observe_all(self, function, right, seen), self.seconds, of=function)
        lines = dict.fromkeys(ran.printed.split("\n"))  # each only once: the function is called many times
        notes = (f"it printed {_short(' '.join(lines))}",) if ran.printed.strip() else ()
        stopped = ran.error or (seen[-1].error if seen else None)
        if stopped is not None:
            return self._stopped(function, stopped, ran, seen, notes)
        if missing(seen[0].raw):
            return self._outcome(
                "not attempted", "Nothing came back. If you have written it, is a `return` missing?", notes=notes
            )
        wrong = self._first_difference(seen)
        if wrong is None:
            return self._outcome("right", "", notes=notes)
        mistake = next((m for m in self.mistakes if self.behaves_like(seen, m)), None)
        if mistake is not None:
            more = set().union(*(each.changed for each in seen)) - set().union(
                *(each.changed for each in self.mistaken(mistake))
            )
            notes += tuple(f"it also changes its argument `{name}`; work on a copy" for name in sorted(more))
            return self._outcome("wrong", mistake.message, hint=mistake.hint, mistake=mistake.name, notes=notes)
        return self._differs(*wrong, notes)

    def _stopped(self, function, error, ran, seen, notes):
        if isinstance(error, NotImplementedError) and len(seen) <= 1:
            return self._outcome("not attempted", "It raises NotImplementedError.", notes=notes)
        if isinstance(error, TimeIsUp):
            message = (
                f"It did not come back within {self.seconds:g} seconds and was stopped. Does a loop never end?"
                if not ran.still_runs
                else f"It did not come back within {self.seconds:g} seconds and cannot be stopped; it goes on in the "
                "background. Restart the kernel to end it."
            )
            line = ran.stuck_at
        else:
            message = (
                "It ends the program; return a value in its place."
                if isinstance(error, SystemExit)
                else f"{type(error).__name__}: {_short(error)}"
            )
            line = line_in(function, traceback.extract_tb(error.__traceback__))
        details = {"in your": line} if line else {}
        return self._outcome("raised", message, details=details | self._inputs(max(len(seen) - 1, 0)), notes=notes)

    def _first_difference(self, seen):
        """(number of the case, Difference) for the first case that differs from the reference, or None."""
        for number, (mine, right) in enumerate(zip(seen, self.right)):
            found = mine.misshapen
            if found is None and not mine.repeats:
                found = Difference("randomness", self._generator(), None, None)
            found = found or self._values_differ(right, mine)
            if found is None and mine.changed:
                found = Difference("arguments", mine.changed[0], None, None)
            found = found or self._gradients_differ(right, mine)
            if found is not None:
                return number, found
        return None

    def behaves_like(self, seen, mistake):
        """Whether a function that was seen did what a mistake does, in every case."""
        return all(
            mine.misshapen is None
            and mine.repeats == theirs.repeats
            and set(theirs.changed) <= set(mine.changed)
            and self._values_differ(theirs, mine, right) is None
            and (right.gradients is None or mine.changed or self._gradients_differ(theirs, mine) is None)
            for mine, theirs, right in zip(seen, self.mistaken(mistake), self.right)
        )

    def _values_differ(self, expected, got, right=None):
        for what, value in expected.values.items():
            tolerance = self.tolerance.get(what, 1e-4) if isinstance(self.tolerance, dict) else self.tolerance
            strict = self.measure is None and (right or expected).gradients is not None
            found = difference(value, got.values.get(what), tolerance, strict=strict, what=what)
            if found is not None:
                return found
        return None

    def _gradients_differ(self, expected, got):
        for name, gradient in (expected.gradients or {}).items():
            mine = (got.gradients or {}).get(name)
            mine = torch.zeros_like(gradient) if mine is None else mine
            tolerance = 1e-4 if isinstance(self.tolerance, dict) else self.tolerance
            found = difference(gradient, mine, tolerance)
            if found is not None:
                return Difference("gradient", name, gradient, mine, found.at)
        if expected.gradients is None and got.gradients and any(g.any() for g in got.gradients.values()):
            name, mine = next((n, g) for n, g in got.gradients.items() if g.any())
            return Difference("gradient", name, torch.zeros_like(mine), mine)
        return None

    def _differs(self, number, found, notes):
        expected, got = values_apart(found.expected, found.got)
        details = self._inputs(number)
        if found.kind == "gradient":
            details |= {f"expected gradient of `{found.what}`": expected, "yours": got}
        elif found.kind not in ("arguments", "randomness"):
            details |= {f"expected {found.part}".strip(): expected, "yours": got}
        return self._outcome("wrong", found.in_words(), difference=found, details=details, notes=notes)

    def _outcome(self, status, message="", **more):
        return Outcome(self.name, self.title, status, message, **more)

    def _inputs(self, number):
        return {f"`{name}`": show_value(value) for name, value in named(self, self.argument_sets[number]).items()}

    def _generator(self):
        """The name of the argument from which random numbers are drawn, "" if there is none."""
        arguments = named(self, self.argument_sets[0])
        return next((name for name, value in arguments.items() if isinstance(value, GENERATORS)), "")

    # ------------------------------------------------------------------- observation

    @cached_property
    def argument_sets(self):
        """The cases, made once."""
        found = list(self.cases())
        if not found or not all(isinstance(case, (tuple, dict)) for case in found):
            raise TypeError(f"the cases of {self.name} must be tuples of arguments, or dicts of them")
        return found

    @cached_property
    def right(self):
        """What the reference does in every case."""
        return self._observed(self.reference, "the reference", None)

    def mistaken(self, mistake):
        """What a mistake does in every case."""
        if mistake.name not in self._mistaken:
            self._mistaken[mistake.name] = self._observed(mistake.code, f"mistake {mistake.name!r}", self.right)
        return self._mistaken[mistake.name]

    def _observed(self, function, what, right):
        ran = run(lambda: observe_all(self, function, right), 60 * self.seconds)
        error = ran.error or ran.value[-1].error
        if error is not None:
            raise RuntimeError(f"{self.name} is broken: {what} raised {error!r}") from error
        return ran.value


def _source(function):
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt, or not written in Python
        return None


def _short(text, most=300):
    try:
        text = " ".join(str(text).split())
    except Exception:
        return "(an error whose text cannot be read)"
    return text if len(text) <= most else text[:most] + " …"
