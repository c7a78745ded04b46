"""Exercises that say which mistake it is.

A check runs the learner's function on crafted inputs and compares what it returns, and the gradients of that, with
the reference and with typical mistakes, which every exercise carries as code. Nobody's source text is read. To write
an exercise, make an `Exercise` at module level of the module of its notebook in this package; it is found there, and
tests/notebook/exercises/test_exercises.py proves its promises.
"""

import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from course_lib.notebook.exercises import answers
from course_lib.notebook.exercises.comparing import Difference, changed, difference, fresh, map_tensors
from course_lib.notebook.exercises.running import TimeIsUp, line_in, run, seed_everything
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

    def __init__(self, name, title, difficulty, minutes, reference, cases, mistakes, hints, solution, gradients=True,
                 measure=None, shapes=True, tolerance=1e-4, seconds=10.0):
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
        self._known = {}  # what the reference and the mistakes do

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
        reasons = {"not attempted": "yours is not attempted yet", "raised": "yours raises an error",
                   "wrong": "yours is not right yet"}
        print(f"{self.title}: the notebook goes on with your own function." if outcome.right else
              f"{self.title}: the notebook goes on with the library's function; {reasons[outcome.status]}.")
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
        text = solved.get(self.name) or ("solved, but its source could not be kept" if self.name in solved else
                                         "not solved yet")
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
            return self._outcome("not attempted" if function is None or function is ... else "wrong",
                                 "`check` takes the function itself: write its name without calling it.")
        refused = _refuses(function, self._cases[0])
        if refused:
            return self._outcome("raised", f"It is called as `{self._call}`, and yours takes `{refused}`.")
        self._right  # before the clock starts
        seen = []  # filled by the run, so that what came before an error is known
        ran = run(lambda: self._observe_all(function, seen), self.seconds, of=function)
        notes = (f"it printed {_short(ran.printed)}",) if ran.printed.strip() else ()
        stopped = ran.error or (seen[-1].error if seen else None)
        if stopped is not None:
            return self._stopped(function, stopped, ran, seen, notes)
        if any(_missing(each.raw) for each in seen[:1]):
            return self._outcome("not attempted", "Nothing came back. If you have written it, is a `return` missing?",
                                 notes=notes)
        wrong = self._first_difference(seen)
        if wrong is None:
            return self._outcome("right", "", notes=notes)
        mistake = next((m for m in self.mistakes if self._is(seen, self._observed(m))), None)
        if mistake is not None:
            return self._outcome("wrong", mistake.message, hint=mistake.hint, mistake=mistake.name, notes=notes)
        return self._differs(*wrong, notes)

    def _stopped(self, function, error, ran, seen, notes):
        if isinstance(error, NotImplementedError) and len(seen) <= 1:
            return self._outcome("not attempted", "It raises NotImplementedError.", notes=notes)
        if isinstance(error, TimeIsUp):
            message = (f"It did not come back within {self.seconds:g} seconds and was stopped. Does a loop never end?"
                       if not ran.still_runs else
                       f"It did not come back within {self.seconds:g} seconds and cannot be stopped; it goes on in the "
                       "background. Restart the kernel to end it.")
            line = ran.stuck_at
        else:
            message = "It ends the program; return a value in its place." if isinstance(error, SystemExit) else \
                f"{type(error).__name__}: {_short(error)}"
            line = line_in(function, traceback.extract_tb(error.__traceback__))
        details = {"in your": line} if line else {}
        return self._outcome("raised", message, details=details | self._inputs(max(len(seen) - 1, 0)), notes=notes)

    def _first_difference(self, seen):
        """(number of the case, Difference) for the first case that differs from the reference, or None."""
        for number, (mine, right) in enumerate(zip(seen, self._right)):
            found = mine.misshapen or self._values_differ(right, mine)
            if found is None and mine.changed:
                found = Difference("arguments", mine.changed[0], None, None)
            if found is None:
                found = self._gradients_differ(right, mine)
            if found is None and not mine.repeatable:
                found = Difference("randomness", "", None, None)
            if found is not None:
                return number, found
        return None

    def _is(self, seen, mistaken):
        """Whether a function behaved as a mistake does, in every case."""
        return all(
            mine.misshapen is None and self._values_differ(theirs, mine, right) is None
            and (right.gradients is None or mine.changed or self._gradients_differ(theirs, mine) is None)
            and set(theirs.changed) <= set(mine.changed)
            for mine, theirs, right in zip(seen, mistaken, self._right))

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
            details |= {f"expected{' ' + found.what if found.what else ''}": expected, "yours": got}
        return self._outcome("wrong", _in_words(found), difference=found, details=details, notes=notes)

    def _outcome(self, status, message="", **more):
        return Outcome(self.name, self.title, status, message, **more)

    def _inputs(self, number):
        return {f"`{name}`": show_value(value) for name, value in self._named(self._cases[number]).items()}

    # ------------------------------------------------------------------- observation

    @cached_property
    def _cases(self):
        found = list(self.cases())
        if not found or not all(isinstance(case, (tuple, dict)) for case in found):
            raise TypeError(f"the cases of {self.name} must be tuples of arguments, or dicts of them")
        return found

    @cached_property
    def _right(self):
        return self._observed(self.reference)

    def _observed(self, function):
        """What the reference or a mistake does in every case; cached, because it never changes."""
        known = self._known
        code = function.code if isinstance(function, Mistake) else function
        key = function.name if isinstance(function, Mistake) else ""
        if key not in known:
            ran = run(lambda: self._observe_all(code, [], known.get("")), 60 * self.seconds, of=code)
            if ran.error is not None:
                raise RuntimeError(f"{self.name}: {key or 'the reference'} raised {ran.error!r}") from ran.error
            known[key] = ran.value
            failed = next((each.error for each in ran.value if each.error is not None), None)
            if failed is not None:
                del known[key]
                raise RuntimeError(f"{self.name}: {key or 'the reference'} raised {failed!r}") from failed
        return known[key]

    def _observe_all(self, function, seen, right=None):
        right = right or (self._right if function is not self.reference else None)
        for number in range(len(self._cases)):
            seen.append(_Observation())
            self._observe(function, number, seen[-1], right[number] if right else None)
            if seen[-1].error is not None or (number == 0 and _missing(seen[-1].raw)):
                break
        return seen

    def _observe(self, function, number, seen, right):
        """Run one case and write down into `seen` what came of it."""
        case = self._cases[number]
        arguments = fresh(case)
        seed_everything(number)
        calls = []

        def call(*args, **kwargs):
            calls.append(None)
            calls[-1] = value = function(*args, **kwargs)
            if len(calls) == 1:
                seen.raw = value
                wrong = right and difference(right.raw, value, 0, strict=True, shapes=self.shapes, values=False)
                if wrong:
                    raise _Misshapen(wrong)
            return value

        try:
            if self.measure is None:
                seen.raw = _apply(function, arguments)
                seen.values = {"": seen.raw}
            else:
                seen.values = _apply(self.measure, arguments, call)
        except _Misshapen as wrong:
            seen.misshapen, seen.values = wrong.args[0], {}
        except Exception as error:
            if right is not None and calls and calls[-1] is not None:  # what reads the result failed, not the function
                seen.misshapen, seen.values = Difference("value", "", right.raw, calls[-1]), {}
            else:
                seen.error = error
        if seen.error is not None or _missing(seen.raw):
            return
        before, after = self._named(case), self._named(arguments)
        seen.changed = tuple(name for name in before if changed(before[name], after[name]))
        if self.measure is None and self.gradients and not seen.changed:
            seed_everything(number)
            try:
                seen.gradients = self._gradients(function, case)
            except Exception as error:
                seen.error = error
        if seen.error is None and any(isinstance(a, torch.Generator) for a in before.values()):
            seed_everything(number)
            first = _apply(function, fresh(case))
            seed_everything(number + 1)
            second = _apply(function, fresh(case))
            seen.repeatable = difference(first, second, 0) is None

    def _gradients(self, function, case):
        """{argument: gradient of a fixed weighted sum of the result}, None where nothing has a gradient."""
        leaves = {}

        def variable(tensor, name):
            leaves[name] = tensor.requires_grad_()
            return tensor.clone()  # no leaf, so that changing it in place is reported and not refused

        named = {name: map_tensors(variable, value, name) for name, value in self._named(fresh(case)).items()}
        if not leaves:
            return None
        with torch.enable_grad():
            result = _apply(function, named if isinstance(case, dict) else tuple(named.values()))
        outputs = []
        map_tensors(lambda tensor, _: outputs.append(tensor) if tensor.requires_grad else None, result, "")
        if not outputs:
            return None
        # unequal weights, so that no gradient is missed because its terms cancel
        total = sum((out * torch.linspace(1, 2, max(out.numel(), 1)).to(out.dtype).view(out.shape)).sum()
                    for out in outputs)
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        return {name: torch.zeros_like(leaf) if gradient is None else gradient
                for (name, leaf), gradient in zip(leaves.items(), found)}

    def _named(self, case):
        """{parameter of the reference: argument}."""
        if isinstance(case, dict):
            return dict(case)
        return dict(zip(_parameters(self.reference, len(case)), case))

    @property
    def _call(self):
        return f"{self.name.split('.')[1]}({', '.join(self._named(self._cases[0]))})"


