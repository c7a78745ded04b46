"""Retrieve and re-rank with a real cross-encoder's reading, and the sentence that explains a hit."""

import numpy as np
import pytest

from course_lib.evaluation import evaluate_retrieval
from course_lib.models import CrossEncoder, SentenceEncoder
from course_lib.search import BM25Search, ExactSearch, Reranked, matched_words, nearest_sentence, rank_bm25, rank_with


@pytest.fixture(scope="module")
def corpus(docs):
    return {d.name: d.text for d in docs.validation.documents if d.library == "networkx"}


@pytest.fixture(scope="module")
def encoder(base_encoder_folder):
    encoder = SentenceEncoder.from_pretrained(base_encoder_folder, device="cpu", max_length=32)
    encoder.transformer.encoder.layer = encoder.transformer.encoder.layer[:2]
    encoder.transformer.config.num_hidden_layers = 2
    return encoder


@pytest.fixture(scope="module")
def cross_encoder(encoder):
    return CrossEncoder(encoder).eval()


QUERIES = ["shortest path between two nodes", "random graph", "connected components"]


def test_candidates_are_ordered_by_the_cross_encoder(corpus, cross_encoder):
    found = BM25Search(corpus).search(QUERIES[0], 12)
    scores = cross_encoder.predict([(QUERIES[0], hit.text) for hit in found])
    assert np.unique(scores).size == len(scores)
    hits = Reranked(BM25Search(corpus), cross_encoder, depth=12).search(QUERIES[0], k=5)
    assert [h.id for h in hits] == [found[i].id for i in np.argsort(-scores)[:5]]
    assert [h.score for h in hits] == pytest.approx(np.sort(scores)[::-1][:5].tolist(), abs=1e-5)
    assert all(corpus[h.id] == h.text for h in hits)


def test_several_queries_at_once_and_none(corpus, cross_encoder):
    search = Reranked(BM25Search(corpus), cross_encoder, depth=6)
    queries = [*QUERIES, "zzzz"]
    for hits, query in zip(search.search(queries, 4), queries):
        alone = search.search(query, 4)
        assert [h.id for h in hits] == [h.id for h in alone]
        assert [h.score for h in hits] == pytest.approx([h.score for h in alone], abs=1e-5)
    assert search.search("zzzz") == [] and search.search([]) == [] and len(search) == len(corpus)
    assert len(search.search(QUERIES[0], k=9)) == 9  # more than `depth` are read where more are asked for


def test_equal_scores_leave_the_order_of_the_searcher(corpus):
    class Constant:
        def predict(self, pairs):
            return np.zeros(len(pairs))

    found = BM25Search(corpus).search(QUERIES, 8)
    again = Reranked(BM25Search(corpus), Constant(), depth=20).search(QUERIES, 8)
    assert [[h.id for h in hits] for hits in again] == [[h.id for h in hits] for hits in found]


def test_a_search_can_be_evaluated(docs):
    task = docs.validation.tasks["summary_to_description"]
    queries = dict(list(task.queries.items())[:30])
    relevant = {q: task.relevant[q] for q in queries}
    ours = evaluate_retrieval(rank_with(BM25Search), queries, task.corpus, relevant)
    assert ours == evaluate_retrieval(rank_bm25, queries, task.corpus, relevant)

    class WordCount:
        """Knows how many of the query's words a text holds; little, but enough to change an order."""

        def predict(self, pairs):
            return [len(matched_words(query, text)) for query, text in pairs]

    other = evaluate_retrieval(
        rank_with(lambda texts: Reranked(BM25Search(texts), WordCount(), 20)), queries, task.corpus, relevant
    )
    assert other["per_query"]["recall@100"].keys() == ours["per_query"]["recall@100"].keys()
    assert 0.05 < other["ndcg@10"] != ours["ndcg@10"]


def test_the_nearest_sentence(encoder, corpus):
    sentences = [
        "Nodes are labelled by numbers.",
        "The shortest path between two nodes is found by breadth-first search.",
        "It may be slow, e.g. for large graphs.",
    ]
    search = ExactSearch(encoder, sentences)
    for query in (QUERIES[0], "large and slow", "numbers of nodes"):
        assert nearest_sentence(encoder, query, " ".join(sentences)) == search.search(query, 1)[0].text
    assert nearest_sentence(encoder, QUERIES[0], " ".join(sentences)) == sentences[1]
    assert nearest_sentence(encoder, "anything", "one only") == "one only" and nearest_sentence(encoder, "q", "") == ""
    with pytest.raises(TypeError, match="`text`"):
        nearest_sentence(encoder, "q", None)


def test_the_cache_key_holds_searcher_cross_encoder_and_depth(corpus, cross_encoder):
    searcher = BM25Search(corpus)
    key = Reranked(searcher, cross_encoder, 7).cache_key()
    assert key == {"searcher": searcher, "cross_encoder": cross_encoder, "depth": 7}


def test_errors(corpus, cross_encoder):
    with pytest.raises(ValueError, match="`k` is 0"):
        Reranked(BM25Search(corpus), cross_encoder, depth=0)
    with pytest.raises(ValueError, match="`k` is 0"):
        Reranked(BM25Search(corpus), cross_encoder).search("q", 0)
    with pytest.raises(TypeError, match="every text must be a string"):
        Reranked(BM25Search(corpus), cross_encoder).search([3])
