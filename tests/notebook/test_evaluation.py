"""What notebook 02 says in words is so in the records and judgements that ship; its limits hold."""

import json
from collections import Counter

import numpy as np
import pytest

from course_lib.evaluation import bootstrap_interval, paired_bootstrap, verdict
from course_lib.experiments import load_shipped
from course_lib.storage import DATA

TASKS = ("summary_to_description", "see_also", "questions", "across_libraries")


@pytest.fixture(scope="module")
def values():
    """{run: [{task: {query: value}} of each seed]}."""
    return {
        name: [{t: r.results[t]["per_query"] for t in TASKS} for r in load_shipped(name)]
        for name in ("bm25", "base", "minilm", "tsdae", "simcse")
    }


def mean(per_query):
    return np.mean(list(per_query.values()))


def test_bm25_is_ahead_of_the_base_encoder_and_half_as_good_as_the_supervised_one_on_questions(values):
    bm25, base, minilm = (values[name][0] for name in ("bm25", "base", "minilm"))
    assert all(paired_bootstrap(bm25[t], base[t]).low > 0.09 for t in TASKS)
    assert 1.8 < mean(minilm["questions"]) / mean(bm25["questions"]) < 2.2
    assert all(abs(mean(minilm[t]) - mean(bm25[t])) < 0.05 for t in TASKS if t != "questions")


def test_two_differences_are_clear_and_two_are_not(values):
    said = [verdict(paired_bootstrap(values["minilm"][0][t], values["bm25"][0][t])) for t in TASKS]
    assert said == ["better", "cannot tell", "better", "cannot tell"]


def test_intervals_overlap_and_the_paired_one_excludes_0(values):
    a, b = (values[name][0]["summary_to_description"] for name in ("tsdae", "simcse"))
    assert list(a) == list(b)
    first, second, paired = bootstrap_interval(a), bootstrap_interval(b), paired_bootstrap(a, b)
    assert second.high > first.low and paired.low > 0
    separate = np.hypot(first.high - first.low, second.high - second.low)
    assert 0.45 < (paired.high - paired.low) / separate < 0.55  # "half as wide"


def test_a_seed_beats_a_seed_and_tsdae_beats_simcse_over_three(values):
    tsdae, simcse = ([seed["summary_to_description"] for seed in values[n]] for n in ("tsdae", "simcse"))
    assert len(tsdae) == len(simcse) == 3
    assert paired_bootstrap(simcse[0], simcse[2]).low > 0 and paired_bootstrap(tsdae, simcse).low > 0


def test_cosines_of_the_base_encoder_are_above_a_half():
    (base,) = load_shipped("base")
    assert min(base.results["stsb"]["per_query"].values()) > 0.5


def test_judged_hits_have_no_label_and_are_as_many_as_the_notebook_says(docs):
    lines = [json.loads(line) for line in (DATA / "judged_hits.jsonl").read_text(encoding="utf-8").splitlines()]
    assert Counter(line["task"] for line in lines) == {"questions": 40, "see_also": 40}
    good = Counter(line["task"] for line in lines if line["accepted"])
    assert 0.4 <= good["see_also"] / 40 <= 0.6 and good["questions"] / 40 <= 0.1  # "half", "nearly all errors are real"
    for line in lines:
        task = docs.test.tasks[line["task"]]
        query = next((q for q, text in task.queries.items() if line["query"] in (q, text)), None)
        assert query is not None and line["hit"] in task.corpus and line["hit"] not in task.relevant[query], line
