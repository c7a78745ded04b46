"""What notebooks 09 and 10 say in Markdown about papers, recipes and claims."""

from pathlib import Path

import pytest

from course_lib.evaluation import verdict
from course_lib.experiments import PROFILES, report
from course_lib.recipes import gpl_margins

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"

TASK, ADAPTED = "average of six BEIR sets", "MS MARCO, then generated queries"


def published(*rows):
    return lambda p: [p.published(*row, TASK, model) for *row, model in rows]


SENTENCES = {
    "GenQ with hard negatives falls from {:.1f} to {:.1f}": published(
        ("GenQ", ADAPTED, "DistilBERT"), ("GenQ, hard negatives", ADAPTED, "DistilBERT")
    ),
    "the same kind of negatives leads to {:.1f}": published(("GPL", ADAPTED, "DistilBERT")),
    "BM25 re-ranked by the cross-encoder has {:.1f}": published(("BM25 and cross-encoder", "re-ranking", "")),
}


@pytest.mark.parametrize("template", SENTENCES)
def test_numbers_are_those_of_the_paper(prose, template):
    text = prose("09_gpl")
    text.says(template, *SENTENCES[template](text))


def test_what_notebook_09_says_of_the_recipes(prose):
    text, recipe = prose("09_gpl"), PROFILES["cpu"].recipes["gpl"]
    text.says("three times the steps and six times the queries")  # of the notebook's own run
    assert recipe.options == {"length": 20**0.5} and PROFILES["full"].recipes["gpl"].options == {}
    text.says("with $s^2 = 20$")
    text.says("every second query gets *any* passage of the target")
    assert PROFILES["cpu"].pseudo_labelling.random_negatives
    text.says("the two lower layers of the base encoder. The cross-encoder that ships with the course has four.")
    assert gpl_margins.WEAK_LAYERS == 2 and gpl_margins.LENGTH["cross-encoder"] == 96
    text.says("The margins of the first and the third are brought to the mean")
    assert list(gpl_margins.KINDS) == ["BM25's margins", "mined negatives alone", "a weak cross-encoder"]


def test_what_notebook_10_says_of_the_recipes(prose):
    text, recipes = prose("10_domain_adaptation"), PROFILES["cpu"].recipes
    text.says("a peak rate of 5e-5")
    assert recipes["cropping_gentle"].learning_rate == 5e-5 < recipes["cropping"].learning_rate
    text.says("TSDAE trains [CLS], the labels train the mean")
    assert (recipes["tsdae"].pooling, recipes["source"].pooling) == ("cls", "mean")


def test_what_notebook_09_says_of_the_recorded_run(prose):
    text, tasks = prose("09_gpl"), ("summary_to_description", "see_also", "questions")
    text.says("cannot be told from 0 on two tasks, and Questions, written by hand, got worse")
    assert [text.verdict("target-source-gpl", "target-source", t) for t in tasks] == ["cannot tell"] * 2 + ["worse"]
    both = [text.mean(f"target-source{stage}", "questions") for stage in ("", "-gpl")]
    text.says("got worse (recorded: from {:.3f} to {:.3f})", *both)
    text.says("below the recorded GenQ on all three tasks")
    assert {text.verdict("target-source-gpl", "target-source-genq", task) for task in tasks} == {"worse"}


def test_what_notebook_09_says_of_other_margins(prose):
    text, recorded = prose("09_gpl"), gpl_margins.as_records()
    whole, start = text.records("target-source-gpl"), text.records("target-source")
    by_words, mined, weak = (recorded[kind] for kind in gpl_margins.KINDS)
    text.says("With no change can GPL be told from source labels alone.")
    for runs in recorded.values():
        assert {verdict(report.difference(runs, start, task)) for task in runs[0].results} == {"cannot tell"}
    means = [report.mean_value(runs, "questions") for runs in (by_words, whole, mined)]
    text.says("are better than the recipe on questions** ({:.3f} against {:.3f}), and mined", *means[:2])
    text.says("mined negatives alone are too ({:.3f})", means[2])
    for runs in (by_words, mined):
        assert verdict(report.difference(runs, whole, "questions")) == "better"
    text.says("The weak cross-encoder cannot be told from the strong one.")
    assert {verdict(report.difference(weak, whole, task)) for task in weak[0].results} == {"cannot tell"}
    text.says("Each change has two seeds, the recipe one, the lowest of all on questions.")
    seeds = [run.results["questions"]["value"] for runs in recorded.values() for run in runs]
    assert whole[0].results["questions"]["value"] < min(seeds)
    assert [len(runs) for runs in (by_words, mined, weak, whole)] == [2, 2, 2, 1]
