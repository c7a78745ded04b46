"""Exercises of notebook 13: one bit per dimension, the Hamming distance, and a search that reads a few lists."""

import numpy as np

from course_lib.notebook.exercises.kit import Exercise, Mistake

NOTEBOOK = "13_search_at_scale"

# --------------------------------------------------------------------------- bits


def _vectors():
    """Vectors with a zero, which is not above 0, and with more positive numbers in one dimension than in another."""
    draw = np.random.default_rng(3)
    few = np.array([[0.3, -0.1, 0.0, 0.7, -0.2, -0.6, 0.1, -0.4], [-0.5, 0.2, 0.4, -0.3, 0.0, 0.9, -0.1, 0.2]])
    many = draw.normal(loc=0.2, size=(16, 24))
    many[0, :2] = 0
    return {"two vectors of eight dimensions": (few,), "sixteen vectors of 24 dimensions": (many,)}


to_bits = Exercise(
    "search_at_scale.to_bits",
    "One bit per dimension",
    "easy",
    5,
    lambda vectors: np.packbits(vectors > 0, axis=1),
    _vectors,
    [
        Mistake(
            "not packed",
            lambda vectors: vectors > 0,
            "There is still one byte per dimension: NumPy keeps each True or False in a byte.",
            "`np.packbits(…, axis=1)` puts eight of them into a byte.",
        ),
        Mistake(
            "zeros are set",
            lambda vectors: np.packbits(vectors >= 0, axis=1),
            "A number that is exactly 0 gets the bit 1.",
            "Compare with `>`, as Sentence Transformers does.",
        ),
        Mistake(
            "negative numbers are set",
            lambda vectors: np.packbits(vectors < 0, axis=1),
            "The bits of the negative numbers are set, not those of the positive ones.",
            "Distances stay the same, but the bits are not those of other libraries: compare with `> 0`.",
        ),
        Mistake(
            "packed over the vectors",
            lambda vectors: np.packbits(vectors > 0, axis=0),
            "The bits of eight vectors share a byte, not those of eight dimensions.",
            "Pack along the dimensions: `axis=1`.",
        ),
        Mistake(
            "one row",
            lambda vectors: np.packbits(vectors > 0),
            "All bits stand in one long row.",
            "Without `axis` NumPy flattens its input first: pass `axis=1`.",
        ),
        Mistake(
            "other order of bits",
            lambda vectors: np.packbits(vectors > 0, axis=1, bitorder="little"),
            "In each byte the bits stand in the other order.",
            "Distances stay the same, but faiss and Sentence Transformers take NumPy's default order.",
        ),
    ],
    [
        "Which dimensions are above 0? How do eight such answers fit into one byte?",
        "`vectors > 0` has the answers, and `np.packbits` packs eight of them along an axis.",
    ],
    """
    def my_to_bits(vectors):
        return np.packbits(vectors > 0, axis=1)
    """,
    "Each dimension keeps its sign alone, and eight signs share a byte: 384 numbers take 48 bytes in place of 1,536.",
    gradients=False,
    strict=False,
)

# --------------------------------------------------------------------------- distance


def _bytes():
    draw = np.random.default_rng(1)
    rows = draw.integers(0, 256, size=(6, 5), dtype=np.uint8)
    long = draw.integers(0, 256, size=(4, 96), dtype=np.uint8)  # some distances do not fit into one byte
    far = np.vstack([255 - long[:1], long[1:]])
    return {"five bytes": (rows[0] ^ np.uint8(37), rows), "96 bytes, far apart": (long[0], far)}


def _different(query, rows):
    return np.bitwise_count(query ^ rows)


hamming = Exercise(
    "search_at_scale.hamming",
    "The Hamming distance",
    "medium",
    6,
    lambda query, rows: _different(query, rows).sum(axis=1),
    _bytes,
    [
        Mistake(
            "bytes counted",
            lambda query, rows: (query != rows).sum(axis=1),
            "Different bytes are counted, not different bits.",
            "`query ^ rows` has a 1 for every bit that differs; `np.bitwise_count` counts the ones of each byte.",
        ),
        Mistake(
            "common ones",
            lambda query, rows: np.bitwise_count(query & rows).sum(axis=1),
            "You count the bits that are 1 in both.",
            "The distance counts the bits that differ: exclusive or, `^`, in place of `&`.",
        ),
        Mistake(
            "equal bits",
            lambda query, rows: 8 * rows.shape[1] - _different(query, rows).sum(axis=1),
            "You count the bits that are equal: a similarity, which is largest for the nearest row.",
            "A distance counts those that differ.",
        ),
        Mistake(
            "share",
            lambda query, rows: _different(query, rows).mean(axis=1) / 8,
            "This is the share of the bits that differ.",
            "The distance is their number.",
        ),
        Mistake(
            "one number",
            lambda query, rows: _different(query, rows).sum(),
            "There is one number for all rows.",
            "Sum over the bytes of each row: `axis=1`.",
        ),
        Mistake(
            "numbers subtracted",
            lambda query, rows: np.abs(query.astype(int) - rows.astype(int)).sum(axis=1),
            "The bytes are subtracted as numbers.",
            "A byte is eight signs here, not a number: compare its bits.",
        ),
        Mistake(
            "bits not counted",
            lambda query, rows: (query ^ rows).sum(axis=1),
            "The exclusive or is right, but its bytes are added as numbers.",
            "Count the ones of each byte with `np.bitwise_count`.",
        ),
    ],
    [
        "Where two bits differ, their exclusive or is 1.",
        "`np.bitwise_count(query ^ rows)` has the number of different bits of each byte; add them for each row.",
    ],
    """
    def my_hamming(query, rows):
        return np.bitwise_count(query ^ rows).sum(axis=1)
    """,
    "Exclusive or marks the bits that differ, and a processor counts them for 64 dimensions in one instruction.",
    gradients=False,
    strict=False,
)

