import math
import os
import random
import subprocess
import sys
from collections import Counter

import pytest

from course_lib.evaluation import evaluate_retrieval
from course_lib.search import BM25Search, matched_words, rank_bm25
from course_lib.search.bm25 import STOP_WORDS, tokenize
from course_lib.storage import fingerprint


@pytest.fixture(scope="module")
def task(docs):
    return docs.validation.tasks["summary_to_description"]


@pytest.fixture(scope="module")
def search(task):
    return BM25Search(task.corpus)


def lucene(query, texts, k1=1.2, b=0.75):
    """BM25 as Robertson and Zaragoza (2009) write it, with Lucene's idf, for every text."""
    documents = [Counter(tokenize(text)) for text in texts]
    mean_length = sum(d.total() for d in documents) / len(documents)
    scores = []
    for document in documents:
        score = 0
        for word in tokenize(query):
            frequency = sum(word in d for d in documents)
            idf = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
            score += idf * document[word] / (document[word] + k1 * (1 - b + b * document.total() / mean_length))
        scores.append(score)
    return scores


def test_scores_are_the_formula(task):
    texts = list(task.corpus.values())[:60]
    search = BM25Search(texts)
    for query in list(task.queries.values())[:10]:
        assert search.scores(query).tolist() == pytest.approx(lucene(query, texts), abs=1e-4)


def test_hits_are_the_highest_scores(task, search):
    query = "sort the values of an array"
    scores = search.scores(query)
    hits = search.search(query, k=5)
    assert [h.score for h in hits] == sorted(scores.tolist(), reverse=True)[:5]
    assert all(task.corpus[h.id] == h.text for h in hits)
    assert search.search([query, "dates"], k=5) == [hits, search.search("dates", k=5)]


def test_texts_that_share_no_word_are_no_hits(search):
    assert search.search("zzyzx the of") == [] == search.search("")
    few = search.search("eigenvalues", k=1000)
    assert 0 < len(few) < 100 and all("igenvalue" in h.text for h in few)


def test_equal_texts_stay_in_order():
    search = BM25Search(["sort an array", "merge two tables", "sort an array", "sort an array"])
    hits = search.search("sort")
    assert [h.id for h in hits] == [0, 2, 3] and len({h.score for h in hits}) == 1


def test_rank_is_search_for_every_query(task, search):
    queries = dict(list(task.queries.items())[:20])
    ranked = rank_bm25(queries, task.corpus)
    assert list(ranked) == list(queries)
    for query, ids in ranked.items():
        assert ids == [h.id for h in search.search(queries[query], k=len(search))]
    assert rank_bm25(queries, task.corpus, depth=3) == {q: ids[:3] for q, ids in ranked.items()}


def test_it_is_a_strong_baseline(task):
    result = evaluate_retrieval(rank_bm25, task.queries, task.corpus, task.relevant)
    assert result["ndcg@10"] > 0.45


def test_plurals_and_identifiers_are_matched(task):
    """What the tokenizer does beyond bm25s's own is worth its lines: each step finds more answers."""
    import bm25s

    from course_lib.evaluation import score_rankings

    ids, index = list(task.corpus), bm25s.BM25(k1=1.2, b=0.75)
    plain = lambda texts: bm25s.tokenize(texts, return_ids=False, show_progress=False)  # noqa: E731
    index.index(plain(list(task.corpus.values())), show_progress=False)
    ranked = {}
    for query, words in zip(task.queries, plain(list(task.queries.values()))):
        scores = index.get_scores(words) if words else [0] * len(ids)
        ranked[query] = [ids[i] for i in sorted(range(len(ids)), key=lambda i: -scores[i]) if scores[i] > 0]
    theirs = score_rankings(ranked, task.relevant)["ndcg@10"]
    ours = evaluate_retrieval(rank_bm25, task.queries, task.corpus, task.relevant)["ndcg@10"]
    assert ours > sum(theirs.values()) / len(theirs) + 0.02


