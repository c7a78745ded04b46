"""The verdict on a learner's function: not attempted, raised, wrong (and with which mistake), or right."""

import re
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from course_lib.notebook.exercises.comparing import Difference, difference, relation
from course_lib.notebook.exercises.observing import GENERATORS, missing, named, observe_all, refused_signature
from course_lib.notebook.exercises.probing import dependence, growth
from course_lib.notebook.exercises.running import TimeIsUp, line_in, run
from course_lib.notebook.exercises.showing import Outcome, show_value, values_apart


def verdict(exercise: Any, function: Callable) -> Outcome:
    """Run a function on an exercise's cases and say what it did.

    exercise: an `Exercise`.
    function: the learner's, not called.
    Returns an Outcome.
    """
    if not callable(function):
        return _outcome(
            exercise,
            "not attempted" if function is None or function is ... else "wrong",
            "`check` takes the function itself: write its name without calling it.",
        )
    refused = refused_signature(function, exercise.argument_sets[0])
    if refused:
        call = f"{exercise.name.split('.')[1]}({', '.join(named(exercise, exercise.argument_sets[0]))})"
        return _outcome(exercise, "raised", f"It is called as `{call}`, and yours takes `{refused}`.")
    right, seen = exercise.right, []  # the reference runs before the clock starts
    ran = run(lambda: observe_all(exercise, function, right, seen), exercise.seconds, of=function)
    lines = dict.fromkeys(ran.printed.split("\n"))  # each only once: the function is called many times
    notes = (f"it printed {_short(' '.join(lines))}",) if ran.printed.strip() else ()
    stopped = ran.error or (seen[-1].error if seen else None)
    if stopped is not None and (len(seen) < 2 or ran.error):
        return _stopped(exercise, function, stopped, ran, seen, notes)
    if missing(seen[0].raw):
        message = "Nothing came back. If you have written it, is a `return` missing?"
        return _outcome(exercise, "not attempted", message, notes=notes)
    wrong = _first_difference(exercise, seen)
    if wrong is None and stopped is None:
        return _outcome(exercise, "right", exercise.why, notes=notes)
    mistake = next((m for m in exercise.mistakes if behaves_like(exercise, seen, m)), None)
    if mistake is None and stopped is not None:
        return _stopped(exercise, function, stopped, ran, seen, notes)
    if mistake is None:
        return _differs(exercise, function, seen, *wrong, notes)
    more = _changed(seen) - _changed(exercise.mistaken(mistake))
    notes += tuple(f"it also changes its argument `{name}`; work on a copy" for name in sorted(more))
    return _outcome(exercise, "wrong", mistake.message, hint=mistake.hint, mistake=mistake.name, notes=notes)


def behaves_like(exercise: Any, seen: list, mistake: Any) -> bool:
    """Whether a function did what a mistake does, in every case.

    exercise: an `Exercise`.
    seen: what the function did, one Observation per case.
    mistake: one of the exercise's.
    """
    if any(mine.changed for mine in seen) and _right_but_for_gradients(exercise, mistake):
        return False  # gradients are not compared where arguments were changed
    return all(
        type(mine.error) is type(theirs.error)
        if mine.error or theirs.error
        else mine.misshapen is None
        and mine.repeats == theirs.repeats
        and set(theirs.changed) <= set(mine.changed)
        and _values_differ(exercise, theirs, mine) is None
        and (right.gradients is None or mine.changed or _gradients_differ(exercise, theirs, mine) is None)
        for mine, theirs, right in zip(seen, exercise.mistaken(mistake), exercise.right)
    )


def _right_but_for_gradients(exercise, mistake):
    observed = zip(exercise.right, exercise.mistaken(mistake))
    return all(_values_differ(exercise, right, theirs) is None for right, theirs in observed)


# --------------------------------------------------------------------------- outcomes


def _outcome(exercise, status, message="", **more):
    return Outcome(exercise.name, exercise.title, status, message, **more)