@dataclass
class _Observation:
    """What a function did in one case."""

    raw: object = None
    values: dict = field(default_factory=dict)
    gradients: dict = None
    changed: tuple = ()
    repeatable: bool = True
    misshapen: Difference = None
    error: BaseException = None


class _Misshapen(Exception):
    """A result that no measurement can read."""


def _apply(function, arguments, *first):
    if isinstance(arguments, dict):
        return function(*first, **arguments)
    return function(*first, *arguments)


def _missing(value):
    """Whether a function gave back what an untouched stub does."""
    return value is None or value is ... or (isinstance(value, tuple) and any(v is ... for v in value))


def _refuses(function, case):
    """The function's own signature where it cannot be called with these arguments, else None."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some compiled functions have none
        return None
    try:
        _apply(signature.bind, case)
    except TypeError:
        return str(signature)
    return None


def _parameters(function, count):
    try:
        names = [p.name for p in inspect.signature(function).parameters.values()
                 if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"argument {n}" for n in range(len(names) + 1, count + 1))][:count]


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


def _kind(value):
    if value is None:
        return "nothing (None)"
    if torch.is_tensor(value):
        return "a tensor"
    names = {"list": "a list", "tuple": "a tuple", "dict": "a dict", "float": "a number", "int": "a number",
             "str": "a string", "bool": "True or False", "ndarray": "a NumPy array", "set": "a set"}
    return names.get(type(value).__name__, f"an object of type {type(value).__name__}")


def _in_words(d):
    """The message for an answer that matches no known mistake."""
    part = f" of `{d.what}`" if d.what else ""
    at = f" at {list(d.at)}" if d.at else ""
    if d.kind == "type":
        return f"For these inputs {_kind(d.expected)} is expected{part}, and {_kind(d.got)} came."
    if d.kind == "length":
        return f"There should be {len(d.expected)} values{part}, and there are {len(d.got)}."
    if d.kind == "keys":
        return f"The keys{part} should be {sorted(map(str, d.expected))}, and they are {sorted(map(str, d.got))}."
    if d.kind == "shape":
        return f"The shape{part} is {_shape(d.got)}, and it should be {_shape(d.expected)}."
    if d.kind == "dtype":
        return f"The kind of number{part} is {_dtype(d.got)}, and it should be {_dtype(d.expected)}."
    if d.kind == "nan":
        return (f"There is a NaN or an infinity{at}{part}. Is something divided by zero, or does a logarithm or a "
                "softmax see what it cannot take?")
    if d.kind == "gradient":
        if torch.is_tensor(d.got) and not d.got.any():
            return f"The values are right, and no gradient reaches `{d.what}`. Is something detached, or made anew?"
        return f"The values are right, and the gradient with respect to `{d.what}` is not{at}."
    if d.kind == "arguments":
        return f"It changes its argument `{d.what}`, which the caller still needs. Work on a copy."
    if d.kind == "randomness":
        return ("Two calls with generators of the same seed give different results. Draw every random number from "
                "the `generator` that is passed.")
    return f"For these inputs the value{part} differs{', first' + at if at else ''}."


def _shape(value):
    return tuple(getattr(value, "shape", ()) if hasattr(value, "shape") else torch.as_tensor(value).shape)


def _dtype(value):
    if torch.is_tensor(value):
        return str(value.dtype).removeprefix("torch.")
    kind = np.asarray(value).dtype.kind
    return {"i": "whole numbers", "u": "whole numbers", "f": "decimal numbers", "b": "True or False"}[kind]
