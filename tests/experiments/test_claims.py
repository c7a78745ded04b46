"""Claims of the papers: their published numbers, their runs, and how a verdict follows from intervals."""

import pytest

from course_lib.evaluation import Difference
from course_lib.experiments import published
from course_lib.experiments.claims import CLAIMS, Claim
from course_lib.recipes.recorded_runs import chosen_runs

ABOVE, BELOW, AROUND = Difference(0.1, 0.05, 0.15, 0.0), Difference(-0.1, -0.2, -0.05, 0.0), Difference(0, -0.1, 0.1, 1)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_a_claim_names_runs_of_the_table_and_numbers_of_the_paper(claim):
    recorded = {run.name for run in chosen_runs()}
    assert bool(claim.reason) != (claim.better in recorded and claim.worse in recorded)
    assert len(claim.published_values()) in (0, 2)
    if claim.published and "not help" not in claim.text:
        better, worse = claim.published_values()
        assert better > worse


def test_published_numbers_come_from_the_list_of_them():
    beir = "average of six BEIR sets"
    assert published.value("GPL", "MS MARCO, then generated queries", beir) == 51.5
    with pytest.raises(KeyError, match="no 'average of six BEIR sets' of 'GPL', 'no labels'"):
        published.value("GPL", "no labels", beir)


@pytest.mark.parametrize(
    "differences, verdict",
    [
        ([ABOVE, AROUND], "holds"),
        ([BELOW, AROUND], "does not hold"),
        ([AROUND], "cannot tell"),
        ([ABOVE, BELOW], "holds on some tasks"),
        ([], "cannot be tested"),
    ],
)
def test_a_verdict_follows_from_the_intervals(differences, verdict):
    claim = Claim("TSDAE", "It helps.", "tsdae", "simcse")
    assert claim.verdict(dict(enumerate(differences))) == verdict


def test_a_claim_is_the_difference_of_two_runs_that_ship():
    claim = Claim("TSDAE", "TSDAE beats MLM.", "tsdae", "mlm", tasks=("summary_to_description", "no such task"))
    (task,) = found = claim.differences()
    assert task == "summary_to_description" and found[task].low > 0 and claim.seeds() == 3
    assert Claim("TSDAE", "No such run.", "tsdae", "none").differences() == {}
