"""How two results differ: in kind, length, keys, shape, dtype, NaN or value."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import torch

PLAIN = (Number, np.generic, np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Difference:
    """The first way in which a result differs from the expected one.

    kind: type, length, keys, shape, dtype, nan, value, gradient, arguments or randomness.
    what: which part of the result, in words, "" for the whole.
    expected, got: the values of this part.
    at: the index of the first element that differs, () where that says nothing.
    """

    kind: str
    what: str
    expected: object
    got: object
    at: tuple = ()

    @property
    def part(self) -> str:
        """What differs, in words: result[0] for a part of the result."""
        return f"result{self.what}" if self.what.startswith("[") else self.what

    def in_words(self) -> str:
        """A message for the learner."""
        part = f" of `{self.part}`" if self.what else ""
        at = f" at {list(self.at)}" if self.at else ""
        whole = f"`{self.part}`" if self.what else "the result"
        expected, got = self.expected, self.got
        if self.kind == "type":
            said = f"For these inputs {whole} should be {_kind(expected)}, and it is {_kind(got)}."
            if torch.is_tensor(expected) and isinstance(got, PLAIN):
                said += " Compute with torch from beginning to end: NumPy and `.item()` lose the gradient."
            return said
        if self.kind == "length":
            return f"There should be {len(expected)} values{part}, and there are {len(got)}."
        if self.kind == "keys":
            return f"The keys{part} should be {sorted(map(str, expected))}, and they are {sorted(map(str, got))}."
        if self.kind == "shape":
            return f"The shape{part} is {as_array(got).shape}, and it should be {as_array(expected).shape}."
        if self.kind == "dtype":
            return f"The kind of number{part} is {_dtype(got)}, and it should be {_dtype(expected)}."
        if self.kind == "nan":
            return (
                f"There is a NaN or an infinity{part}{at}. Is something divided by zero, or does a logarithm or a "
                "softmax see what it cannot take?"
            )
        if self.kind == "gradient":
            if not got.any():
                return (
                    f"The values are right, and no gradient reaches `{self.what}`. Is something detached? NumPy, "
                    "`.item()`, `.data`, `torch.tensor(…)` and `no_grad` stop the gradient."
                )
            return (
                f"The values are right, and the gradient with respect to `{self.what}` is not. Is a part of the "
                "formula detached, or computed twice?"
            )
        if self.kind == "arguments":
            return f"It changes its argument `{self.what}`, which the caller still needs. Work on a copy."
        if self.kind == "randomness":
            return "Two calls with the same arguments give different results. " + (
                f"Draw every random number from the `{self.what}` that is passed."
                if self.what
                else "Nothing here should be random, and nothing should be remembered from call to call."
            )
        expected, got = (_element(value, self.at) for value in (expected, got))
        expected, got = _apart(expected, got)
        return f"{whole[0].upper() + whole[1:]}{at} is {got}; it should be {expected}."


def difference(
    expected, got, tolerance: float, strict: bool = False, shapes: bool = True, values: bool = True, what: str = ""
) -> Difference | None:
    """The first Difference between two results, or None.

    tolerance: numbers agree within tolerance · max(1, |expected|); whole numbers must be equal.
    strict: a tensor must be a tensor, of the same dtype if it does not hold decimal numbers; otherwise lists, NumPy
        arrays and plain numbers may replace each other.
    shapes, values: False to leave these out.
    what: which part of a result these are, in words.
    """
    options = {"tolerance": tolerance, "strict": strict, "shapes": shapes, "values": values}
    expected, got = _listed(expected), _listed(got)
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return Difference("type", what, expected, got)
        if set(expected) != set(got):
            return Difference("keys", what, expected, got)
        return _first(difference(expected[k], got[k], **options, what=f"{what}[{k!r}]") for k in expected)
    if isinstance(expected, (list, tuple)) and not _numeric(expected):
        got = list(got) if isinstance(got, (np.ndarray, torch.Tensor)) and got.ndim else got
        if not isinstance(got, (list, tuple)):
            return Difference("type", what, expected, got)
        if len(expected) != len(got):
            return Difference("length", what, expected, got)
        return _first(difference(e, g, **options, what=f"{what}[{i}]") for i, (e, g) in enumerate(zip(expected, got)))
    if isinstance(expected, (*PLAIN, list, tuple)):
        return _array_difference(expected, got, what=what, **options)
    if not values and type(expected) is type(got):
        return None
    return None if _equal(expected, got) else Difference("value", what, expected, got)


def _array_difference(expected, got, tolerance, strict, shapes, values, what):
    if torch.is_tensor(expected) and strict:
        if not torch.is_tensor(got):
            return Difference("type", what, expected, got)
        if got.dtype != expected.dtype and not (got.is_floating_point() and expected.is_floating_point()):
            return Difference("dtype", what, expected, got)
    ours, theirs = as_array(expected), as_array(got)
    if theirs is None:
        return Difference("type", what, expected, got)
    if shapes and ours.shape != theirs.shape:
        return Difference("shape", what, expected, got)
    if strict and ours.dtype.kind in "iu" and theirs.dtype.kind == "f" and theirs.size:
        return Difference("dtype", what, expected, got)
    if not values or ours.shape != theirs.shape:
        return None
    exact = ours.dtype.kind in "iub" and theirs.dtype.kind in "iub"
    ours, theirs = (ours, theirs) if exact else (ours.astype(np.float64), theirs.astype(np.float64))
    invalid = np.isfinite(ours) & ~np.isfinite(theirs)
    if invalid.any():
        return Difference("nan", what, expected, got, _where(invalid))
    with np.errstate(invalid="ignore"):  # inf − inf
        off = (
            ours != theirs
            if exact
            else ~(
                (np.isfinite(ours) & (np.abs(ours - theirs) <= tolerance * np.maximum(1, np.abs(ours))))
                | (ours == theirs)
                | (np.isnan(ours) & np.isnan(theirs))
            )
        )
    return Difference("value", what, expected, got, _where(off)) if off.any() else None


def relation(expected: list, got: list) -> str:
    """What all wrong results have in common with the right ones, in a sentence; "" where nothing was found.

    expected, got: the results of several cases.
    """
    if all(isinstance(each, list) and each for each in (*expected, *got)):
        if all(sorted(map(_text, e)) == sorted(map(_text, g)) for e, g in zip(expected, got)):
            return "The parts are right, and they stand in the wrong order."
    pairs = [(as_array(e), as_array(g)) for e, g in zip(expected, got)]
    if not all(e is not None and g is not None and e.shape == g.shape and e.size for e, g in pairs):
        return ""
    pairs = [(e.astype(np.float64), g.astype(np.float64)) for e, g in pairs]
    ours, theirs = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    with np.errstate(all="ignore"):
        for said, function in RELATIONS.items():
            other = function(ours)
            if len(ours) > 1 and np.allclose(theirs, other, 1e-3, 1e-5) and not np.allclose(ours, other, 1e-2):
                return f"In every input yours is {said}."
        factor = theirs[np.abs(ours).argmax()] / ours[np.abs(ours).argmax()]
        if (np.abs(ours) > 1e-3).sum() > 1 and factor and np.allclose(theirs, factor * ours, 1e-3, 1e-5):
            return f"In every input yours is {factor:.4g} times what it should be."
        if len(ours) > 2 and np.ptp(ours) > 1e-3:
            slope, offset = np.polyfit(ours, theirs, 1)
            if abs(slope) > 1e-3 and np.allclose(theirs, slope * ours + offset, 1e-3, 1e-4):
                of = "" if np.isclose(slope, 1) else f"{slope:.3g} times "
                return f"In every input yours is {offset:.3g} plus {of}what it should be."
        if len(ours) > 2 and min(*ours, *theirs) > 0 and np.ptp(ours) > 1e-3:
            logs = np.log(ours), np.log(theirs)
            power = (logs[0] @ logs[1]) / (logs[0] @ logs[0])
            if np.allclose(logs[1], power * logs[0], 1e-3, 1e-5):
                return f"In every input yours is what it should be to the power of {power:.3g}."
        if max(e.ndim for e, _ in pairs) > 1:
            if all(e.shape == e.swapaxes(-1, -2).shape and np.allclose(e.swapaxes(-1, -2), g) for e, g in pairs):
                return "It is transposed: rows and columns are swapped."
        if max(e.size for e, _ in pairs) > 1:
            if all(np.allclose(np.sort(e, None), np.sort(g, None)) for e, g in pairs):
                return "The numbers are right, and they stand in the wrong places."
    return ""


RELATIONS = {
    "the negative of what it should be": np.negative,
    "what it should be without its sign": np.abs,
    "1 divided by what it should be": np.reciprocal,
    "1 minus what it should be": lambda x: 1 - x,
    "minus 1 plus what it should be": lambda x: x - 1,
    "the square of what it should be": np.square,
    "the square root of what it should be": np.sqrt,
    "the exponential of what it should be": np.exp,
    "the logarithm of what it should be": np.log,
    "the logarithm to the base 2 of what it should be": np.log2,
}


def _kind(value, parts=True):
    if parts and isinstance(value, (list, tuple)) and value:
        inside = {_kind(v, parts=False) for v in value}
        return f"a {type(value).__name__}, " + (f"each part {inside.pop()}" if len(inside) == 1 else "its parts mixed")
    names = {
        "NoneType": "nothing (None)",
        "Tensor": "a tensor",
        "list": "a list",
        "tuple": "a tuple",
        "dict": "a dict",
        "float": "a number",
        "int": "a number",
        "str": "a string",
        "bool": "True or False",
        "set": "a set",
        "ndarray": "a NumPy array",
    }
    return names.get(type(value).__name__, f"an object of type {type(value).__name__}")


def _dtype(value):
    if torch.is_tensor(value):
        return str(value.dtype).removeprefix("torch.")
    return {"i": "whole numbers", "u": "whole numbers", "f": "decimal numbers", "b": "True or False"}[
        as_array(value).dtype.kind
    ]


def _first(differences):
    return next((d for d in differences if d is not None), None)


def _numeric(values):
    return bool(values) and all(isinstance(v, (Number, np.generic)) for v in values)


def as_array(value: Any) -> np.ndarray | None:
    """The value as a NumPy array of numbers, or None where it cannot be one."""
    try:
        if torch.is_tensor(value):
            value = value.detach().cpu()
            value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
            return value.numpy()
        array = np.asarray(value)
        if array.dtype == object and array.size and all(isinstance(v, Number) for v in array.flat):
            array = array.astype(np.float64)  # fractions
    except Exception:  # a ragged list, a sparse tensor, an object with an odd __array__
        return None
    return array if array.dtype.kind in "iufb" else None


def _listed(value):
    """An array of strings or objects as a list; anything else as it is."""
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind not in "iufb" else value


def _element(value, at):
    """The number at an index, or the value itself where there is no index."""
    array = as_array(value) if at or isinstance(value, PLAIN) else None
    return value if array is None or (not at and array.ndim) else array[at].item()


def _apart(*values):
    """Values as texts, numbers with as many digits as they need to differ."""
    if not all(isinstance(v, float) for v in values):
        return tuple(_text(v) for v in values)
    texts = ([f"{v:.{digits}g}" for v in values] for digits in range(3, 10))
    return next((t for t in texts if len(set(t)) > 1), [repr(v) for v in values])


def _text(value):
    try:
        text = repr(value)
    except Exception:  # a learner's object may have a __repr__ that raises
        return _kind(value)
    return text if len(text) <= 60 else _kind(value)


def _where(mask):
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _equal(a, b):
    try:
        return bool(a == b)
    except Exception:  # a learner's object may compare as it likes
        return False


# --------------------------------------------------------------------------- copies of arguments


def fresh(value: Any) -> Any:
    """A copy that shares nothing with the original; generators start from the same state."""
    if isinstance(value, torch.Generator):
        twin = torch.Generator(value.device)
        twin.set_state(value.get_state())
        return twin
    if torch.is_tensor(value):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(fresh(v) for v in value)
    if type(value) is dict:
        return {k: fresh(v) for k, v in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:  # what cannot be copied, such as a tokenizer in Rust, is shared
        return value


def changed(before: Any, after: Any, tolerance: float = 0.0) -> bool:
    """Whether a value is no longer what it was; objects that are not data, such as encoders, count as unchanged.

    tolerance: as `difference` takes it.
    """
    if isinstance(before, (*PLAIN, list, tuple, Mapping, set, str, type(None))):
        return difference(before, after, tolerance, strict=True) is not None
    return False


def map_tensors(function: Callable[[torch.Tensor, str], Any], value: Any, name: str) -> Any:
    """Apply function(tensor, name) to every floating-point tensor in nested lists, tuples and dicts.

    name: of the value; that of a tensor inside it gets its position, such as x[0].
    Returns the value with the tensors replaced by the results.
    """
    if torch.is_tensor(value):
        return function(value, name) if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(map_tensors(function, v, f"{name}[{i}]") for i, v in enumerate(value))
    if type(value) is dict:
        return {k: map_tensors(function, v, f"{name}[{k!r}]") for k, v in value.items()}
    return value
