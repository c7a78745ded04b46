"""What a wrong result depends on: arguments are changed one at a time, for the learner's function and the reference."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from course_lib.notebook.exercises.comparing import as_array, fresh
from course_lib.notebook.exercises.observing import apply, named
from course_lib.notebook.exercises.running import seed_everything

NONE, CLEAR = 1e-5, 1e-2  # changes of a number, as shares of it (or of 1): what is noise, and what is not


def dependence(exercise: Any, function: Callable, case: tuple | dict, part: Callable) -> str:
    """The first change of an argument to which a function reacts otherwise than the reference, in a sentence.

    exercise: an `Exercise` without a measure.
    function: the learner's.
    case: arguments for which it gives a wrong result.
    part: takes the wrong numbers out of a result.
    Returns "" where nothing was found.
    """
    for what, changed in _changes(exercise, case):
        reactions = [_reaction(each, part, case, changed) for each in (function, exercise.reference)]
        if None in reactions or reactions[0][0].shape != reactions[1][0].shape:
            continue
        (by, mine), (rightly_by, right) = reactions
        more, less = (mine > CLEAR) & (right <= NONE), (mine <= NONE) & (right > CLEAR)
        if less.any():
            where = "" if less.all() or not mine.any() else f" at {np.argwhere(less)[0].tolist()}"
            return f"Yours{where} does not change with {what}, and it should."
        if more.any():
            where = "" if not right.any() else f" at {np.argwhere(more)[0].tolist()}"
            return f"Yours{where} changes with {what}, and it should not."
        if (right > CLEAR).sum() > 3 and np.allclose(by, -rightly_by, 1e-3, 1e-4):
            return f"Yours falls where it should rise with {what}, and rises where it should fall. Is a sign wrong?"
    return ""


def growth(exercise: Any, seen: list) -> str:
    """Whether all results are wrong by a factor that is proportional to the size of an argument, in a sentence.

    exercise: an `Exercise`, which gives single numbers.
    seen: what the learner's function did, one Observation per case.
    Returns "" where that is not so.
    """
    try:
        factors = [float(mine.raw) / float(right.raw) for mine, right in zip(seen, exercise.right)]
        sizes = [
            {
                f"`{name}.shape[{axis}]`": n
                for name, v in named(exercise, case).items()
                for axis, n in enumerate(getattr(v, "shape", ()))
            }
            for case in exercise.argument_sets
        ]
    except Exception:  # results that are not one number, or of a class of the learner's own
        return ""
    for what in sizes[0] if factors else ():
        each = [size.get(what, 0) for size in sizes]
        if 0 in each:
            continue
        for said, ratios in (
            ("grows in proportion to", [f / n for f, n in zip(factors, each)]),
            ("shrinks in proportion to", [f * n for f, n in zip(factors, each)]),
        ):
            if len(set(each)) > 1 and max(ratios) - min(ratios) < 1e-3 * abs(max(ratios)):
                return f"In every input yours is wrong by a factor that {said} {what}. Is a mean asked, or a sum?"
    return ""


def _changes(exercise, case) -> Iterator[tuple[str, dict]]:
    """(what was changed, in words; all arguments with that change), for arguments that are decimal numbers."""
    arguments = named(exercise, case)
    arrays = {name: as_array(v) for name, v in arguments.items() if isinstance(v, (float, torch.Tensor, np.ndarray))}
    arrays = {name: array for name, array in arrays.items() if array is not None and array.dtype.kind == "f"}

    def with_new(name, new):
        kinds = {float: float, np.ndarray: np.asarray, torch.Tensor: torch.as_tensor}
        return arguments | {name: kinds[type(arguments[name])](new.astype(arrays[name].dtype))}

    bumps = {name: (0.3 * np.cos(np.arange(a.size)).reshape(a.shape) + 0.1) for name, a in arrays.items()}
    for name, array in arrays.items():
        yield f"`{name}`", with_new(name, array * 0.9 if array.ndim == 0 else array + bumps[name])
    for name, array in arrays.items():
        if array.ndim > 1:
            factors = np.linspace(1.2, 2.0, array[..., 0].size).reshape(*array.shape[:-1], 1)
            yield f"the lengths of the rows of `{name}`", with_new(name, array * factors)
        if array.ndim:
            yield f"the size of the numbers in `{name}`", with_new(name, array * 2)
    for name, array in arrays.items():
        for axis, size in enumerate(array.shape):
            for place in range(min(size, 6)):
                index, new = (slice(None),) * axis + (place,), array.copy()
                new[index] += bumps[name][index]
                yield f"`{name}[{':, ' * axis}{place}]`", with_new(name, new)


def _reaction(function, part, before, after):
    """By how much every number of the result changed, and as what share of it; None for a result without numbers."""
    results = []
    for arguments in (before, after if isinstance(before, dict) else tuple(after.values())):
        seed_everything(0)
        try:
            results.append(as_array(part(apply(function, fresh(arguments)))))
        except Exception:  # a changed argument may be one that the function refuses
            return None
    if any(r is None for r in results) or results[0].shape != results[1].shape:
        return None
    first, second = (r.astype(np.float64) for r in results)
    with np.errstate(invalid="ignore"):  # inf − inf
        by = np.nan_to_num(second - first)
        return by, np.nan_to_num(np.abs(by) / np.maximum(1, np.abs(first)))
