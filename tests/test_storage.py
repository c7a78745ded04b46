"""Work in chunks: interrupted anywhere, it ends as if it had not been; nothing half is written."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from course_lib.models import CrossEncoder
from course_lib.search import BM25Search, ExactSearch, HybridSearch
from course_lib.storage import fingerprint, in_chunks

ITEMS = [f"text {i}" for i in range(23)]


class Stop(Exception):
    pass


def lengths(called, stop_after=None):
    """Work that writes down which chunks it did, and may be stopped by an error."""

    def work(items, number):
        if len(called) == stop_after:
            raise Stop
        called.append(number)
        return [[number, len(item), "é\n\u2028"] for item in items]

    return work


def run(work, folder, items=ITEMS, settings=0, **options):
    return in_chunks("counting", items, work, settings, chunk=5, folder=folder, progress=False, **options)


@pytest.mark.parametrize("stop_after", [0, 1, 3, 4])
def test_interrupted_work_ends_as_if_it_had_not_been(tmp_path, stop_after):
    whole = run(lengths([]), tmp_path / "whole")
    assert [r[1] for r in whole] == [len(i) for i in ITEMS]
    called = []
    with pytest.raises(Stop):
        run(lengths(called, stop_after), tmp_path / "stopped")
    assert run(lengths(called), tmp_path / "stopped") == whole
    assert called == [0, 1, 2, 3, 4]  # nothing was done twice
    assert run(lengths(called), tmp_path / "stopped") == whole and len(called) == 5
    files = [
        sorted((p.name, p.read_bytes()) for p in (tmp_path / name).rglob("*.jsonl")) for name in ("whole", "stopped")
    ]
    assert files[0] == files[1] and len(files[0]) == 5


KILLED = """
import os, signal, sys
from pathlib import Path
from course_lib import storage as resumable

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def work(items, number):
    if sys.argv[2] == "working" and number == 2:
        die()
    return [[number, len(item)] for item in items]

replace = os.replace
if sys.argv[2] == "writing":
    os.replace = lambda a, b: die() if str(b).endswith("00002.jsonl") else replace(a, b)
resumable.in_chunks("counting", [f"text {i}" for i in range(23)], work, 0, 5, Path(sys.argv[1]), False)
"""


@pytest.mark.parametrize("when", ["working", "writing"])
def test_killed_without_warning(tmp_path, when):
    """SIGKILL, which no code can answer, in the middle of a chunk, or when one is written but not yet in its place."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), when], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert sorted(p.name for p in tmp_path.rglob("*.jsonl")) == ["00000.jsonl", "00001.jsonl"]
    called = []

    def work(items, number):
        called.append(number)
        return [[number, len(item)] for item in items]

    assert run(work, tmp_path) == [[i // 5, len(item)] for i, item in enumerate(ITEMS)] and called == [2, 3, 4]


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b + b"3\n", lambda b: b"\xff" + b])
def test_a_damaged_chunk_is_done_again(tmp_path, damage):
    whole = run(lengths([]), tmp_path)
    path = sorted(tmp_path.rglob("*.jsonl"))[1]
    path.write_bytes(damage(path.read_bytes()))
    called = []
    assert run(lengths(called), tmp_path) == whole and called == [1]


def test_other_items_or_settings_start_anew(tmp_path):
    called = []
    run(lengths(called), tmp_path)
    for change in ({"settings": 1}, {"items": ITEMS[:-1] + ["other"]}, {"items": ITEMS[::-1]}):
        before = len(called)
        run(lengths(called), tmp_path, **change)
        assert len(called) == before + 5
    in_chunks("adding", ITEMS, lengths(called), 0, 5, tmp_path, False)
    in_chunks("counting", ITEMS, lengths(called), 0, 6, tmp_path, False)
    assert len(list(tmp_path.iterdir())) == 6


def test_the_bar_goes_on_where_it_was(tmp_path, capfd):
    with pytest.raises(Stop):
        run(lengths([], 3), tmp_path)
    capfd.readouterr()
    in_chunks("counting", ITEMS, lengths([]), 0, 5, tmp_path, True)
    shown = capfd.readouterr().err
    assert "Counting" in shown and "15/23" in shown and "23/23" in shown


def test_odd_work(tmp_path, monkeypatch):
    assert run(lengths([]), tmp_path, items=[]) == []
    with pytest.raises(ValueError, match="the work of 'counting' returned 1 results for 5 items"):
        run(lambda items, number: [1], tmp_path)
    with pytest.raises(ValueError, match="chunk is 0"):
        in_chunks("counting", ITEMS, lengths([]), 0, 0, tmp_path)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    run(lengths([]), None)
    assert len(list((tmp_path / "cache" / "stages").iterdir())) == 1


# --------------------------------------------------------------------------- what results are known by


def test_equal_content_has_equal_fingerprints(shallow):
    things = [
        1,
        1.0,
        "1",
        True,
        None,
        [1, 2],
        [[1], 2],
        ["12"],
        {"a": 1},
        {"b": 1},
        {"a", "b"},
        {"a"},
        [],
        {},
        "",
        np.arange(3),
        np.arange(3.0),
        torch.arange(3),
        torch.arange(3.0),
        torch.arange(3.0)[None],
    ]
    keys = [fingerprint(thing) for thing in things]
    assert len(set(keys)) == len(keys) and keys == [fingerprint(thing) for thing in things]


def test_a_model_is_known_by_weights_and_settings(shallow):
    encoder, again = shallow(1), shallow(1)
    key = fingerprint(encoder)
    assert key == fingerprint(again) != fingerprint(shallow(1, pooling="cls")) != fingerprint(shallow(1, max_length=16))
    with torch.no_grad():
        again.transformer.encoder.layer[0].output.dense.bias[3] += 1e-3
    assert fingerprint(again) != key
    torch.manual_seed(0)
    judge = CrossEncoder(encoder)
    torch.manual_seed(0)
    assert fingerprint(judge) == fingerprint(CrossEncoder(encoder)) != key
    torch.manual_seed(0)
    assert fingerprint(judge) != fingerprint(CrossEncoder(shallow(1, max_length=16)))


def test_a_search_is_known_by_its_texts_its_settings_and_its_encoder(shallow):
    texts, encoder = {"a": "Sort an array.", "b": "Join tables."}, shallow(1, max_length=16)
    searches = [
        lambda: BM25Search(texts),
        lambda: BM25Search(texts, k1=0.5),
        lambda: BM25Search({**texts, "c": "Plot."}),
        lambda: ExactSearch(encoder, texts),
        lambda: ExactSearch(encoder, list(texts.values())),
        lambda: ExactSearch(shallow(2, max_length=16), texts),
        lambda: HybridSearch([BM25Search(texts), ExactSearch(encoder, texts)]),
        lambda: BM25Search(texts, b=0.5),
    ]
    keys = [fingerprint(make()) for make in searches]
    assert len(set(keys)) == len(keys) and keys == [fingerprint(make()) for make in searches]
    with pytest.raises(TypeError, match="a function has no fingerprint"):
        fingerprint(lambda: 0)


KNOWN = """
from course_lib.storage import fingerprint
from course_lib.search import BM25Search
texts = {str(i): f"Sort the rows of table {i} by column {chr(97 + i)}." for i in range(20)}
print(fingerprint([BM25Search(texts), texts, {"bm25", "dense", "both"}]))
"""


def test_a_fingerprint_is_the_same_in_every_process():
    """Python orders a set of words anew in every process; what a killed process kept must be found by the next."""
    known = {
        subprocess.run(
            [sys.executable, "-c", KNOWN],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(known) == 1
