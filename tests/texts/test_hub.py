"""Labelled data: from a local copy, from a dataset repository on disk read by `datasets`, and when there is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.texts import hub

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shared_data(monkeypatch):
    folder = Path(os.environ.get("COURSE_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "stsb").is_dir():
        pytest.skip("no local copy of stsb: set COURSE_DATA to the folder that holds stsb/test.csv")
    monkeypatch.setenv("COURSE_DATA", str(folder))


@pytest.fixture
def beir(docs, tmp_path, monkeypatch):
    """A real task of the corpus, written as BEIR distributes its sets, with titles and a query that nobody judged."""
    task = docs.test.tasks["questions"]
    folder = tmp_path / "python-questions"
    (folder / "qrels").mkdir(parents=True)
    queries = {**task.queries, "unjudged": "What is nobody asked?"}
    write_rows(folder / "corpus.jsonl", [{"_id": i, "title": i, "text": t} for i, t in task.corpus.items()])
    write_rows(folder / "queries.jsonl", [{"_id": i, "text": t, "metadata": {}} for i, t in queries.items()])
    lines = [f"{q}\t{d}\t{grade}" for q, relevant in task.relevant.items() for d, grade in relevant.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    return task


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("split, pairs", [("train", 5749), ("validation", 1500), ("test", 1379)])
def test_sts_from_a_local_copy(shared_data, split, pairs):
    first, second, scores = hub.load_sts("sentence-transformers/stsb", split)
    assert len(first) == len(second) == len(scores) == pairs
    assert min(scores) == 0 and max(scores) == 1 and all(first) and all(second)


def test_the_sts_test_set_begins_as_it_does(shared_data):
    first, second, scores = hub.load_sts()
    assert (first[0], second[0], scores[0]) == ("A girl is styling her hair.", "A girl is brushing her hair.", 0.5)


def test_beir_from_a_local_copy(beir):
    queries, corpus, qrels = hub.load_beir("BeIR/python-questions")
    assert queries == beir.queries and qrels == beir.relevant
    assert corpus == {i: f"{i} {text}" for i, text in beir.corpus.items()}
    assert hub.available("BeIR/python-questions")


def test_beir_through_datasets(beir, tmp_path, monkeypatch):
    """The same set as a dataset repository of mteb's layout, so that what `load_dataset` gives is read."""
    folder = tmp_path / "python-questions"
    write_rows(
        folder / "qrels" / "test.jsonl",
        [
            {"query-id": q, "corpus-id": d, "score": float(grade)}
            for q, found in beir.relevant.items()
            for d, grade in found.items()
        ],
    )
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: corpus\n  data_files:\n  - split: corpus\n    path: corpus.jsonl\n"
        "- config_name: queries\n  data_files:\n  - split: queries\n    path: queries.jsonl\n"
        "- config_name: default\n  data_files:\n  - split: test\n    path: qrels/test.jsonl\n---\n"
    )
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "local_copy", lambda name: None)
    queries, corpus, qrels = hub.load_beir(str(folder))
    assert queries == beir.queries and qrels == beir.relevant and len(corpus) == len(beir.corpus)


def test_reranking(docs, tmp_path):
    task = docs.test.tasks["questions"]
    others = list(task.corpus.values())[:20]
    rows = [
        {"query": q, "positive": [task.corpus[d] for d in task.relevant[i]], "negative": others}
        for i, q in task.queries.items()
    ]
    write_rows(tmp_path / "test.jsonl", rows)
    assert hub.load_reranking(tmp_path) == rows


def test_a_split_or_a_column_that_is_not_there(beir, tmp_path):
    with pytest.raises(FileNotFoundError, match="'dev.tsv' is not in .*which has test.tsv"):
        hub.load_beir("python-questions", split="dev")
    (tmp_path / "sts").mkdir()
    (tmp_path / "sts" / "test.csv").write_text("a,b,score\nx,y,1\n")
    with pytest.raises(ValueError, match="a row lacks sentence1, sentence2; it has a, b, score"):
        hub.load_sts("sts")
    (tmp_path / "sts" / "test.csv").write_text("sentence1,sentence2,score\nx,y,high\n")
    with pytest.raises(ValueError, match="the score 'high' is not a number"):
        hub.load_sts("sts")


def test_a_judged_query_without_text(beir, tmp_path):
    file = tmp_path / "python-questions" / "queries.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[1:]))
    with pytest.raises(ValueError, match="1 judged queries have no text.*'question 0' among them"):
        hub.load_beir("python-questions")


def test_without_network_and_without_copy_the_error_says_what_to_set(tmp_path):
    code = (
        "from course_lib.texts import hub\n"
        "assert not hub.available('nobody/nothing')\n"
        "hub.load_beir('nobody/nothing')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COURSE_DATA": "", "HF_HOME": str(tmp_path)},
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("FileNotFoundError: 'nobody/nothing' could not be loaded"), done.stderr
    assert "set COURSE_DATA to the folder that holds nothing/ (COURSE_DATA is not set)" in last
