"""What notebook 11 says in Markdown about recorded runs, and its limits."""

import pytest

from course_lib.experiments import load_shipped
from course_lib.notebook import comparing
from course_lib.recipes import recorded_runs

SUMMARIES, SEE_ALSO, QUESTIONS, ACROSS, STSB = TASKS = (
    "summary_to_description",
    "see_also",
    "questions",
    "across_libraries",
    "stsb",
)
SEARCH = TASKS[:4]
TRAINED = ("mlm", "ct", "simcse", "ct_in_batch", "tsdae", "cropping")
NOTEBOOK = "11_performance_comparison"


def of(task, *runs):
    return lambda p: [p.mean(run, task) for run in runs]


def examples(p):
    return p.sentences("cropping") / p.sentences("tsdae")


SENTENCES = {
    "five of the {} questions": lambda p: [len(p.records("tsdae")[0].results[QUESTIONS]["per_query"])],
    "Cropping is the highest of them on summary → description, {:.3f} from {:.3f}": of(SUMMARIES, "cropping", "base"),
    "BM25 is ahead of all of them there ({:.3f})": of(SUMMARIES, "bm25"),
    "See also ({:.3f} against {:.3f})": of(SEE_ALSO, "bm25", "cropping"),
    "far ahead on questions ({:.3f})": of(QUESTIONS, "minilm"),
    "and STS-B ({:.3f})": of(STSB, "minilm"),
    "changes questions from {:.3f} to {:.3f}": lambda p: [f(p.seeds("simcse", QUESTIONS)) for f in (min, max)],
    "summary → description rises from {:.3f} to {:.3f}. But": of(SUMMARIES, "base", "whitened"),
    "See also falls from {:.3f} to {:.3f}": of(SEE_ALSO, "base", "whitened"),
    "and questions from {:.3f} to {:.3f}. A more": of(QUESTIONS, "base", "whitened"),
    "on summary → description ({:.3f}) and questions": of(SUMMARIES, "static"),
    "and questions ({:.3f}). Six layers": of(QUESTIONS, "static"),
    "training took {:.0f} s with one seed of SimCSE and {:.0f} s with another": lambda p: [
        f(run.seconds for run in p.records("simcse")) for f in (min, max)
    ],
    "was trained on {:.1f} times as many examples": lambda p: [examples(p)],
    "seeds of SimCSE alone differ by {:.3f} on summary": lambda p: [
        max(p.seeds("simcse", SUMMARIES)) - min(p.seeds("simcse", SUMMARIES))
    ],
    "after {:,} passages nothing changed": lambda p: [p.sentences("mlm")],
}


@pytest.mark.parametrize("template", SENTENCES)
def test_numbers_are_those_of_the_records(prose, template):
    text = prose(NOTEBOOK)
    text.says(template, *SENTENCES[template](text))


def test_who_is_ahead(prose):
    text = prose(NOTEBOOK)
    text.says("Every trained method is above the base encoder on summary → description, questions and STS-B, MLM by")
    for task in (SUMMARIES, QUESTIONS, STSB):
        assert {text.verdict(run, "base", task) for run in TRAINED} == {"better"}
        assert min(TRAINED, key=lambda run: text.mean(run, task)) == "mlm"
    text.says("BM25 is ahead of every trained method on summary → description and See also")
    assert {text.verdict(run, "bm25", task) for run in TRAINED for task in (SUMMARIES, SEE_ALSO)} == {"worse"}
    text.says("questions TSDAE and cropping find more than BM25")
    assert {text.verdict(run, "bm25", QUESTIONS) for run in ("tsdae", "cropping")} == {"better"}


def test_places(prose):
    text = prose(NOTEBOOK)
    order = {task: sorted(TRAINED, key=lambda run: -text.mean(run, task)) for task in TASKS}
    text.says("TSDAE, first on questions, is fourth on STS-B")
    assert order[QUESTIONS][0] == "tsdae" and order[STSB][3] == "tsdae"
    text.says('"Cropping is first on three tasks of five"')
    assert sum(order[task][0] == "cropping" for task in TASKS) == 3
    text.says("cropping has the highest mean on search, and TSDAE comes next with fewer examples")
    means = {run: sum(text.mean(run, task) for task in SEARCH) for run in TRAINED}
    assert sorted(means, key=means.get)[-2:] == ["tsdae", "cropping"] and examples(text) > 1
    text.says("**No point reaches BM25's line.**")
    assert max(means.values()) < sum(text.mean("bm25", task) for task in SEARCH)


