"""Do two results agree, and if not, in what: kind, length, shape, dtype, NaN or value?"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Number

import numpy as np
import torch

PLAIN = (Number, np.generic, np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Difference:
    """The first thing in which a result differs from the expected one.

    kind: type, length, keys, shape, dtype, nan, value, gradient, arguments or randomness. what: which part of the
    result, in words, "" for the whole. at: the index of the first element that differs, () where that says nothing.
    """

    kind: str
    what: str
    expected: object
    got: object
    at: tuple = ()


def difference(expected, got, tolerance, strict=False, shapes=True, values=True, what=""):
    """The first Difference between two results, or None.

    tolerance: numbers agree within tolerance · max(1, |expected|); whole numbers must be equal. strict: a tensor must
    be a tensor, of the same dtype; otherwise lists, NumPy arrays and plain numbers may stand for each other.
    shapes, values: False to leave these out.
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
        off = ours != theirs if exact else ~(
            (np.abs(ours - theirs) <= tolerance * np.maximum(1, np.abs(ours))) | (ours == theirs)
            | (np.isnan(ours) & np.isnan(theirs)))
    return Difference("value", what, expected, got, _where(off)) if off.any() else None


def _first(differences):
    return next((d for d in differences if d is not None), None)


def _numeric(values):
    return bool(values) and all(isinstance(v, (Number, np.generic)) for v in values)


def _array(value):
    """The value as a NumPy array of numbers, or None where it is none."""
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


def fresh(value):
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


def changed(before, after):
    """Whether an argument is no longer what it was; objects that are no data are taken as unchanged."""
    if isinstance(before, (*PLAIN, list, tuple, Mapping, set, str, type(None))):
        return difference(before, after, 0.0, strict=True) is not None
    return False


def map_tensors(function, value, name):
    """Apply function(tensor, name) to every floating-point tensor in nested lists, tuples and dicts."""
    if torch.is_tensor(value):
        return function(value, name) if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(map_tensors(function, v, f"{name}[{i}]") for i, v in enumerate(value))
    if type(value) is dict:
        return {k: map_tensors(function, v, f"{name}[{k!r}]") for k, v in value.items()}
    return value
