"""What a function does with an exercise's cases: results, gradients, changed arguments, whether it repeats itself."""

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from course_lib.notebook.exercises.comparing import Difference, changed, difference, fresh, map_tensors
from course_lib.notebook.exercises.running import seed_everything

GENERATORS = (torch.Generator, np.random.Generator, random.Random)


@dataclass
class Observation:
    """What a function did in one case.

    raw: what it returned first.
    values: {what, in words: value} that is compared.
    gradients: {argument: gradient}, or None where the result has none.
    untrainable: what it raised only because its arguments ask for a gradient.
    changed: names of the arguments that it changed.
    repeats: False where a second call with the same arguments gave something else.
    misshapen: the Difference of a result that could not be measured.
    error: what it raised.
    """

    raw: object = None
    values: dict = field(default_factory=dict)
    gradients: dict | None = None
    untrainable: Exception | None = None
    changed: tuple = ()
    repeats: bool = True
    misshapen: Difference | None = None
    error: BaseException | None = None


class _Misshapen(Exception):
    """A result that no measurement can read."""


def observe_all(
    exercise: Any, function: Callable, right: list[Observation] | None = None, seen: list[Observation] | None = None
) -> list[Observation]:
    """Run a function on the cases of an exercise, until the first error.

    exercise: an `Exercise`.
    function: the learner's, the reference or a mistake.
    right: the observations of the reference, which say what a result looks like.
    seen: the list to fill, so that another thread sees how far it is.
    Returns one Observation per case. What the function raises is in the last one.
    """
    seen = [] if seen is None else seen
    for number, case in enumerate(exercise.argument_sets):
        seen.append(Observation())
        try:
            _observe(exercise, function, case, number, seen[-1], right[number] if right else None)
        except Exception as error:
            seen[-1].error = error
        if seen[-1].error is not None or (number == 0 and missing(seen[-1].raw)):
            break
    return seen


def _observe(exercise, function, case, number, seen, right):
    arguments = fresh(case)
    seed_everything(number)
    if exercise.measure is None:
        seen.raw = apply(function, arguments)
        seen.values = {"": seen.raw}
    else:
        _measure(exercise, function, arguments, seen, right)
    if missing(seen.raw):
        return
    before, after = named(exercise, case), named(exercise, arguments)
    seen.changed = tuple(name for name in before if changed(before[name], after[name]))
    if exercise.measure is None or any(isinstance(value, GENERATORS) for value in before.values()):
        seen.repeats = _repeats(function, case, number)
    if exercise.measure is None and exercise.gradients and seen.repeats and not seen.changed:
        seed_everything(number)
        try:
            seen.gradients = _gradients(exercise, function, case)
        except Exception as error:  # NumPy refuses tensors with a gradient, autograd refuses some changes in place
            if right is None:
                raise
            seen.untrainable = error


def _measure(exercise, function, arguments, seen, right):
    """Measure a function; a result that cannot be measured becomes a Difference from that of the reference."""
    results = []

    def call(*args, **kwargs):
        results.append(None)
        results[-1] = value = function(*args, **kwargs)
        if len(results) == 1:
            seen.raw = value
            other = right and difference(
                right.raw, value, 0, strict=exercise.strict, shapes=exercise.shapes, values=False
            )
            if other:
                raise _Misshapen(other)
        return value

    try:
        seen.values = apply(exercise.measure, arguments, call)
    except _Misshapen as wrong:
        seen.misshapen = wrong.args[0]
    except Exception:
        if right is None or not results or results[-1] is None:
            raise  # the function itself failed, or the reference
        seen.misshapen = Difference("value", "", right.raw, results[-1])


def _repeats(function, case, number):
    results = []
    for seed in (number, number + 1):  # a generator among the arguments starts from the same state both times
        seed_everything(seed)
        results.append(apply(function, fresh(case)))
    return not changed(*results, tolerance=1e-6)


def _gradients(exercise, function, case):
    """{argument: gradient of a fixed weighted sum of the result}; None where the result has none."""
    leaves = {}

    def variable(tensor, name):
        leaves[name] = tensor.requires_grad_()
        return tensor.clone()  # no leaf, so that changing it in place is reported and not refused

    arguments = {name: map_tensors(variable, value, name) for name, value in named(exercise, fresh(case)).items()}
    if not leaves:
        return None
    outputs = []
    with torch.enable_grad():
        result = apply(function, arguments if isinstance(case, dict) else tuple(arguments.values()))
        map_tensors(lambda tensor, _: outputs.append(tensor) if tensor.requires_grad else None, result, "")
        if not outputs:
            return None
        # unequal weights, so that no gradient is missed because its terms cancel
        total = sum((out * torch.linspace(1, 2, out.numel()).to(out.dtype).view(out.shape)).sum() for out in outputs)
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found)
    }


# --------------------------------------------------------------------------- arguments


def apply(function: Callable, arguments: tuple | dict, *first) -> Any:
    """Call a function with a tuple or a dict of arguments.

    first: positional arguments that go before them.
    """
    return function(*first, **arguments) if isinstance(arguments, dict) else function(*first, *arguments)


def named(exercise: Any, case: tuple | dict) -> dict[str, Any]:
    """The arguments of a case by the names of the reference's parameters."""
    return dict(case) if isinstance(case, dict) else dict(zip(_parameters(exercise.reference, len(case)), case))


def _parameters(function, count):
    try:
        names = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"argument {n}" for n in range(len(names) + 1, count + 1))][:count]


def refused_signature(function: Callable, case: tuple | dict) -> str | None:
    """The function's own signature where it cannot be called with the arguments of a case, else None."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some compiled functions have none
        return None
    try:
        apply(signature.bind, case)
    except TypeError:
        return str(signature)
    return None


def missing(value: Any) -> bool:
    """Whether a function returned what an untouched stub returns."""
    return value is None or value is ... or (isinstance(value, tuple) and any(v is ... for v in value))
