"""What notebook 04 says in Markdown about recorded runs and about papers."""

import pytest

SUMMARIES, SEE_ALSO, QUESTIONS, ACROSS, STSB = TASKS = (
    "summary_to_description",
    "see_also",
    "questions",
    "across_libraries",
    "stsb",
)


def against(task, *runs):
    return lambda p: [p.mean(run, task) for run in runs]


SENTENCES = {
    "rises from {:.3f} at [CLS] and {:.3f} with the mean to {:.3f}, questions": against(
        SUMMARIES, "base_cls", "base", "tsdae"
    ),
    "questions from {:.3f} and {:.3f} to {:.3f}": against(QUESTIONS, "base_cls", "base", "tsdae"),
    "STS-B from {:.3f} and {:.3f} to {:.3f}": against(STSB, "base_cls", "base", "tsdae"),
    "It is above SimCSE on summary → description ({:.3f} against {:.3f}), See also": against(
        SUMMARIES, "tsdae", "simcse"
    ),
    "See also ({:.3f} against {:.3f}) and questions": against(SEE_ALSO, "tsdae", "simcse"),
    "and questions ({:.3f} against {:.3f}), after fewer": against(QUESTIONS, "tsdae", "simcse"),
    "after fewer sentences ({:,} against {:,})": lambda p: [p.sentences(run) for run in ("tsdae", "simcse")],
    "on questions TSDAE is better ({:.3f} against {:.3f})": against(QUESTIONS, "tsdae", "bm25"),
    "lie between {:.3f} and {:.3f}": lambda p: (min(p.seeds("tsdae", SUMMARIES)), max(p.seeds("tsdae", SUMMARIES))),
    "ahead on See also ({:.3f} against {:.3f}), questions": against(SEE_ALSO, "tsdae", "tsdae_mean"),
    "questions ({:.3f} against {:.3f}) and across libraries": against(QUESTIONS, "tsdae", "tsdae_mean"),
    "and across libraries ({:.3f} against {:.3f})": against(ACROSS, "tsdae", "tsdae_mean"),
    "ahead on STS-B ({:.3f} against {:.3f})": against(STSB, "tsdae_mean", "tsdae"),
}


@pytest.mark.parametrize("template", SENTENCES)
def test_numbers_are_those_of_the_records(prose, template):
    text = prose("04_tsdae")
    text.says(template, *SENTENCES[template](text))


def test_who_is_ahead(prose):
    text = prose("04_tsdae")
    text.says("TSDAE is above both poolings of the base encoder on all five tasks")
    assert {text.verdict("tsdae", base, task) for base in ("base", "base_cls") for task in TASKS} == {"better"}
    text.says("above both poolings of the base encoder on every task, and above SimCSE on three of five tasks")
    text.says("on the other two tasks we cannot tell")
    assert [text.verdict("tsdae", "simcse", task) for task in TASKS] == ["better"] * 3 + ["cannot tell"] * 2
    text.says("**BM25 is ahead on three of its four tasks; on questions TSDAE is better")
    text.says("BM25 is ahead on three of its four.")
    assert [text.verdict("tsdae", "bm25", task) for task in TASKS[:4]] == ["worse", "worse", "better", "worse"]
    text.says("the mean, with one recorded seed, is ahead on STS-B")
    assert len(text.records("tsdae_mean")) == 1 and text.verdict("tsdae", "tsdae_mean", STSB) == "worse"
    for task in (SEE_ALSO, QUESTIONS, ACROSS):
        assert text.verdict("tsdae", "tsdae_mean", task) == "better"


def test_the_share_of_deleted_words(prose):
    text = prose("04_tsdae")
    none, some, most = (f"tsdae-deletion_probability-{share}" for share in ("0", "0.4", "0.9"))
    text.says("With 40 % only questions are worse ({:.3f} against {:.3f})", *against(QUESTIONS, some, "tsdae")(text))
    assert [text.verdict(some, "tsdae", task) for task in TASKS] == [
        "worse" if task == QUESTIONS else "cannot tell" for task in TASKS
    ]
    text.says("No noise and 90 % are worse on all five (one seed each).")
    assert {text.verdict(run, "tsdae", task) for run in (none, most) for task in TASKS} == {"worse"}
    assert [len(text.records(run)) for run in (none, some, most)] == [1, 1, 1]
    text.says("still rises from {:.3f} to {:.3f}", *against(SUMMARIES, "base_cls", none)(text))
