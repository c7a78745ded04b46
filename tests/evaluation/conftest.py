import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline


class LatentSemanticAnalysis:
    """A real encoder that needs no network and no second: tf-idf reduced by SVD (Deerwester et al., 1990)."""

    def __init__(self, texts):
        self.pipeline = make_pipeline(TfidfVectorizer(), TruncatedSVD(32, random_state=0)).fit(texts)
        self.encoded = []  # what has been encoded, for tests that count

    def encode(self, texts, batch_size=64):
        self.encoded += texts
        return self.pipeline.transform(texts).astype("float32")


@pytest.fixture(scope="session")
def lsa(docs):
    return LatentSemanticAnalysis(docs.train.passages[:1000])


@pytest.fixture(scope="session")
def task(docs):
    """40 queries of a real task with 200 candidates, the answers first, as corpora often come."""
    whole = docs.validation.tasks["summary_to_description"]
    queries = dict(list(whole.queries.items())[:40])
    relevant = {q: whole.relevant[q] for q in queries}
    answers = {i: whole.corpus[i] for grades in relevant.values() for i in grades}
    others = dict(list(whole.corpus.items())[40:200])
    return queries, answers | others, relevant
