"""Measuring embeddings: similarity, ranking, geometry, and whether a difference is real."""

from course_lib.evaluation.geometry import embedding_geometry
from course_lib.evaluation.retrieval import (
    average_precision,
    evaluate_reranking,
    evaluate_retrieval,
    ndcg_at_k,
    ndcg_of_pairs,
    neutral_order,
    rank,
    recall_at_k,
    reciprocal_rank,
    score_rankings,
)
from course_lib.evaluation.significance import (
    Difference,
    Interval,
    bootstrap_interval,
    bootstrap_spearman,
    paired_bootstrap,
    verdict,
)
from course_lib.evaluation.sts import evaluate_sts, sts_similarities
