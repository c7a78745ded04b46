"""What notebook 05 says in Markdown about recorded runs and about papers."""

import pytest

SUMMARIES, SEE_ALSO, QUESTIONS, ACROSS, STSB = (
    "summary_to_description",
    "see_also",
    "questions",
    "across_libraries",
    "stsb",
)
SEARCH = (SUMMARIES, SEE_ALSO, QUESTIONS, ACROSS)


def rise(task, run="simcse", start="base"):
    return lambda p: (p.mean(start, task), p.mean(run, task))


def dev(*settings):
    return lambda p: [p.published("SimCSE", f"ablation: {setting}", "STS-B dev") for setting in settings]


def sts(method, setting, pooling=""):
    tasks, model = ("STS-B", "average of seven STS tasks"), f"bert-base-uncased{pooling}"
    return lambda p: [p.published(method, setting, task, model) for task in tasks]


def beir(*methods):
    def values(p):
        task = "average of six BEIR sets"
        return [p.published(m, "target texts only", task, "DistilBERT") for m in methods]

    return values


SENTENCES = {
    "on summary → description (nDCG@10 from {:.3f} to {:.3f})": rise(SUMMARIES),
    "on questions (from {:.3f} to {:.3f})": rise(QUESTIONS),
    "across libraries (from {:.3f} to {:.3f})": rise(ACROSS),
    "on STS-B (from {:.3f} to {:.3f})": rise(STSB),
    "On See also, {:.3f} against {:.3f}, we cannot tell": rise(SEE_ALSO),
    "on questions ({:.3f} against {:.3f}) we cannot tell": rise(QUESTIONS, "bm25", "simcse"),
    "on questions they lie between {:.3f} and {:.3f}": lambda p: (
        min(p.seeds("simcse", QUESTIONS)),
        max(p.seeds("simcse", QUESTIONS)),
    ),
    "clearly on STS-B ({:.3f} against {:.3f})": rise(STSB, "simcse_cls", "simcse"),
    "summary → description rises from {:.3f} to {:.3f} and STS-B from {:.3f} to {:.3f}": lambda p: (
        *rise(SUMMARIES)(p),
        *rise(STSB)(p),
    ),
    "{:.1f} with it in training only, {:.1f} without": dev(
        "pooling CLS, head in training only", "pooling CLS, no head"
    ),
    "{:.1f} at 0.01, {:.1f} at 0.05, {:.1f} at 0.1 and {:.1f} at 1": dev(
        *(f"temperature {t}" for t in ("0.01", "0.05", "0.1", "1"))
    ),
    "{:.1f} without dropout, {:.1f} with 0.1, {:.1f} with 0.5": dev(*(f"dropout {p}" for p in ("0", "0.1", "0.5"))),
    "*same mask on both sides* gives {:.1f}": dev("dropout 0.1, same mask in both views"),
    "| BERT, CLS | {:.2f} | {:.2f} |": sts("BERT", "no training", ", CLS"),
    "| BERT, mean | {:.2f} | {:.2f} |": sts("BERT", "no training", ", mean"),
    "| **SimCSE** | **{:.2f}** | **{:.2f}** |": sts("SimCSE", "unsupervised"),
    "| SBERT (supervised, NLI) | {:.2f} | {:.2f} |": sts("SBERT", "supervised, NLI"),
    "is {:.1f}, with TSDAE {:.1f}": beir("SimCSE", "TSDAE"),
    "It reaches {:.2f} on the seven tasks (the authors' repository), {:.1f} points more": lambda p: (
        top := p.published("SimCSE", "supervised, NLI", "average of seven STS tasks"),
        top - p.published("SimCSE", "unsupervised", "average of seven STS tasks"),
    ),
}


@pytest.mark.parametrize("template", SENTENCES)
def test_numbers_are_those_of_the_records(prose, template):
    text = prose("05_simcse")
    text.says(template, *SENTENCES[template](text))


def test_who_is_ahead(prose):
    text = prose("05_simcse")
    text.says("BM25 is ahead on three of its four tasks")
    against = {task: text.verdict("simcse", "bm25", task) for task in SEARCH}
    assert against == {t: "cannot tell" if t == QUESTIONS else "worse" for t in SEARCH}
    gained = {task: text.verdict("simcse", "base", task) for task in (*SEARCH, STSB)}
    assert gained == {t: "cannot tell" if t == SEE_ALSO else "better" for t in (*SEARCH, STSB)}
    at_cls = {task: text.verdict("simcse_cls", "simcse", task) for task in (*SEARCH, STSB)}
    assert {t for t, said in at_cls.items() if said == "worse"} == {SUMMARIES, STSB}
    assert {t for t, said in at_cls.items() if said == "better"} == {SEE_ALSO}


TASKS = ("summary_to_description", "see_also", "questions", "across_libraries", "stsb")


def test_other_temperatures(prose):
    text = prose("05_simcse")
    for temperature in ("0.01", "0.2", "1"):
        assert {text.verdict(f"simcse-temperature-{temperature}", "simcse", task) for task in TASKS} == {"worse"}
    text.says("0.01, 0.2 and 1 are worse than 0.05 on all five tasks")
    found = [text.mean(f"simcse-temperature-{at}", TASKS[0]) for at in ("0.01", "0.2", "1")]
    text.says("{:.3f}, {:.3f} and {:.3f} against {:.3f}", *found, text.mean("simcse", TASKS[0]))
    text.says("three tasks fall below their start (STS-B: {:.3f})", text.mean("simcse-temperature-1", "stsb"))
    below = [task for task in TASKS if text.mean("simcse-temperature-1", task) < text.mean("base", task)]
    assert below == ["see_also", "across_libraries", "stsb"]


def test_no_dropout(prose):
    text, run = prose("05_simcse"), "simcse-dropout-0"
    text.says("is worse ({:.3f} against {:.3f}, one seed)", *(text.mean(r, TASKS[0]) for r in (run, "simcse")))
    text.says("on the other four tasks we cannot tell")
    assert [text.verdict(run, "simcse", task) for task in TASKS] == ["worse"] + ["cannot tell"] * 4
    base = text.mean("base", TASKS[0])
    text.says("Most of the gain over the base encoder's {:.3f} is still there", base)
    more = text.mean("simcse-dropout-0.3", "questions"), text.mean("simcse", "questions")
    text.says("With 0.3 questions are better ({:.3f} against {:.3f}, one seed); elsewhere we cannot tell", *more)
    said = {task: "better" if task == "questions" else "cannot tell" for task in TASKS}
    assert {task: text.verdict("simcse-dropout-0.3", "simcse", task) for task in TASKS} == said
    assert text.mean(run, TASKS[0]) - base > 0.5 * (text.mean("simcse", TASKS[0]) - base)
