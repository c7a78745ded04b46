"""What notebook 06 says in Markdown about recorded runs."""

import math
from statistics import mean

import pytest

from course_lib.evaluation import paired_bootstrap, verdict
from course_lib.recipes import contrastive_variants as variants

TASKS = ("summary_to_description", "see_also", "questions", "across_libraries", "stsb")
SUMMARIES, QUESTIONS, STSB = TASKS[0], TASKS[2], TASKS[4]


def rise(task):
    return lambda p: (p.mean("base", task), p.mean("ct", task))


SENTENCES = {
    "on summary → description (nDCG@10 from {:.3f} to {:.3f})": rise(SUMMARIES),
    "questions (from {:.3f} to {:.3f})": rise(QUESTIONS),
    "STS-B (from {:.3f} to {:.3f})": rise(STSB),
    "Both rivals saw more sentences ({:,} against {:,})": lambda p: [p.sentences(run) for run in ("simcse", "ct")],
    "lie between {:.3f} and {:.3f}": lambda p: (min(p.seeds("ct", SUMMARIES)), max(p.seeds("ct", SUMMARIES))),
    "$\\frac78 \\log 2 = {:.3f}$": lambda p: [7 / 8 * math.log(2)],
    "$b$ should be $\\log \\frac17 = {:.2f}$": lambda p: [-math.log(7)],
    "the loss of this constant guess is {:.3f} per pair": lambda p: [(math.log(8) + 7 * math.log(8 / 7)) / 8],
}


@pytest.mark.parametrize("template", SENTENCES)
def test_numbers_are_those_of_the_records(prose, template):
    text = prose("06_contrastive_tension")
    text.says(template, *SENTENCES[template](text))


def test_who_is_ahead(prose):
    text = prose("06_contrastive_tension")
    text.says("on See also and across libraries we cannot tell")
    better, unclear = "better", "cannot tell"
    assert [text.verdict("ct", "base", task) for task in TASKS] == [better, unclear, better, unclear, better]
    text.says("above the base encoder on three of five tasks, and below SimCSE on four")
    text.says("SimCSE is ahead of it on four tasks; on questions we cannot tell")
    found = {task: text.verdict("ct", "simcse", task) for task in TASKS}
    assert found == dict.fromkeys(TASKS, "worse") | {QUESTIONS: unclear}
    text.says("It is below BM25 on all four search tasks, and below CT with in-batch negatives on all five")
    assert {text.verdict("ct", "bm25", task) for task in TASKS[:-1]} == {"worse"}
    assert {text.verdict("ct", "ct_in_batch", task) for task in TASKS} == {"worse"}
    assert text.sentences("simcse") == text.sentences("ct_in_batch")


def test_what_one_tower_and_two_do(prose):
    text, recorded = prose("06_contrastive_tension"), variants.load()
    start, two, one = (
        list(recorded[name].values())
        for name in (
            variants.START,
            variants.name_of("two", "sampled", "dot"),
            variants.name_of("one", "sampled", "dot"),
        )
    )
    losses = [mean(mean(found["losses"][-8:]) for found in seeds) for seeds in (one, two)]
    text.says("{:.2f} per pair in the last eight steps, against {:.2f} with two towers", *losses)
    text.says("a loss about 25 times as high")
    assert round(losses[0] / losses[1]) == 25
    within = [mean(found["geometry"]["within second"] for found in seeds) for seeds in (one, two)]
    text.says("falls to {:.2f}, while it stays at {:.2f} within the kept one", *within)
    ndcg = [mean(mean(found["ndcg"].values()) for found in seeds) for seeds in (start, one, two)]
    text.says("rises from {:.3f} to {:.3f} with one tower and to {:.3f} with two", *ndcg)
    text.says("({} test queries, two seeds), and we cannot tell the two apart", variants.QUERIES)
    assert len(one) == len(two) == 2  # with more seeds, say so
    each = [[found["ndcg"] for found in seeds] for seeds in (two, one)]
    assert verdict(paired_bootstrap(*each)) == "cannot tell"
    assert all(different > 0 for found in one for _, different in found["scores"])
    assert all(min(found["losses"]) > 7 / 8 * math.log(2) for found in one)
    text.says("({} steps of 64, dropout on", variants.CONFIG.steps)


def test_what_a_bias_does(prose):
    text, recorded = prose("06_contrastive_tension"), variants.load()
    ndcg = {}
    for towers in ("two", "one"):
        plain, biased = (recorded[variants.name_of(towers, kind, "dot")] for kind in ("sampled", "sampled, bias"))
        assert mean(mean(found["losses"][-8:]) for found in biased.values()) < 0.1
        for seed in plain:
            assert verdict(paired_bootstrap(biased[seed]["ndcg"], plain[seed]["ndcg"])) == "better"
        ndcg[towers] = [mean(mean(found["ndcg"].values()) for found in of.values()) for of in (biased, plain)]
    text.says("rises to {:.3f} with two towers and to {:.3f} with one", ndcg["two"][0], ndcg["one"][0])
    text.says("gains {:.2f} to {:.2f}", *(biased - plain for biased, plain in (ndcg["one"], ndcg["two"])))
