"""Hard negatives from BM25 and a dense search over real documents."""

import pytest

from course_lib.search import BM25Search, ExactSearch, mine_hard_negatives

SOME = 40


@pytest.fixture(scope="module")
def task(docs):
    """Queries and a corpus of real documents, each query with one answer; two answers stand in the corpus twice."""
    full = docs.test.tasks["summary_to_description"]
    queries = dict(list(full.queries.items())[:SOME])
    relevant = {q: full.relevant[q] for q in queries}
    answers = [next(iter(relevant[q])) for q in queries]
    corpus = {i: full.corpus[i] for i in [*answers, *list(full.corpus)[-260:]]}
    copies = {f"copy of {i}": f"  {corpus[i].upper()}" for i in answers[:2]}
    return queries, {**copies, **corpus}, relevant


@pytest.fixture(scope="module")
def retrievers(task, base_encoder_folder):
    from course_lib.models.encoder import SentenceEncoder

    encoder = SentenceEncoder.from_pretrained(base_encoder_folder, device="cpu", max_length=24)
    encoder.transformer.encoder.layer = encoder.transformer.encoder.layer[:2]
    return {"bm25": BM25Search(task[1]), "dense": ExactSearch(encoder, task[1])}


def test_negatives_are_what_each_search_finds_without_the_answers(task, retrievers):
    queries, corpus, relevant = task
    mined = mine_hard_negatives(queries, corpus, relevant, retrievers, per_retriever=10)
    assert list(mined) == list(queries)
    for query, text in queries.items():
        answer = corpus[next(iter(relevant[query]))].lower().split()
        for name, searcher in retrievers.items():
            found = [corpus[hit.id].lower().split() for hit in searcher.search(text, len(corpus))]
            found = [" ".join(words) for words in found if words != answer][:10]
            ranks = {" ".join(corpus[i].lower().split()): r[name] for i, r in mined[query].items() if name in r}
            assert ranks == {text: found.index(text) + 1 for text in found}  # of equal texts the first
    both = [ranks for found in mined.values() for ranks in found.values() if len(ranks) == 2]
    assert 0 < len(both) < sum(map(len, mined.values()))  # the two agree sometimes, and not always


def test_no_answer_and_nothing_equal_to_it_is_a_negative(task, retrievers):
    queries, corpus, relevant = task
    mined = mine_hard_negatives(queries, corpus, relevant, retrievers, per_retriever=len(corpus))
    for query, found in mined.items():
        answer = next(iter(relevant[query]))
        assert answer not in found and f"copy of {answer}" not in found
    first, second = list(queries)[:2]
    assert f"copy of {next(iter(relevant[first]))}" in mined[second]  # but it is one of another query
    texts = [corpus[i].lower().split() for i in mined[second]]
    assert all(texts.count(text) == 1 for text in texts)
    assert len(mined[second]) == len(corpus) - 3  # all but its answer, the copy of it and the second of the other pair


def test_a_text_equal_to_the_query_is_no_negative():
    corpus = {"a": "Sort an array.", "b": "sort an  ARRAY.", "c": "Sort a list.", "d": "Sort a table."}
    mined = mine_hard_negatives({"q": "sort a list."}, corpus, {"q": {"a": 1, "d": 0}}, {"bm25": BM25Search(corpus)})
    assert list(mined["q"]) == ["d"]


def test_the_searches_take_turns(task, retrievers):
    queries, corpus, relevant = task
    query = list(queries)[3]
    mined = mine_hard_negatives({query: queries[query]}, corpus, relevant, retrievers, per_retriever=5)[query]
    best = [min(ranks.values()) for ranks in mined.values()]
    assert best == sorted(best) and best[0] == 1 and len(mined) <= 10


def test_many_queries_are_as_a_few(task, retrievers, monkeypatch):
    queries, corpus, relevant = task
    whole = mine_hard_negatives(queries, corpus, relevant, retrievers, per_retriever=4)
    monkeypatch.setattr("course_lib.search.mining.QUERIES_AT_ONCE", 7)
    assert {q: set(f) for q, f in mine_hard_negatives(queries, corpus, relevant, retrievers, 4).items()} == {
        q: set(f) for q, f in whole.items()
    }


def test_errors(task, retrievers):
    queries, corpus, relevant = task
    with pytest.raises(ValueError, match="`relevant` names nothing for query"):
        mine_hard_negatives(queries, corpus, {}, retrievers)
    with pytest.raises(ValueError, match="retriever 'bm25' found 0, which is not in `corpus`"):
        mine_hard_negatives(queries, corpus, relevant, {"bm25": BM25Search(list(corpus.values()))})
    with pytest.raises(TypeError, match="`retrievers` must be a dict"):
        mine_hard_negatives(queries, corpus, relevant, [BM25Search(corpus)])
    with pytest.raises(ValueError, match="`k` is 0"):
        mine_hard_negatives(queries, corpus, relevant, retrievers, per_retriever=0)
