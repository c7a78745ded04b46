"""Finding texts: exact search by meaning, BM25 by words."""

from course_lib.search.bm25 import BM25Search, matched_words, rank_bm25
from course_lib.search.exact import ExactSearch, Hit

__all__ = ["BM25Search", "ExactSearch", "Hit", "matched_words", "rank_bm25"]