def test_the_cache_key_holds_texts_and_settings():
    texts = {"a": "Sort an array.", "b": "Join tables."}
    key = BM25Search(texts, k1=0.5).cache_key()
    assert key == {"ids": ["a", "b"], "texts": list(texts.values()), "k1": 0.5, "b": 0.75}
    keys = [BM25Search(texts), BM25Search(list(texts.values())), BM25Search(texts, k1=0.5), BM25Search(texts, b=0.5)]
    assert len({fingerprint(search.cache_key()) for search in keys}) == 4


@pytest.mark.parametrize(
    "text, words",
    [
        ("The indices of DataFrames", ["indice", "data", "frame"]),
        ("random_state=42, n_jobs", ["random", "state", "42", "n", "job"]),
        ("queries, classes, axes, axis", ["query", "classe", "axe", "axi"]),
        ("status, class, is it", ["status", "class"]),
        ("naïve Bayes", ["naïve", "baye"]),
        ("", []),
        ("the of and", []),
        ("s", ["s"]),
    ],
)
def test_words(text, words):
    assert tokenize(text) == words


def test_the_stop_words_are_those_of_bm25s():
    from bm25s.stopwords import STOPWORDS_EN

    assert STOP_WORDS == set(STOPWORDS_EN)


def test_matched_words_are_those_that_score():
    text = "Join columns of a table; joined Tables stay. Columns on top."
    assert matched_words("join two tables on a column", text) == ["Join", "columns", "table"]
    assert matched_words("data frames", "A DataFrame holds data.") == ["Data", "Frame"]
    assert matched_words("the of", "the of") == []


def test_matched_words_say_whether_there_is_a_score(task, search):
    for query in random.Random(0).sample(list(task.queries.values()), 5):
        for text, score in zip(search.texts[:200], search.scores(query)):
            assert bool(matched_words(query, text)) == (score > 0)


def test_it_is_quiet(task, capfd):
    rank_bm25(dict(list(task.queries.items())[:2]), task.corpus)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "bad, error, message",
    [
        ([], ValueError, "`texts` is empty"),
        (["", "the"], ValueError, "none of the 2 `texts`"),
        ("a text", TypeError, "pass a list"),
        ([None], TypeError, r"`texts`\[0\] is None"),
    ],
)
def test_bad_texts_are_named(bad, error, message):
    with pytest.raises(error, match=message):
        BM25Search(bad)


def test_bad_queries_are_named(search):
    with pytest.raises(ValueError, match="`k` is -1"):
        search.search("array", k=-1)
    with pytest.raises(TypeError, match=r"`query`\[0\] is 3"):
        search.search([3])


@pytest.mark.parametrize("name", ["jax", "numba"])
def test_what_bm25s_would_start_without_need_is_not_started(tmp_path, name):
    """JAX would take most of a GPU's memory from torch, Numba a second; a later import still works."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("print('started', flush=True)\nnjit = lambda *a, **k: lambda f: f\n")
    (tmp_path / name / "lax.py").write_text("")
    script = (
        "from course_lib.search import BM25Search\n"
        "print([hit.text for hit in BM25Search(['sorts a list', 'opens a file']).search('file')])\n"
        f"import {name}"
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    told = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert told.stdout.splitlines() == ["['opens a file']", "started"], told.stderr


@pytest.mark.parametrize(
    "text, words",
    [
        ("चाबी पड़ोसियों", ["चाबी", "पड़ोसियों"]),  # vowel signs are no boundary
        ("Cafe\u0301s na\u00efve\u200b", ["café", "naïve"]),
        ("予備の鍵", ["予備", "備の", "の鍵"]),
        ("鍵", ["鍵"]),
        ("pandas表", ["panda", "表"]),
        ("مفتاح، الجيران", ["مفتاح", "الجيران"]),
        ("randomState_été", ["random", "state", "été"]),
    ],
)
def test_words_of_other_scripts(text, words):
    from course_lib.search.bm25 import tokenize

    assert tokenize(text) == words


def test_scripts_without_blanks_are_searched():
    search = BM25Search(["锅炉每年十月保养。", "钥匙在邻居那里。", "面包需要面粉。"])
    assert [hit.id for hit in search.search("邻居的钥匙")] == [1]
    assert matched_words("钥匙", "钥匙在邻居那里。") == ["钥匙"]
