"""What notebook 08 says in Markdown about recorded runs and about papers."""

import pytest

AVERAGE, GENQ = "average of six BEIR sets", ("GenQ", "MS MARCO, then generated queries")
HARD, START, BM25 = ("GenQ, hard negatives", GENQ[1]), ("none", "MS MARCO, zero-shot"), ("BM25", "no training")
ALL = "average of all 18 BEIR sets"
TASKS = ("summary_to_description", "see_also", "questions")


def published(task, *rows, model="DistilBERT"):
    return lambda p: [p.published(*row, task, "" if row is BM25 else model) for row in rows]


def gained(task):
    return lambda p: [round(p.published(*GENQ, task, "DistilBERT") - p.published(*START, task, "DistilBERT"), 1)]


def recorded(p):
    pairs = [p.mean(run, task) for task in TASKS for run in ("target-source", "target-source-genq")]
    return *pairs, *(p.mean("target-bm25", task) for task in TASKS)


SENTENCES = {
    "GenQ goes from {:.3f} to {:.3f} on summary → description, from {:.3f} to {:.3f} on See also and from {:.3f} to "
    "{:.3f} on questions; BM25 has {:.3f}, {:.3f} and {:.3f}.": recorded,
    "falls* from {:.1f} to {:.1f}": published(AVERAGE, GENQ, HARD),
    "On the six sets GenQ gains {:.1f} points": gained(AVERAGE),
    "On all eighteen it gains {:.1f}": gained(ALL),
    "BM25 on passages with queries appended (docT5query) has {:.1f} there, against {:.1f}": lambda p: (
        p.published("docT5query", "document expansion", ALL, ""),
        *published(ALL, BM25)(p),
    ),
}


@pytest.mark.parametrize("template", SENTENCES)
def test_numbers_are_those_of_the_papers(prose, template):
    text = prose("08_genq")
    text.says(template, *SENTENCES[template](text))


def test_genq_cannot_be_told_from_its_start_nor_from_bm25(prose):
    text = prose("08_genq")
    text.says("Each interval of these differences contains 0")
    verdicts = {text.verdict("target-source-genq", f"target-{other}", t) for other in ("source", "bm25") for t in TASKS}
    assert verdicts == {"cannot tell"}