# --------------------------------------------------------------------------- lists


def _lists(seed, count, centres, breadth, k):
    """Vectors around centres, and a query between two of them, so that the second-nearest list matters."""
    draw = np.random.default_rng(seed)
    middles = draw.normal(size=(centres, 6))
    rows = middles[draw.integers(centres, size=count)] + 0.9 * draw.normal(size=(count, 6))
    list_of = (rows @ middles.T).argmax(axis=1)
    query = middles[0] + middles[1] + 0.3 * draw.normal(size=6)
    return query, rows, middles, list_of, breadth, k


def _read(query, centres, list_of, breadth, order=-1):
    nearest = np.argsort(order * (centres @ query), kind="stable")[:breadth]
    return np.flatnonzero(np.isin(list_of, nearest))


def _best(query, rows, read, k, order=-1):
    return read[np.argsort(order * (rows[read] @ query), kind="stable")[:k]]


def _search_lists(query, rows, centres, list_of, breadth, k):
    return _best(query, rows, _read(query, centres, list_of, breadth), k)


search_lists = Exercise(
    "search_at_scale.search_lists",
    "A search that reads a few lists",
    "medium",
    10,
    _search_lists,
    lambda: {
        "two of five lists": _lists(7, 60, 5, 2, 6),
        "three of eight lists": _lists(161, 200, 8, 3, 8),
    },
    [
        Mistake(
            "one list only",
            lambda query, rows, centres, list_of, breadth, k: _search_lists(query, rows, centres, list_of, 1, k),
            "Only the nearest list is read, whatever `breadth` says.",
            "A query near the border of two lists has good answers in both: read the `breadth` nearest ones.",
        ),
        Mistake(
            "every row",
            lambda query, rows, centres, list_of, breadth, k: _best(query, rows, np.arange(len(rows)), k),
            "Every row is read: this is exact search.",
            "Score only the rows whose list is among the `breadth` nearest.",
        ),
        Mistake(
            "farthest lists",
            lambda query, rows, centres, list_of, breadth, k: _best(
                query, rows, _read(query, centres, list_of, breadth, 1), k
            ),
            "The lists of the lowest scores are read.",
            "`np.argsort` puts the lowest first: negate the scores of the centres.",
        ),
        Mistake(
            "worst rows",
            lambda query, rows, centres, list_of, breadth, k: _best(
                query, rows, _read(query, centres, list_of, breadth), k, 1
            ),
            "The lists are right, but the rows with the lowest scores come first.",
            "`np.argsort` puts the lowest first: negate the scores.",
        ),
        Mistake(
            "positions among the rows read",
            lambda query, rows, centres, list_of, breadth, k: np.argsort(
                -(rows[_read(query, centres, list_of, breadth)] @ query), kind="stable"
            )[:k],
            "These are positions among the rows that were read, not among all rows.",
            "Keep the positions of the rows that you read, `np.flatnonzero(…)`, and index them with the order.",
        ),
        Mistake(
            "order of the rows",
            lambda query, rows, centres, list_of, breadth, k: np.sort(
                _search_lists(query, rows, centres, list_of, breadth, k)
            ),
            "The right rows, but not in the order of their scores.",
            "Sort by score, best first.",
        ),
        Mistake(
            "first rows of the lists",
            lambda query, rows, centres, list_of, breadth, k: _read(query, centres, list_of, breadth)[:k],
            "The rows of the lists are returned without being scored.",
            "Compute `rows[read] @ query` and take the `k` highest.",
        ),
    ],
    [
        "Three steps: score the centres, collect the rows of the best lists, score these rows.",
        "`nearest = np.argsort(-(centres @ query))[:breadth]`, `read = np.flatnonzero(np.isin(list_of, nearest))`.",
        "The answer is `read[np.argsort(-(rows[read] @ query))[:k]]`.",
    ],
    """
    def my_search_lists(query, rows, centres, list_of, breadth, k):
        nearest = np.argsort(-(centres @ query))[:breadth]
        read = np.flatnonzero(np.isin(list_of, nearest))
        return read[np.argsort(-(rows[read] @ query))[:k]]
    """,
    "Most rows are never looked at: of C lists of about equal size, `breadth` / C of the rows are scored.",
    gradients=False,
    strict=False,
)