def test_baselines(prose):
    text = prose(NOTEBOOK)
    text.says("**Static vectors find more than the base encoder** on summary → description")
    assert [text.verdict("static", "base", task) for task in (SUMMARIES, QUESTIONS)] == ["better", "better"]
    assert text.verdict("whitened", "base", SUMMARIES) == "better"
    text.says("But the other four tasks become worse")
    assert {text.verdict("whitened", "base", task) for task in TASKS[1:]} == {"worse"}
    text.says("SimCSE beats whitening and static vectors everywhere.")
    assert {text.verdict("simcse", start, task) for start in ("whitened", "static") for task in TASKS} == {"better"}
    text.says("Over all questions and three seeds the order is the other way round")
    assert text.verdict("tsdae", "simcse", QUESTIONS) == "better"
    text.says("A factor below two between two methods means nothing here")
    seconds = [comparing.fewest_seconds(text.records(run)) for run in ("ct_in_batch", "simcse")]
    assert seconds[0] < seconds[1] < 2 * seconds[0]


def test_negative_results(prose):
    text = prose(NOTEBOOK)
    assert text.verdict("mlm", "base", SEE_ALSO) == "cannot tell"
    assert text.verdict("tsdae", "simcse", ACROSS) == "cannot tell"
    text.says("**TSDAE against BM25** is worse, clearly")
    assert text.verdict("tsdae", "bm25", SUMMARIES) == "worse"


def test_the_other_examples(prose):
    text = prose(NOTEBOOK)
    text.says("The queue and the two templates cannot be told from SimCSE on any task.")
    found = {text.verdict(run, "simcse", task) for run in ("momentum_queue", "two_templates") for task in TASKS}
    assert found == {"cannot tell"}


def test_how_much_text(prose):
    text, rows = prose(NOTEBOOK), ("simcse", "tsdae", "cropping")
    said = {row: [text.verdict(f"{row}-texts-1000", row, task) for task in SEARCH] for row in rows}
    read = text.records("simcse")[0].training["texts"]
    text.says(
        "SimCSE with 1,000 sentences cannot be told from SimCSE drawing on all {:,} on any of the four tasks", read
    )
    assert set(said["simcse"]) == {"cannot tell"}
    text.says(
        "TSDAE is worse on two, cropping on one, and better on another; at 1e-4 SimCSE and TSDAE are worse on one."
    )
    assert [said["tsdae"].count("worse"), said["tsdae"].count("better")] == [2, 0]
    assert [said["cropping"].count("worse"), said["cropping"].count("better")] == [1, 1]
    text.says("for every method and amount its mean is higher")
    base = sum(text.mean("base", task) for task in SEARCH)
    for row in rows:
        for amount in ("-texts-1000", "-texts-10000", ""):
            runs = f"{row}{amount}", f"{row}{amount}-learning_rate-0.0001"
            recipe, lower = (sum(text.mean(run, task) for task in SEARCH) for run in runs)
            assert base + 0.4 < recipe < lower
            assert [len(text.records(run)) for run in runs] == [1 if amount else 3, 1]
    lower = {row: f"{row}-learning_rate-0.0001" for row in rows}
    for row, worse in zip(rows, (1, 1, 0)):
        few = f"{row}-texts-1000-learning_rate-0.0001"
        assert [text.verdict(few, lower[row], task) for task in SEARCH].count("worse") == worse
    leads = [
        sum(text.mean(ours, task) - text.mean(theirs, task) for task in SEARCH) / 4
        for ours, theirs in ((lower["cropping"], lower["tsdae"]), ("cropping", "tsdae"))
    ]
    text.says("cropping then leads TSDAE by {:.3f}, not {:.3f}", *leads)
    text.says("A run reads {:,} or {:,} texts", *(text.sentences(run) for run in ("tsdae", "simcse")))
    assert all(text.sentences(run) < text.records(run)[0].training["texts"] for run in rows)


def test_pipelines(prose):
    text, tasks = prose(NOTEBOOK), ("summary_to_description", "see_also", "questions")
    rows = {row.runs()[0].name for row in recorded_runs.RECORDED if row.domain == "target"}
    there = {name for name in rows if load_shipped(name)} - {"target-bm25"}
    ahead = {name: [text.verdict(name, "target-bm25", task) for task in tasks].count("better") for name in there}
    text.says("Without all-MiniLM-L6-v2, only the hybrid beats BM25, on one task.")
    assert {name: n for name, n in ahead.items() if n and "minilm" not in name} == {"target-hybrid-cropping_long": 1}
