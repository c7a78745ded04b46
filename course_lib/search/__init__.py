"""Searching texts: by meaning (exact and approximate), by words (BM25), by both (hybrid), and re-ranked."""

from course_lib.search.approximate import ApproximateSearch, choose_search
from course_lib.search.bm25 import BM25Search, matched_words, rank_bm25
from course_lib.search.cached import CachedEncoder, KeptEmbeddings, encode_to_file
from course_lib.search.exact import ExactSearch, Hit
from course_lib.search.hybrid import HybridSearch
from course_lib.search.mining import mine_hard_negatives
from course_lib.search.rerank import Reranked, nearest_sentence, rank_with
