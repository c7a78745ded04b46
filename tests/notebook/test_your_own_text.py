"""Notebook 12: its limits, its tables, and the numbers that it names."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from course_lib.evaluation import bootstrap_interval
from course_lib.evaluation.significance import Difference
from course_lib.experiments import proxies
from course_lib.experiments.proxies import HEADINGS, Gain
from course_lib.notebook import own_text as shown
from course_lib.storage import DATA
from course_lib.texts import own_text
from course_lib.texts.own_text import Passage

PATH = Path(__file__).parents[2] / "notebooks" / "12_your_own_text.ipynb"


@pytest.fixture(scope="module")
def cells():
    return nbformat.read(PATH, as_version=4).cells


@pytest.fixture(scope="module")
def prose(cells):
    return " ".join(" ".join(cell.source for cell in cells if cell.cell_type == "markdown").split())


def test_ten_judgements_tell_only_large_differences(prose):
    assert (
        "with seven preferences against three the interval still contains 0; with nine against one it does not" in prose
    )
    low = {n: bootstrap_interval([1] * n + [-1] * (10 - n)).low for n in (7, 9)}
    assert low[7] < 0 < low[9]


# --------------------------------------------------------------------------- tables


def test_passages_and_what_was_left_out(tmp_path):
    (tmp_path / "a.md").write_text("# Guide\n\nThe boiler is hot.\n\n```\ncode\n```\n")
    (tmp_path / "b.pdf").write_text("no pdf")
    read = own_text.load(tmp_path, progress=False)
    assert "| a.md:3 | Guide | The boiler is hot. |" in shown.passages(read).data
    rows = shown.left_out(read).data
    assert "| note | 1 | left out: fenced code | a.md |" in rows and "b.pdf" in rows
    assert shown.left_out(own_text.Reading()).data == "Every file was read whole."


@pytest.fixture
def task():
    passages = [
        Passage(f"The boiler {n} is hot today. Its key has number {n}.", "a", (f"House {n}",)) for n in range(30)
    ]
    return proxies.proxy_tasks(passages)[HEADINGS]


def test_queries_of_a_task_and_those_that_changed(task):
    assert "| heading → passage | House 3 | The boiler 3 is hot today. Its key has number 3. |" in (
        shown.proxy_queries({HEADINGS: task}, each=30).data
    )
    before = dict.fromkeys(task.queries, 0.5)
    first, second, *_ = task.queries
    table = shown.changed_queries(task, before, before | {first: 1.0, second: 0.25}).data
    assert re.findall(r"[+-]\d\.\d{3}", table) == ["+0.500", "-0.250"]


def test_a_gain_is_shown_with_its_interval():
    found = Gain("heading → passage", HEADINGS, 40, 0.5, 0.6, Difference(0.1, 0.05, 0.15, 0.01))
    assert (
        "| heading → passage | 40 | 0.500 | 0.600 | +0.100 (+0.050 to +0.150), **better** |"
        in shown.gains([found]).data
    )


def test_agreement_counts_pairs_of_which_the_labels_tell_a_difference():
    def pair(a, b, proxy, labels):
        return {"systems": [a, b], "differences": {"p": proxy, "t": labels}}

    better, worse, unclear = (0.1, 0.05, 0.15), (-0.1, -0.15, -0.05), (0.0, -0.1, 0.1)
    found = {"pairs": [pair("a", "b", better, better), pair("a", "c", worse, better), pair("b", "c", unclear, worse)]}
    found["pairs"].append(pair("a", "d", better, unclear))
    assert shown.agreement(found, "p", "t") == {"same": 1, "no verdict": 1, "opposite": 1}
    assert shown.study_difference(found, "c", "a", "p")[:3] == (0.1, 0.05, 0.15)
    with pytest.raises(ValueError, match="no pair"):
        shown.study_difference(found, "a", "z", "p")


# --------------------------------------------------------------------------- what was recorded


def test_a_study_that_is_not_there_is_named():
    for said in (
        shown.study_picture(None, {}, "t", "t"),
        shown.agreements(None, {}, {}),
        shown.further_trainings(None, "minilm", {}),
    ):
        assert "course_lib.recipes.proxy_study" in said.data


def test_a_study_is_shown(monkeypatch):
    values = {"p": 0.5, "t": 0.25}
    systems = {"minilm": {"title": "MiniLM", "values": values}, "minilm-simcse": {"title": "SimCSE", "values": values}}
    pair = {"systems": ["minilm", "minilm-simcse"], "differences": dict.fromkeys("pt", (0.1, 0.05, 0.15))}
    found = {"systems": systems, "pairs": [pair]}
    assert "SimCSE (0.500, 0.250)" in shown.study_picture(found, {"p": "halves"}, "t", "questions").alt
    assert "| halves | questions | 1 | 1 | 0 | 0 |" in shown.agreements(found, {"p": "halves"}, {"t": "questions"}).data
    table = shown.further_trainings(found, "minilm", {"p": "halves"}).data
    assert "| SimCSE | -0.100 (-0.150 to -0.050), **worse** |" in table


@pytest.mark.skipif(not shown.TRIALS.is_file(), reason="no collection has been judged")
def test_every_search_of_a_trial_was_judged_five_times_per_query():
    collections = shown.trials()
    assert len(collections) == 3 and len({c["kind"] for c in collections}) == 3
    for collection in collections:
        assert len(collection["queries"]) == 10
        for query in collection["queries"]:
            assert all(len(query[s]) == 5 and set(query[s]) <= {0, 1} for s in (*shown.SEARCHES, "hybrid_after"))
    assert "| all |" in shown.trials_by_judgement(collections).data
    assert shown.trials_by_proxies(collections).data.count("→") >= 3


# --------------------------------------------------------------------------- what the Markdown says of records


def test_what_is_said_of_the_three_folders(prose):
    trials = json.loads((DATA / "recorded-runs" / "own-text-trials.json").read_text("utf-8"))
    queries = [of for trial in trials for of in trial["queries"]]
    found = {name: sum(any(of[name]) for of in queries) for name in ("before", "after", "bm25", "hybrid")}
    verdicts = [gain["verdict"] for trial in trials for gain in trial["gains"]]
    assert len(trials) == 3 and len(queries) == 30 and verdicts.count("better") == 4 and len(verdicts) == 6
    text = prose
    assert f"for {found['before']} queries, after it for {found['after']}; BM25 for {found['bm25']}," in text
    assert f"merged search for {found['hybrid']}." in text and "better in four of six cases" in text


def test_what_is_said_of_the_study(prose):
    study, text = json.loads((DATA / "recorded-runs" / "proxy-study.json").read_text("utf-8")), prose

    def sides(pair, *tasks):
        """Better, worse or neither, by the interval of each task: 1, -1 or 0."""
        return [(low > 0) - (high < 0) for _, low, high in (pair["differences"][task] for task in tasks)]

    def agreements(proxy, label):
        both = [sides(pair, proxy, label) for pair in study["pairs"]]
        told = [(a, b) for a, b in both if b]
        return len(told), sum(a == b for a, b in told), sum(a == -b for a, b in told)

    for label, opposite in (("summary_to_description", 2), ("questions", 1)):
        assert agreements("half_to_half", label) == (14, 13, 0)
        assert agreements("heading_to_passage", label)[2] == opposite
    assert "for 13 of 14 pairs, and never the opposite one" in text
    assert "opposite to the summaries for two pairs and to the questions for one" in text
    of = {pair["systems"][1]: pair for pair in study["pairs"] if pair["systems"][0] == "minilm"}
    tasks = ("heading_to_passage", "summary_to_description", "questions")
    assert sides(of["minilm-cropping_gentle-steps-20"], *tasks) == [-1, 0, 0]  # the second of the pair is better
    assert sides(of["minilm-simcse-steps-20"], *tasks) == [-1, 1, 1]
