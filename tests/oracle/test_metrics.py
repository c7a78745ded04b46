"""The metrics by hand against the reference implementations: trec_eval, ranx, scipy and sentence-transformers."""

import random

import numpy as np
import pytest
from scipy import stats

from course_lib.evaluation import (
    evaluate_reranking,
    evaluate_retrieval,
    evaluate_sts,
    score_rankings,
    sts_similarities,
)
from course_lib.models.minilm import minilm_folder
from course_lib.search import rank_bm25

OURS = ("ndcg@10", "map", "mrr@10", "recall@100")


@pytest.fixture(scope="module")
def model():
    """A real SentenceTransformer; it has `.encode` and is an encoder for the course too."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm_folder()), device="cpu")
    model.max_seq_length = 24
    return model


@pytest.fixture(scope="module")
def task(docs):
    """30 real queries with one to several answers among 150 candidates, more than the 100 of recall@100."""
    whole = docs.validation.tasks["see_also"]
    queries = {f"q {name}": text for name, text in list(whole.queries.items())[:30]}
    relevant = {f"q {name}": grades for name, grades in list(whole.relevant.items())[:30]}
    answers = sorted({i for grades in relevant.values() for i in grades})
    names = [*answers, *[i for i in whole.corpus if i not in answers]][:150]
    return queries, {i: whole.corpus[i] for i in sorted(names)}, relevant


def random_run(seed, grades):
    """40 queries, 300 documents without ties, up to 30 judged; some relevant documents are not ranked at all."""
    rng = random.Random(seed)
    documents = [f"d{i}" for i in range(300)]
    run, relevant = {}, {}
    for q in range(40):
        ranked = rng.sample(documents, rng.randint(5, 300))
        run[f"q{q}"] = {d: float(len(ranked) - i) for i, d in enumerate(ranked)}
        relevant[f"q{q}"] = {d: rng.choice(grades) for d in rng.sample(documents, rng.randint(1, 30))} | {ranked[-1]: 1}
    return run, relevant


def trec_eval(run, relevant):
    import pytrec_eval

    names = {"ndcg_cut_10", "map", "recall_100", "recip_rank"}
    measures = pytrec_eval.RelevanceEvaluator(relevant, names).evaluate(run)
    # trec_eval's reciprocal rank has no cut-off; within the first 10 ranks it is at least 0.1
    return {
        q: (m["ndcg_cut_10"], m["map"], m["recip_rank"] if m["recip_rank"] >= 0.1 else 0, m["recall_100"])
        for q, m in measures.items()
    }


def ranx(run, relevant):
    relevant = {q: {d: g for d, g in grades.items() if g > 0} for q, grades in relevant.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("numba.config.DISABLE_JIT", True)  # compiling takes most of a minute, these runs no second
        from ranx import Qrels, Run, evaluate

        values = evaluate(Qrels(relevant), Run(run), list(OURS), return_mean=False)
    return {q: tuple(values[m][i] for m in OURS) for i, q in enumerate(sorted(relevant))}


@pytest.mark.parametrize("reference", [trec_eval, ranx])
@pytest.mark.parametrize("seed, grades", [(0, [0, 1]), (1, [0, 1, 2, 3]), (2, [1, 5, 10])])
def test_random_runs(reference, seed, grades):
    run, relevant = random_run(seed, grades)
    ours = score_rankings({q: list(scores) for q, scores in run.items()}, relevant)
    for query, expected in reference(run, relevant).items():
        assert [ours[m][query] for m in OURS] == pytest.approx(expected, abs=1e-5), query


def test_a_real_run_of_bm25(task):
    queries, corpus, relevant = task
    ranked = rank_bm25(queries, corpus)
    run = {q: {d: float(-i) for i, d in enumerate(ids)} for q, ids in ranked.items()}
    ours = score_rankings(ranked, relevant)
    for query, expected in trec_eval(run, relevant).items():
        assert [ours[m][query] for m in OURS] == pytest.approx(expected, abs=1e-5), query


def test_information_retrieval_evaluator(model, task):
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    queries, corpus, relevant = task
    theirs = InformationRetrievalEvaluator(
        queries, corpus, {q: set(g) for q, g in relevant.items()}, precision_recall_at_k=[100], map_at_k=[len(corpus)]
    )(model)
    ours = evaluate_retrieval(model, queries, corpus, relevant)
    assert 0.2 < ours["ndcg@10"] < 1
    for metric, name in (
        ("ndcg@10", "ndcg@10"),
        ("map", f"map@{len(corpus)}"),
        ("mrr@10", "mrr@10"),
        ("recall@100", "recall@100"),
    ):
        assert ours[metric] == pytest.approx(theirs[f"cosine_{name}"], abs=1e-5)


def test_a_sentence_transformer_is_ranked_by_its_own_similarity(model, task):
    """Without its normalising layer, dot products and cosines rank differently."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    queries, corpus, relevant = task
    by_dot = SentenceTransformer(modules=[model[0], model[1]], device="cpu", similarity_fn_name="dot")
    theirs = InformationRetrievalEvaluator(queries, corpus, {q: set(g) for q, g in relevant.items()})(by_dot)
    ours = evaluate_retrieval(by_dot, queries, corpus, relevant)
    for metric in ("ndcg@10", "mrr@10"):
        assert ours[metric] == pytest.approx(theirs[f"dot_{metric}"], abs=1e-5)
    by_cosine = evaluate_retrieval(model, queries, corpus, relevant)
    assert ours["ndcg@10"] != pytest.approx(by_cosine["ndcg@10"], abs=1e-4)


def test_reranking_evaluator(model, task):
    from sentence_transformers.sentence_transformer.evaluation import RerankingEvaluator

    queries, corpus, relevant = task
    others = list(corpus)
    samples = [
        {
            "query": text,
            "positive": [corpus[i] for i in relevant[q]],
            "negative": [corpus[i] for i in random.Random(q).sample(others, 15) if i not in relevant[q]],
        }
        for q, text in queries.items()
    ]
    samples += [{"query": "no negative", "positive": ["a"], "negative": []}]
    ours, theirs = evaluate_reranking(model, samples), RerankingEvaluator(samples)(model)
    for metric in ("map", "mrr@10", "ndcg@10"):
        assert ours[metric] == pytest.approx(theirs[metric], abs=1e-5)
        assert len(ours["per_query"][metric]) == len(queries)


def test_embedding_similarity_evaluator_and_scipy(model, docs):
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    sentences = docs.validation.sentences[:160]
    first, second = sentences[:80], sentences[80:]
    second[::3] = first[::3]
    rng = np.random.default_rng(0)
    scores = [(i % 3 == 0) + float(rng.integers(5)) / 5 for i in range(80)]
    ours = evaluate_sts(model, first, second, scores)
    theirs = EmbeddingSimilarityEvaluator(first, second, scores, main_similarity="cosine")(model)
    assert ours["pearson"] == pytest.approx(theirs["pearson_cosine"], abs=1e-5)
    similarities = sts_similarities(model, first, second)
    assert ours["spearman"] == pytest.approx(stats.spearmanr(similarities, scores).statistic, abs=1e-12)
    assert ours["pearson"] == pytest.approx(stats.pearsonr(similarities, scores).statistic, abs=1e-6)
