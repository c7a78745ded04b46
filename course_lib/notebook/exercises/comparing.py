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
        expected, got = self.expected, self.got
        if self.kind == "type":
            whole = f"`{self.part}`" if self.what else "the result"
            return f"For these inputs {whole} should be {_kind(expected)}, and it is {_kind(got)}."
        if self.kind == "length":
            return f"There should be {len(expected)} values{part}, and there are {len(got)}."
        if self.kind == "keys":
            return f"The keys{part} should be {sorted(map(str, expected))}, and they are {sorted(map(str, got))}."
        if self.kind == "shape":
            return f"The shape{part} is {_array(got).shape}, and it should be {_array(expected).shape}."
        if self.kind == "dtype":
            return f"The kind of number{part} is {_dtype(got)}, and it should be {_dtype(expected)}."
        if self.kind == "nan":
            return (
                f"There is a NaN or an infinity{part}{at}. Is something divided by zero, or does a logarithm or a "
                "softmax see what it cannot take?"
            )
        if self.kind == "gradient":
            if not got.any():
                return f"The values are right, and no gradient reaches `{self.what}`. Is something detached?"
            return f"The values are right, and the gradient with respect to `{self.what}` is not."
        if self.kind == "arguments":
            return f"It changes its argument `{self.what}`, which the caller still needs. Work on a copy."
        if self.kind == "randomness":
            return "Two calls with the same arguments give different results. " + (
                f"Draw every random number from the `{self.what}` that is passed."
                if self.what
                else "Nothing here should be random, and nothing should be remembered from call to call."
            )
        return f"For these inputs the value{part} differs{', first' + at if at else ''}."


def difference(
    expected, got, tolerance: float, strict: bool = False, shapes: bool = True, values: bool = True, what: str = ""
) -> Difference | None:
    """The first Difference between two results, or None.

    tolerance: numbers agree within tolerance · max(1, |expected|); whole numbers must be equal.
    strict: a tensor must be a tensor of the same dtype; otherwise lists, NumPy arrays and plain numbers may replace
        each other.
    shapes, values: False to leave these out.
    what: which part of a result these are, in words.
    """
    options = {"tolerance": tolerance, "strict": strict, "shapes": shapes, "values": values}
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return Difference("type", what, expected, got)
        if set(expected) != set(got):
            return Difference("keys", what, expected, got)
        return _first(difference(expected[k], got[k], **options, what=f"{what}[{k!r}]") for k in expected)
    if isinstance(expected, (list, tuple)) and not _numeric(expected):
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
    if torch.is_tensor(expected) and (strict or torch.is_tensor(got)):
        if not torch.is_tensor(got):
            return Difference("type", what, expected, got)
        if got.dtype != expected.dtype:
            return Difference("dtype", what, expected, got)
    ours, theirs = _array(expected), _array(got)
    if theirs is None:
        return Difference("type", what, expected, got)
    if shapes and ours.shape != theirs.shape:
        return Difference("shape", what, expected, got)
    if ours.dtype.kind in "iu" and theirs.dtype.kind == "f" and theirs.size:
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


def _kind(value):
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
        _array(value).dtype.kind
    ]


def _first(differences):
    return next((d for d in differences if d is not None), None)


def _numeric(values):
    return bool(values) and all(isinstance(v, (Number, np.generic)) for v in values)


def _array(value):
    """The value as a NumPy array of numbers, or None where it cannot be one."""
    try:
        if torch.is_tensor(value):
            value = value.detach().cpu()
            value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
            return value.numpy()
        array = np.asarray(value)
    except Exception:  # a ragged list, a sparse tensor, an object with an odd __array__
        return None
    return array if array.dtype.kind in "iufb" else None


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
