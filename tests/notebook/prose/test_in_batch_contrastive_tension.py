"""What notebook 07 says in Markdown about recorded runs."""

import pytest

TASKS = ("summary_to_description", "see_also", "questions", "across_libraries", "stsb")
SUMMARIES, QUESTIONS, STSB = TASKS[0], TASKS[2], TASKS[4]
RUN = "ct_in_batch"


def means(task, *runs):
    return lambda p: [p.mean(run, task) for run in runs]


SENTENCES = {
    "summary → description rises from {:.3f} to {:.3f}": means(SUMMARIES, "base", RUN),
    "questions from {:.3f} to {:.3f}": means(QUESTIONS, "base", RUN),
    "STS-B from {:.3f} to {:.3f}": means(STSB, "base", RUN),
    "better on summary → description ({:.3f} against {:.3f})": means(SUMMARIES, RUN, "simcse"),
    "and questions ({:.3f} against {:.3f})": means(QUESTIONS, RUN, "simcse"),
    "seeds of summary → description lie between {:.3f} and {:.3f}": lambda p: [
        extreme(p.seeds(RUN, SUMMARIES)) for extreme in (min, max)
    ],
}


@pytest.mark.parametrize("template", SENTENCES)
def test_numbers_are_those_of_the_records(prose, template):
    text = prose("07_ct_in_batch_negatives")
    text.says(template, *SENTENCES[template](text))


def test_who_is_ahead(prose):
    text = prose("07_ct_in_batch_negatives")
    text.says("is better than the base encoder on all five tasks")
    assert {text.verdict(RUN, "base", task) for task in TASKS} == {"better"}
    text.says("on the other three tasks we cannot tell")
    found = {task: text.verdict(RUN, "simcse", task) for task in TASKS}
    text.says("above the base encoder on all five tasks, and above SimCSE on two")
    assert found == dict.fromkeys(TASKS, "cannot tell") | {SUMMARIES: "better", QUESTIONS: "better"}
    text.says("SimCSE, which saw as many sentences")
    recipes = [text.records(run)[0].recipe for run in (RUN, "simcse", "ct")]
    ours, simcse, ct = (recipe["steps"] * recipe["batch_size"] for recipe in recipes)
    assert ours == simcse > ct
    text.says("**BM25 is ahead on three of its four tasks; on questions we cannot tell.**")
    assert [text.verdict(RUN, "bm25", task) for task in TASKS[:-1]] == ["worse", "worse", "cannot tell", "worse"]
