"""What notebook 08 says in Markdown about papers."""

import pytest

AVERAGE, GENQ = "average of six BEIR sets", ("GenQ", "MS MARCO, then generated queries")
HARD, START, BM25 = ("GenQ, hard negatives", GENQ[1]), ("none", "MS MARCO, zero-shot"), ("BM25", "no training")
ALL = "average of all 18 BEIR sets"


def published(task, *rows, model="DistilBERT"):
    return lambda p: [p.published(*row, task, "" if row is BM25 else model) for row in rows]


def gained(task):
    return lambda p: [round(p.published(*GENQ, task, "DistilBERT") - p.published(*START, task, "DistilBERT"), 1)]


SENTENCES = {
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
