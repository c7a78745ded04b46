"""Exercises of notebook 00, on NumPy arrays and lists: the cosine, the nearest neighbour, the reciprocal rank."""

import numpy as np
import torch

from course_lib import evaluation, functional
from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "00_start_here"

# --------------------------------------------------------------------------- cosine


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

# --------------------------------------------------------------------------- nearest


def _nearest(query, rows):
    return functional.cosine(torch.as_tensor(query)[None], torch.as_tensor(rows)).argmax().item()


def _searches():
    rows = np.array([[10.0, 10.0], [1.0, 0.1], [-5.0, 0.5], [0.0, 2.0], [0.6, 0.5]])
    upper = np.array([[1.0, 1.0], [3.0, 0.2], [0.1, 4.0]])
    many = np.random.default_rng(0).normal(size=(8, 5))
    return {
        "a row that is much longer than the nearest one": (np.array([2.0, 0.0]), rows),
        "the longest row as the nearest": (np.array([1.0, 1.2]), rows),
        "a query that points to the left": (np.array([-1.0, 0.3]), rows),
        "a query along the second axis": (np.array([0.1, 3.0]), rows),
        "a long query": (np.array([3.0, 0.9]), rows),
        "a query that no row is near to": (np.array([0.5, -2.0]), rows),
        "columns of very different size": (
            np.array([1.0, 0.5]),
            np.array([[9.0, 0.2], [7.0, 0.9], [1.0, 1.0], [-6.0, 0.3]]),
        ),
        "negative cosines only": (np.array([-1.0, -0.5]), upper),
        "eight rows of five numbers": (many[0] - many[3], many[1:]),
    }


def _cosines(query, rows):
    return rows @ query / np.linalg.norm(rows, axis=1)


nearest = Exercise(
    "start_here.nearest",
    "The nearest neighbour",
    "easy",
    5,
    _nearest,
    _searches,
    [
        Mistake(
            "dot product",
            lambda query, rows: int(np.argmax(rows @ query)),
            "You compare dot products: a long row wins although another one points more in the query's direction.",
            "Divide each row's dot product by the row's length, `np.linalg.norm(rows, axis=1)`.",
        ),
        Mistake(
            "farthest",
            lambda query, rows: int(np.argmin(_cosines(query, rows))),
            "This is the row with the *smallest* cosine.",
            "A large cosine means near: `np.argmax`.",
        ),
        Mistake(
            "distance",
            lambda query, rows: int(np.argmin(np.linalg.norm(rows - query, axis=1))),
            "This is the row at the smallest distance, which depends on the lengths of the rows.",
            "Compare directions: dot product divided by the row's length.",
        ),
        Mistake(
            "second",
            lambda query, rows: int(np.argsort(_cosines(query, rows))[-2]),
            "This is the second nearest row.",
            "Sorted positions count from 0 and −1 is the last; `np.argmax` needs no sorting.",
        ),
        Mistake(
            "sign ignored",
            lambda query, rows: int(np.argmax(np.abs(_cosines(query, rows)))),
            "A row in the opposite direction counts as near.",
            "Leave the sign: −1 is as far as it gets.",
        ),
        Mistake(
            "columns",
            lambda query, rows: int(np.argmax((rows / np.linalg.norm(rows, axis=0)) @ query)),
            "The columns were scaled to length 1, and the rows are the texts.",
            "`np.linalg.norm(rows, axis=1)` gives one length a row, (N,).",
        ),
        Mistake(
            "cosine itself",
            lambda query, rows: float(np.max(_cosines(query, rows)) / np.linalg.norm(query)),
            "This is the largest cosine itself; asked is the position of its row.",
            "`np.argmax` gives the position, `np.max` the number.",
        ),
    ],
    [
        "`rows @ query` gives all N dot products at once.",
        "Divide by the rows' lengths, `np.linalg.norm(rows, axis=1)`. The query's length is the same for all rows and "
        "cannot change who wins.",
        "`int(np.argmax(…))` is the position of the largest.",
    ],
    """
    def my_nearest(query, rows):
        return int(np.argmax(rows @ query / np.linalg.norm(rows, axis=1)))
    """,
    "Each row is divided by its own length, so that a long row has no advantage; the length of the query is "
    "the same for all.",
)

