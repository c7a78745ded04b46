"""The study that ships is that of the recipe, and its parts agree with each other."""

from itertools import combinations

import pytest

from course_lib.experiments.proxies import HALVES, HEADINGS
from course_lib.notebook import own_text as shown
from course_lib.recipes import proxy_study


@pytest.fixture(scope="module")
def study():
    return shown.study() or pytest.skip("the study has not been recorded: python -m course_lib.recipes.proxy_study")


def test_the_study_is_that_of_the_recipe(study):
    names = [run.name for run in proxy_study.systems()]
    assert list(study["systems"]) == names and set(study["queries"]) == {*proxy_study.LABELLED, HEADINGS, HALVES}
    assert [pair["systems"] for pair in study["pairs"]] == [list(pair) for pair in combinations(names, 2)]


def test_differences_are_those_of_the_values(study):
    for pair in study["pairs"]:
        first, second = (study["systems"][name]["values"] for name in pair["systems"])
        for task, (difference, low, high) in pair["differences"].items():
            assert difference == pytest.approx(first[task] - second[task], abs=2e-4)
            assert low <= difference <= high


def test_the_passages_are_of_whole_test_documents(docs):
    passages = proxy_study.some_passages()
    names = {p.file for p in passages}
    assert proxy_study.PASSAGES <= len(passages) < proxy_study.PASSAGES + 200
    assert names <= {d.name for d in docs.test.documents}
    assert len(passages) == sum(len(d.paragraphs) for d in docs.test.documents if d.name in names)
