"""What notebook 07 says in Markdown about recorded runs."""

from itertools import product
from statistics import mean

import pytest

from course_lib.evaluation import paired_bootstrap, verdict
from course_lib.recipes import contrastive_variants as variants

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


SIDES = (("two", "one"), ("in-batch", "sampled"), ("cosine", "dot"))


def by_query(choices):
    """The mean over some variants of seed 0, query by query."""
    found = [variants.load()[variants.name_of(*choice)]["0"]["ndcg"] for choice in choices]
    return {query: mean(of[query] for of in found) for query in found[0]}


def test_what_the_three_decisions_do(prose):
    text = prose("07_ct_in_batch_negatives")
    recorded = {
        choice: [mean(seed["ndcg"].values()) for seed in variants.load()[variants.name_of(*choice)].values()]
        for choice in product(*SIDES)
    }
    assert {len(seeds) for seeds in recorded.values()} == {1, 2}
    text.says("8$ trainings, of one or two seeds")
    ndcg = {choice: mean(seeds) for choice, seeds in recorded.items()}
    low = [ndcg.pop((towers, "sampled", "dot")) for towers in ("two", "one")]
    text.says("between {:.2f} and {:.2f}", min(ndcg.values()), max(ndcg.values()))
    text.says("{:.2f} with two towers and {:.2f} with one", *low)
    found = []
    for place, (one, other) in enumerate(SIDES):
        chosen = [choice for choice in product(*SIDES) if choice[place] == one]
        partners = [(*choice[:place], other, *choice[place + 1 :]) for choice in chosen]
        found.append(verdict(paired_bootstrap(by_query(chosen), by_query(partners))))
    assert found == ["cannot tell", "better", "better"]
    text.says("**The second tower makes no difference** that we can tell")
    biased = variants.load()[variants.name_of("two", "sampled, bias", "dot")].values()
    text.says("by the bias itself and comes to {:.2f}", mean(mean(seed["ndcg"].values()) for seed in biased))


def test_where_the_towers_go(prose):
    of = {choice: variants.load()[variants.name_of("two", *choice)]["0"]["geometry"] for choice in product(*SIDES[1:])}
    text = prose("07_ct_in_batch_negatives")
    means = [of["sampled", scores]["means"] for scores in ("cosine", "dot")]
    text.says("(−{:.2f} with cosines, −{:.2f} with dot products)", *(-value for value in means))
    assert all(of["in-batch", scores]["means"] > 0 for scores in ("cosine", "dot"))
    text.says("has a cosine of {:.2f} across them", of["in-batch", "cosine"]["itself"])