# --------------------------------------------------------------------------- reciprocal rank


def _reciprocal_rank(ranking, answers):
    return evaluation.reciprocal_rank(ranking, dict.fromkeys(answers, 1), k=max(len(ranking), 1))


def _rankings():
    """Where there are two answers these are integers: the order of strings in a set changes from kernel to kernel."""
    letters = list("abcd")
    return {
        "the answer in second place": (letters, {"b"}),
        "the answer in first place": (letters, {"a"}),
        "the answer in last place": (letters, {"d"}),
        "no answer in the ranking": (letters, {"x"}),
        "two answers, of which the set names the later one first": ([7, 20, 3, 10], {10, 20}),
        "two answers, of which the set names the earlier one first": ([7, 10, 3, 20], {10, 20}),
        "an answer that the ranking does not hold, and one that it holds": ([3, 10, 5], {1, 10}),
        "an empty ranking": ([], {"a"}),
    }


def _by_places(rule, nothing=0):
    """A score made from the places of all right answers."""

    def score(ranking, answers):
        places = [place for place, name in enumerate(ranking, 1) if name in answers]
        return rule(places) if places else nothing

    return score


reciprocal_rank = Exercise(
    "start_here.reciprocal_rank",
    "Reciprocal rank",
    "easy",
    5,
    _reciprocal_rank,
    _rankings,
    [
        Mistake(
            "rank itself",
            _by_places(lambda places: places[0]),
            "This is the rank itself.",
            "Return 1 divided by it: place 1 is the best and must give the largest number.",
        ),
        Mistake(
            "last hit",
            _by_places(lambda places: 1 / places[-1]),
            "The *last* right answer counts here, not the first.",
            "Return inside the loop, at the first hit.",
        ),
        Mistake(
            "all hits",
            _by_places(lambda places: sum(1 / place for place in places)),
            "All right answers are added up.",
            "Only the first one counts; return as soon as you meet it.",
        ),
        Mistake(
            "counted from 2",
            _by_places(lambda places: 1 / (places[0] + 1)),
            "The places are counted from 2.",
            "`enumerate(ranking, 1)` counts from 1 by itself; add nothing.",
        ),
        Mistake(
            "first place only",
            _by_places(lambda places: float(places[0] == 1)),
            "Only place 1 counts: everything below gives 0.",
            "Place 2 gives 1/2, place 3 gives 1/3.",
        ),
        Mistake(
            "nothing found, nothing returned",
            _by_places(lambda places: 1 / places[0], nothing=None),
            "Where no answer is found, nothing is returned.",
            "After the loop, `return 0`.",
        ),
        Mistake(
            "first answer",
            lambda ranking, answers: next((1 / (ranking.index(a) + 1) for a in answers if a in ranking), 0),
            "This is the place of the first answer of the *set*, and a set has no order.",
            "Go through the ranking, and ask of each place whether it holds one of the answers.",
        ),
        Mistake(
            "share of the ranking",
            lambda ranking, answers: sum(name in answers for name in ranking) / max(len(ranking), 1),
            "This is the share of the ranking that is right.",
            "The place of the first right answer decides, nothing else.",
        ),
    ],
    [
        "`enumerate(ranking, 1)` counts from one.",
        "Return at the *first* right name you meet; after the loop, nothing was found.",
    ],
    """
    def my_reciprocal_rank(ranking, answers):
        for place, name in enumerate(ranking, 1):
            if name in answers:
                return 1 / place
        return 0
    """,
    "It stops at the first answer on the way down the ranking, and one that is never met counts 0.",
)
