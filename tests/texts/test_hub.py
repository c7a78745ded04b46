"""Labelled data: from a local copy, from a dataset repository on disk read by `datasets`, and where there is none."""

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
    with pytest.raises(ValueError, match="1 judged queries have no text.*such as 'question 0'"):
        hub.load_beir("python-questions")


# --------------------------------------------------------------------------- where it is


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory and, next to it, an empty COURSE_DATA."""
    for name in ("here", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


NO_NETWORK = """
import socket
touched = []

def refuse(*arguments, **options):
    touched.append(arguments)
    raise OSError("the network was touched")

socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from course_lib.texts import hub
found = [hub.available(name) for name in ("nobody/nothing", hub.STSB, "nothing", "nobody/nothing/at-all", "nobody/..")]
print(found, touched)
"""


def test_looking_for_a_set_never_touches_the_network(tmp_path):
    places = {"COURSE_DATA": str(tmp_path), "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **places}
    )
    assert done.stdout.strip() == f"{[False] * 5} []", done.stderr


@pytest.mark.parametrize("name, folder", [("BeIR/SciFact", "BeIR___sci_fact"), ("glue", "glue")])
def test_a_set_in_the_cache_of_datasets_is_available(here, monkeypatch, name, folder):
    """`datasets` itself says where it looks; a download that was interrupted does not count."""
    import datasets
    from datasets.load import CachedDatasetModuleFactory

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", here)
    (here / folder / "default" / "0.0.0" / "abc.incomplete").mkdir(parents=True)
    assert not hub.available(name)
    (here / folder / "default" / "0.0.0" / "abc").mkdir()
    assert hub.available(name) and CachedDatasetModuleFactory(name, str(here)).get_module()


def test_a_hub_name_is_not_taken_for_an_unrelated_folder(here):
    for name in ("stsb", "sentence-transformers/stsb"):
        (here / name).mkdir(parents=True)
        (here / name / "notes.csv").write_text("a,b\n")
        assert hub.local_copy(name) is None
        (here / name / "test.csv").write_text("sentence1,sentence2,score\nx,y,1\n")
        assert hub.local_copy(name).resolve() == here / name
        assert hub.load_sts(name) == (["x"], ["y"], [1.0])


def test_a_name_stays_inside_course_data(here, tmp_path):
    for outside in (tmp_path / "secret", tmp_path / "data" / "secret"):
        outside.mkdir()
        (outside / "test.csv").write_text("sentence1,sentence2,score\nx,y,1\n")
    assert hub.local_copy("secret") == tmp_path / "data" / "secret"
    for name in ("owner/../../secret", "x/../../data/secret", "owner/..", ""):
        assert hub.local_copy(name) is None, name


def test_a_path_upwards_is_relative_to_the_current_directory_only(here, tmp_path, monkeypatch):
    (tmp_path / "data" / "beside").mkdir()
    (tmp_path / "data" / "deeper").mkdir()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "data" / "deeper"))
    assert hub.local_copy("../beside") is None
    (tmp_path / "beside").mkdir()
    assert hub.local_copy("../beside").resolve() == tmp_path / "beside"


def test_a_path_is_taken_as_it_is(here):
    (here / "mine").mkdir()
    for path in ("./mine", here / "mine", str(here / "mine")):
        assert hub.local_copy(path).resolve() == here / "mine"
        with pytest.raises(FileNotFoundError, match="'test.csv' is not in .*mine', which has nothing"):
            hub.load_sts(path)


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
