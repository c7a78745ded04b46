"""The exercise of notebook 00, on NumPy arrays: the cosine."""

import numpy as np
import torch

from course_lib import functional
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "00_start_here"


def _cosine(a, b):
    return functional.cosine(torch.as_tensor(a)[None], torch.as_tensor(b)[None]).item()


def _pairs():
    a, b, c = np.array([4.0, 3.0]), np.array([9.6, 2.8]), np.array([-3.0, 4.0])
    many = np.random.default_rng(0).normal(size=(2, 384)).astype(np.float32)
    return {
        "two vectors of different lengths": (a, b),
        "a right angle": (a, c),
        "opposite directions": (a, -a),
        "the same direction": (a, 3 * a),
        "negative numbers": (np.array([1.0, -2.0, 0.5]), np.array([0.2, 1.5, 3.0])),
        "384 numbers in each vector": tuple(many),
    }


def _length(a):
    return np.linalg.norm(a)


cosine = Exercise(
    "start_here.cosine",
    "Cosine similarity",
    "easy",
    4,
    _cosine,
    _pairs,
    [
        Mistake(
            "dot product",
            lambda a, b: a @ b,
            "This is the dot product: longer vectors get larger numbers.",
            "Divide it by both lengths, `np.linalg.norm(a)` and that of `b`.",
        ),
        Mistake(
            "length of b missing",
            lambda a, b: a @ b / _length(a),
            "The length of `b` is still in the result; divide by it as well.",
            "Divide by the *product* of the two lengths. Mind the brackets.",
        ),
        Mistake(
            "length of a missing",
            lambda a, b: a @ b / _length(b),
            "The length of `a` is still in the result; divide by it as well.",
            "Divide by the *product* of the two lengths. Mind the brackets.",
        ),
        Mistake(
            "brackets",
            lambda a, b: a @ b / _length(a) * _length(b),
            "One length divides and the other multiplies.",
            "`x / y * z` is `(x / y) * z`. Put brackets around the product of the lengths.",
        ),
        Mistake(
            "no root",
            lambda a, b: a @ b / ((a @ a) * (b @ b)),
            "The dot product is divided by the *squared* lengths.",
            "The length is the root of the sum of squares; `np.linalg.norm` takes the root.",
        ),
        Mistake(
            "sum of lengths",
            lambda a, b: a @ b / (_length(a) + _length(b)),
            "The lengths are added, and they should be multiplied.",
            "cos = a·b / (‖a‖ · ‖b‖).",
        ),
        Mistake(
            "sums of absolute values",
            lambda a, b: a @ b / (np.abs(a).sum() * np.abs(b).sum()),
            "The lengths are sums of absolute values.",
            "Take the root of the sum of squares: `np.linalg.norm(a)`.",
        ),
        Mistake(
            "angle",
            lambda a, b: np.arccos(np.clip(_cosine(a, b), -1, 1)),
            "This is the angle itself.",
            "The cosine of the angle needs no arccos: it is the quotient.",
        ),
        Mistake(
            "cosine distance",
            lambda a, b: 1 - _cosine(a, b),
            "This is 1 − cosine, the cosine *distance*: 0 for the same direction.",
            "A similarity is large for what is alike; leave out the 1 −.",
        ),
    ],
    [
        "`a @ b` is the dot product of two NumPy vectors. If a result is larger than 1, a length is missing.",
        "`np.linalg.norm(a)` is the length of a vector. Divide by both lengths.",
    ],
    """
    def my_cosine(a, b):
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    """,
    "The lengths cancel, so that only the directions count: 3a and a have the cosine 1.",
)
