"""Checks of what the figures are drawn of."""

import numpy as np
from numpy.typing import ArrayLike


def numbers(values: ArrayLike, name: str, ndim: int | None = None) -> np.ndarray:
    """Convert to a float array and check it.

    name: of the argument, for messages.
    ndim: dimensions that it must have; None for any number.
    Returns the array. Raises ValueError for an empty one, NaN, infinities and another number of dimensions.
    """
    try:
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array of numbers ({error})") from None
    if values.size == 0 or (ndim is not None and values.ndim != ndim):
        raise ValueError(
            f"{name} has shape {values.shape}; it must have {ndim if ndim is not None else 'some'} "
            "dimensions and not be empty"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{name} holds {np.count_nonzero(~np.isfinite(values))} values that are NaN or infinite; "
            "a training that diverged gives such numbers"
        )
    return values


def mapping(values: object, name: str, most: int | None = None) -> dict:
    """Check that an argument is a dict with 1 to `most` entries, and return it.

    name: of the argument, for messages.
    Raises ValueError where it is not.
    """
    if not isinstance(values, dict) or not values:
        raise ValueError(f"{name} is {values!r:.60}; pass a dict with at least one entry")
    if most and len(values) > most:
        raise ValueError(f"{name} holds {len(values)} entries; at most {most} can be told apart in one figure")
    return values


def same_length(labels: list, matrix: np.ndarray, name: str) -> int:
    """Check that an (n, n) matrix has n labels, and return n.

    name: of the labels' argument, for messages.
    Raises ValueError where it has not.
    """
    if matrix.shape != (len(labels), len(labels)):
        raise ValueError(f"{name} holds {len(labels)} for a matrix of shape {matrix.shape}; pass one for each row")
    return len(labels)