def _stopped(exercise, function, error, ran, seen, notes):
    """The outcome of a function that raised or did not come back."""
    if isinstance(error, NotImplementedError) and len(seen) <= 1:
        return _outcome(exercise, "not attempted", "It raises NotImplementedError.", notes=notes)
    if isinstance(error, TimeIsUp):
        message = (
            f"It did not come back within {exercise.seconds:g} seconds and was stopped. Does a loop never end?"
            if not ran.still_runs
            else f"It did not come back within {exercise.seconds:g} seconds and cannot be stopped; it goes on in the "
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
    return _outcome(
        exercise, "raised", message, details=details | _inputs(exercise, max(len(seen) - 1, 0)), notes=notes
    )


def _differs(exercise, function, seen, number, found, notes):
    expected, got = values_apart(found.expected, found.got)
    message, hint = found.in_words(), ""
    if found.kind == "gradient" and seen[number].untrainable is not None:
        error = seen[number].untrainable
        said = _short(error).split(". ")[0]  # torch goes on to recommend .detach(), which loses the gradient
        message += f" It raises {type(error).__name__} where the inputs ask for a gradient: {said}."
    if found.kind == "value":
        message, hint = _where_to_look(exercise, function, seen, number, found)
    details = _inputs(exercise, number)
    if found.kind == "gradient":
        details |= {f"expected gradient of `{found.what}`": expected, "yours": got}
    elif found.kind not in ("arguments", "randomness"):
        details |= {f"expected {found.part}".strip(): expected, "yours": got}
    return _outcome(exercise, "wrong", message, difference=found, details=details, notes=notes, hint=hint)


def _where_to_look(exercise, function, seen, number, found):
    """The message with what all inputs have in common, or what is special about the first wrong one; and a hint."""
    message = found.in_words()
    if exercise.measure:
        return message, ""
    part = partial(_part, of=found.what)
    expected, got = [o.raw for o in exercise.right], [o.raw for o in seen]
    common = relation(expected, got) or relation(list(map(part, expected)), list(map(part, got)))
    common = common or growth(exercise, seen)
    right = [n for n, pair in enumerate(zip(seen, exercise.right)) if _case_difference(exercise, *pair) is None]
    if not common and right:
        common = f"{len(right)} of {len(seen)} inputs come out right; this one has {exercise.looks[number]}."
    if not common:
        case = exercise.argument_sets[number]
        common = run(lambda: dependence(exercise, function, case, part), exercise.seconds).value
    return (f"{message} {common}", "") if common else (message, exercise.hints[0])


def _part(result, of):
    """The numbers to compare: all values of a dict, in the order of its keys; the item of a tuple that differs."""
    if isinstance(result, Mapping):
        return [result[key] for key in sorted(result, key=str)]
    place = re.match(r"\[(\d+)\]", of)
    if place and isinstance(result, (list, tuple)):
        return result[int(place[1])] if int(place[1]) < len(result) else None
    return result


def _inputs(exercise, number):
    return {f"`{name}`": show_value(value) for name, value in named(exercise, exercise.argument_sets[number]).items()}


# --------------------------------------------------------------------------- differences


def _first_difference(exercise, seen):
    """(number of the case, Difference) for the first case that differs from the reference, or None."""
    found = (_case_difference(exercise, mine, right) for mine, right in zip(seen, exercise.right) if not mine.error)
    return next(((number, each) for number, each in enumerate(found) if each is not None), None)


def _case_difference(exercise, mine, right):
    if mine.misshapen is not None:
        return mine.misshapen
    if not mine.repeats:
        return Difference("randomness", _generator(exercise), None, None)
    found = _values_differ(exercise, right, mine)
    if found is None and mine.changed:
        found = Difference("arguments", mine.changed[0], None, None)
    return found or _gradients_differ(exercise, right, mine)


def _values_differ(exercise, expected, got):
    for what, value in expected.values.items():
        tolerance = exercise.tolerance.get(what, 1e-4) if isinstance(exercise.tolerance, dict) else exercise.tolerance
        found = difference(value, got.values.get(what), tolerance, strict=exercise.strict, what=what)
        if found is not None:
            return found
    return None


def _gradients_differ(exercise, expected, got):
    for name, gradient in (expected.gradients or {}).items():
        mine = (got.gradients or {}).get(name)
        mine = torch.zeros_like(gradient) if mine is None else mine
        tolerance = 1e-4 if isinstance(exercise.tolerance, dict) else exercise.tolerance
        found = difference(gradient, mine, tolerance)
        if found is not None:
            return Difference("gradient", name, gradient, mine, found.at)
    if expected.gradients is None and got.gradients and any(g.any() for g in got.gradients.values()):
        name, mine = next((n, g) for n, g in got.gradients.items() if g.any())
        return Difference("gradient", name, torch.zeros_like(mine), mine)
    return None


def _generator(exercise):
    """The name of the argument from which random numbers are drawn, "" if there is none."""
    arguments = named(exercise, exercise.argument_sets[0])
    return next((name for name, value in arguments.items() if isinstance(value, GENERATORS)), "")


def _changed(seen):
    """The names of all arguments that were changed in some case."""
    return set().union(*(each.changed for each in seen))


def _short(text, most=300):
    try:
        text = " ".join(str(text).split())
    except Exception:
        return "(an error whose text cannot be read)"
    return text if len(text) <= most else text[:most] + " …"
