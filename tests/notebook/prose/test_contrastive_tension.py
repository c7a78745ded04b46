"""What notebook 06 says in Markdown about recorded runs."""

import math

import pytest

TASKS = ("summary_to_description", "see_also", "questions", "across_libraries", "stsb")
SUMMARIES, QUESTIONS, STSB = TASKS[0], TASKS[2], TASKS[4]


def rise(task):
    return lambda p: (p.mean("base", task), p.mean("ct", task))


def sentences(run):
    def seen(p):
        recipe = p.records(run)[0].recipe
        return recipe["steps"] * recipe["batch_size"]

    return seen


SENTENCES = {
    "on summary → description (nDCG@10 from {:.3f} to {:.3f})": rise(SUMMARIES),
    "questions (from {:.3f} to {:.3f})": rise(QUESTIONS),
    "STS-B (from {:.3f} to {:.3f})": rise(STSB),
    "Both rivals saw more sentences ({:,} against {:,})": lambda p: [sentences(run)(p) for run in ("simcse", "ct")],
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
    assert sentences("simcse")(text) == sentences("ct_in_batch")(text)
