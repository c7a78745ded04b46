"""Exercises that recognise typical mistakes.

A check runs the learner's function on crafted inputs. It compares the results and their gradients with those of the
reference and of typical mistakes, which every exercise carries as code. Nobody's source text is read. To write an
exercise, make an `Exercise` at module level in the module of its notebook in this package. It is found there, and
tests/notebook/exercises/test_exercises.py checks that it keeps its promises.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from course_lib.notebook.exercises import answers
from course_lib.notebook.exercises.observing import Observation, observe_all
from course_lib.notebook.exercises.running import run
from course_lib.notebook.exercises.showing import Outcome, Shown, box, code_block, inline
from course_lib.notebook.exercises.verdict import verdict

__all__ = ["Exercise", "Mistake", "Outcome"]

DIFFICULTIES = {"easy": "●○○", "medium": "●●○", "hard": "●●●"}


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer.

    name: short, unique in its exercise.
    code: the wrong function itself, called as the reference is; it may raise an error, but not in the first case.
    message: what is wrong, true of this mistake alone; text between backticks is set as code.
    hint: the next step.
    """

    name: str
    code: Callable
    message: str
    hint: str


class Exercise:
    """One function for the learner to write.

    name: "module.variable", such as "simcse.info_nce".
    title: what it is, for the learner.
    difficulty: easy, medium or hard.
    minutes: what it takes.
    reference: the right function, of the library where it has one; `use` gives it to the notebook.
    cases: a function that returns {what is special about the inputs: tuple of arguments, or dict of keyword arguments},
        on which every mistake differs from the reference and from the other mistakes. A learner reads "this one has …"
        where other inputs came out right. Arguments are copied for each call; a torch.Generator starts from the same
        state each time, and the global generators are seeded. Sets may hold integers: the order of strings in a set
        changes from kernel to kernel.
    mistakes: each with its own name.
    hints: two or three, from a nudge to nearly the answer.
    solution: source of a right answer, which defines my_<variable>, such as my_info_nce, and may use torch, F, np and
        math.
    why: why a right answer is right, in one sentence.
    gradients: whether to compare gradients with respect to the floating-point tensors among the arguments too, where
        the reference has them. False for what is only measured and never trained through.
    measure: measure(call, *arguments) → {what is measured, in words: number or tensor}. It is compared instead of the
        result, where that is random or not all that counts. `call` is the function to check and may be called often;
        its result must have the reference's type, shape and dtype. Draw no random number outside of `call`.
    shapes: False where a right result may have another shape than the reference's, because it is random.
    strict: False where plain numbers, NumPy arrays or another dtype may replace the tensors of the reference.
    tolerance: numbers agree within tolerance · max(1, |expected|); for measures also {what: tolerance}.
    seconds: how long a check waits for the function.
    Raises ValueError for a name without a dot, an unknown difficulty, and two mistakes with the same name.
    """

    def __init__(
        self,
        name: str,
        title: str,
        difficulty: str,
        minutes: int,
        reference: Callable,
        cases: Callable[[], dict[str, tuple | dict]],
        mistakes: Sequence[Mistake],
        hints: Sequence[str],
        solution: str,
        why: str,
        gradients: bool = True,
        measure: Callable[..., dict] | None = None,
        shapes: bool = True,
        strict: bool = True,
        tolerance: float | dict[str, float] = 1e-4,
        seconds: float = 10.0,
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
        self.solution_source, self.why = inspect.cleandoc(solution), why
        self.gradients, self.shapes, self.strict = gradients, shapes, strict
        self.tolerance, self.seconds = tolerance, seconds
        self._hints_shown, self._reset = 0, False
        self._mistaken = {}

    # ------------------------------------------------------------------- for the learner

    def check(self, function: Callable) -> Outcome:
        """Say whether a function is right, and if not, what is wrong with it; a right answer is kept.

        function: the learner's, not called.
        Returns an Outcome: not attempted, raised, wrong or right.
        """
        self._reset = False
        outcome = verdict(self, function)
        if outcome.right:
            remark = answers.save(self.name, _source(function))
            outcome = replace(outcome, notes=(*outcome.notes, remark)) if remark else outcome
        elif outcome.status == "not attempted" and answers.load()[0].get(self.name):
            before = f"you have solved it before; `{self.name}.answer()` shows your answer"
            outcome = replace(outcome, notes=(*outcome.notes, before))
        return outcome

    def use(self, function: Callable) -> Callable:
        """Return the learner's function if it is right, else the library's, and print which one it is.

        function: the learner's, not called. After `reset` it is the library's too, until the next `check`.
        """
        if self._reset:
            print(f"{self.title}: the notebook goes on with the library's function, until you check yours again.")
            return self.reference
        outcome = self.check(function)
        reasons = {"not attempted": "is not attempted yet", "raised": "raises an error", "wrong": "is not right yet"}
        why = f"the library's function; yours {reasons[outcome.status]}" if not outcome.right else "your own function"
        print(f"{self.title}: the notebook goes on with {why}.")
        return function if outcome.right else self.reference

    def reset(self) -> None:
        """Forget the attempt: the answer in the progress file and the hints shown; `use` gives the library's again."""
        answers.forget(self.name)
        self._hints_shown, self._reset = 0, True
        print(f"{self.title}: forgotten. `use` gives the library's function, until you check yours again.")

    def hint(self) -> Shown:
        """The hints so far and one more."""
        self._hints_shown = min(self._hints_shown + 1, len(self.hints))
        given = self.hints[: self._hints_shown]
        last = "That was the last one." if len(given) == len(self.hints) else ""
        lines = [f"Hint {n} of {len(self.hints)}: {hint}" for n, hint in enumerate(given, 1)]
        lines += [last] if last else []
        return Shown("\n".join(lines), box("<br>".join(inline(line) for line in lines)))

    def solution(self) -> Shown:
        """A right answer, folded in a notebook."""
        folded = f"<details><summary>Solution</summary>{code_block(self.solution_source)}</details>"
        return Shown(f"Solution:\n{self.solution_source}", box(folded))

    def answer(self) -> Shown:
        """The learner's own right answer, from the progress file, which outlives the kernel."""
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

    # ------------------------------------------------------------------- observation

    @cached_property
    def _cases(self) -> dict[str, tuple | dict]:
        found = self.cases()
        if not found or not isinstance(found, dict) or not all(isinstance(c, (tuple, dict)) for c in found.values()):
            raise TypeError(f"the cases of {self.name} must be {{what is special: tuple or dict of arguments}}")
        return found

    @property
    def argument_sets(self) -> list[tuple | dict]:
        """The arguments of every case, made once."""
        return list(self._cases.values())

    @property
    def looks(self) -> list[str]:
        """What is special about every case."""
        return list(self._cases)

    @cached_property
    def right(self) -> list[Observation]:
        """What the reference does in every case."""
        return self._observed(self.reference, "the reference", None)

    def mistaken(self, mistake: Mistake) -> list[Observation]:
        """What a mistake does in every case.

        mistake: one of `self.mistakes`.
        """
        if mistake.name not in self._mistaken:
            self._mistaken[mistake.name] = self._observed(mistake.code, f"mistake {mistake.name!r}", self.right)
        return self._mistaken[mistake.name]

    def _observed(self, function, what, right):
        ran = run(lambda: observe_all(self, function, right), 60 * self.seconds)
        error = ran.error or ran.value[-1].error
        later = right is not None and ran.error is None and len(ran.value) > 1  # a mistake may fail on other inputs
        if error is not None and not later:
            raise RuntimeError(f"{self.name} is broken: {what} raised {error!r}") from error
        return ran.value


def _source(function):
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt, or not written in Python
        return None
