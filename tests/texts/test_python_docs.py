"""The split holds, nothing of a held-out text is trained on, and the labelled tasks are what they say."""

import collections
import json
import time

import pytest

from course_lib.storage import DATA
from course_lib.texts import python_docs
from course_lib.texts.harvest import LIBRARIES, is_public
from course_lib.texts.python_docs import SPLITS, PythonDocs, normalized


@pytest.fixture(scope="module")
def splits(docs):
    return {split: getattr(docs, split) for split in SPLITS}


@pytest.fixture(scope="module")
def held_out(splits):
    """Every sentence of validation and test documents, in lower case and without punctuation."""
    return {normalized(s) for split in ("validation", "test") for d in splits[split].documents for s in d.sentences}


# --------------------------------------------------------------------------- the split


def test_splits_are_disjoint_and_cover_the_corpus(docs, splits):
    names = {split: set(part.by_name) for split, part in splits.items()}
    assert sum(map(len, names.values())) == len(docs)
    assert set.union(*names.values()) == set(docs.by_name)
    shares = {split: len(n) / len(docs) for split, n in names.items()}
    assert shares["train"] > 0.6 and shares["validation"] > 0.05 and shares["test"] > 0.1


def test_one_last_name_is_in_one_split(splits):
    keys = {split: {python_docs.split_key(n) for n in part.by_name} for split, part in splits.items()}
    assert not keys["train"] & keys["test"] and not keys["train"] & keys["validation"]
    assert not keys["validation"] & keys["test"]


def test_no_held_out_sentence_is_trained_on(splits, held_out):
    assert len(held_out) > 20_000
    assert not {normalized(s) for s in splits["train"].sentences} & held_out


def runs(text, lengths):
    words = normalized(text).split()
    return (" ".join(words[i : i + n]) for n in lengths for i in range(len(words) - n + 1))


@pytest.mark.parametrize("what", ["sentences", "passages"])
def test_no_training_text_contains_a_held_out_sentence(splits, held_out, what):
    """By brute force over every run of words, as the code under test does not do it."""
    lengths = sorted({len(s.split()) for s in held_out})
    openings = {tuple(s.split()[:3]) for s in held_out}
    leaks = []
    for text in getattr(splits["train"], what):
        words = normalized(text).split()
        starts = [i for i in range(len(words) - 2) if tuple(words[i : i + 3]) in openings]
        leaks += [
            run
            for i in starts
            for n in lengths
            if i + n <= len(words) and (run := " ".join(words[i : i + n])) in held_out
        ]
    assert not leaks, leaks[:5]


def test_the_check_would_see_a_leak(splits, held_out):
    sentence = splits["test"].sentences[0]
    length = len(normalized(sentence).split())
    assert normalized(sentence) in set(runs(f"Before it, {sentence} And after it.", [length]))


def test_passages_stay_within_a_document(splits):
    train = splits["train"]
    assert len(train.sentences) > 40_000 and len(train.passages) > 15_000
    assert len(set(train.sentences)) == len(train.sentences) and len(set(train.passages)) == len(train.passages)
    texts = {d.text for d in train.documents}
    whole = [p for p in train.passages if p in texts]
    assert len(whole) > 10_000  # most documents are one passage
    assert max(len(p.split()) for p in train.passages) <= 161  # a hundred words and the sentence that ends them


def test_a_split_is_not_split_again(splits):
    with pytest.raises(ValueError, match="already the train split"):
        splits["train"].test


def test_the_split_does_not_depend_on_the_order_of_documents(docs):
    backwards = PythonDocs(docs.documents[::-1], docs.questions)
    assert all(docs.split_of(n) == backwards.split_of(n) for n in docs.by_name)


# --------------------------------------------------------------------------- the tasks


@pytest.mark.parametrize(
    "split, task, queries",
    [
        ("test", "summary_to_description", 1000),
        ("test", "see_also", 300),
        ("test", "questions", 250),
        ("test", "across_libraries", 80),
        ("validation", "summary_to_description", 500),
    ],
)
def test_the_tasks_there_are(splits, split, task, queries):
    task = splits[split].tasks[task]
    assert len(task.queries) >= queries
    assert set(task.queries) == set(task.relevant) and all(task.relevant.values())
    assert all(task.queries.values()) and all(task.corpus.values())
    assert max(len(t.split()) for t in (*task.queries.values(), *task.corpus.values())) <= python_docs.TEXT_WORDS


@pytest.mark.parametrize("split", SPLITS)
def test_a_task_is_made_of_public_documents_of_its_split(docs, splits, split):
    for task in splits[split].tasks.values():
        answers = {n for relevant in task.relevant.values() for n in relevant}
        assert answers <= set(task.corpus)
        for name in task.corpus:
            assert docs.split_of(name) == split and is_public(name)
        if task.name in ("see_also", "across_libraries"):
            assert all(docs.split_of(n) == split and is_public(n) for n in task.queries)


def test_tasks_are_the_same_every_time(docs, splits):
    again = PythonDocs(docs.documents[::-1], docs.questions).test.tasks
    for name, task in splits["test"].tasks.items():
        assert (task.queries, task.relevant) == (again[name].queries, again[name].relevant)
        assert set(task.corpus) == set(again[name].corpus)


def test_a_summary_is_not_in_its_description(splits):
    task = splits["test"].tasks["summary_to_description"]
    for query, relevant in task.relevant.items():
        (answer,) = relevant
        assert query == f"summary of {answer}" and task.queries[query] not in task.corpus[answer]


def test_descriptions_have_one_owner(splits):
    corpus = splits["test"].tasks["summary_to_description"].corpus
    assert len(set(corpus.values())) == len(corpus)


def test_across_libraries_hides_the_name(splits):
    task = splits["test"].tasks["across_libraries"]
    assert len({q.split(".")[0] for q in task.queries}) >= 2
    for name, text in [*task.queries.items(), *task.corpus.items()]:
        words = {w.strip(".,;:()'\"").lower() for w in text.split()}
        assert not words & {python_docs.split_key(name), *LIBRARIES}
    assert all(q.split(".")[0] != a.split(".")[0] for q, relevant in task.relevant.items() for a in relevant)


# --------------------------------------------------------------------------- the questions


def test_questions(docs):
    assert len(docs.questions) >= 250
    assert len({q["question"] for q in docs.questions}) == len(docs.questions)
    for question in docs.questions:
        assert set(question) == {"question", "answers"} and question["answers"]
        assert len(question["question"].split()) >= 5
        unknown = [n for n in question["answers"] if n not in docs.by_name]
        assert not unknown, f"{question['question']!r} is answered by {unknown}, which the corpus does not have"
        assert all(docs.split_of(n) == "test" and is_public(n) for n in question["answers"])


def test_everyday_questions_have_answers_that_can_be_found(docs):
    """First searches of a newcomer; tests/benchmarks/everyday_questions.py counts how many succeed."""
    lines = (DATA / "everyday_questions.jsonl").read_text("utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    assert len({q["question"] for q in questions}) == len(questions)
    assert collections.Counter(q["split"] for q in questions) == {"validation": 30, "test": 20}
    assert all(q["answers"] and set(q["answers"]) <= docs.search_texts.keys() for q in questions)


def test_a_missing_file_of_questions_is_an_error(tmp_path):
    """An empty list would change the test split."""
    with pytest.raises(FileNotFoundError, match="questions.jsonl' does not exist.*git checkout data"):
        python_docs.read_questions(tmp_path / "questions.jsonl")


def test_every_library_is_asked_about(docs):
    asked = collections.Counter(library for q in docs.questions for library in {docs[n].library for n in q["answers"]})
    assert set(asked) == set(LIBRARIES) and min(asked.values()) >= 15, asked


def test_a_question_does_not_name_its_answer(docs):
    """A name that is an everyday word (sort, merge) may occur; one that nobody says, such as argsort, may not."""
    for question in docs.questions:
        words = set(normalized(question["question"]).split())
        for name in question["answers"]:
            last = python_docs.split_key(name)
            assert "_" not in last or last not in question["question"].lower(), question
            assert name.lower() not in question["question"].lower(), question
            assert not {"argsort", "kmeans", "pearsonr", "groupby"} & words, question


# --------------------------------------------------------------------------- time


def test_a_warm_start_is_quick(docs):
    """Under a second from start to texts; in processor time, so that a busy machine does not fail the test."""
    assert min(_seconds(lambda: python_docs.load(progress=False)) for _ in range(3)) < 1.0


def test_training_texts_are_quick(docs):
    """Leaks are looked for in 1.0 s on the machine this was measured on."""
    assert _seconds(lambda: (part := PythonDocs(docs.documents, docs.questions).train).sentences + part.passages) < 3.0


def _seconds(action):
    start = time.process_time()
    action()
    return time.process_time() - start


def test_same_words_in_another_order():
    sentences = [
        "Convert degrees to radians.",
        "A sentence of its own.",
        "Convert radians, to degrees!",
        "CONVERT degrees to radians",
        "Sort it",
        "It: sort",
    ]
    assert python_docs.same_words(sentences) == [(sentences[0], sentences[2])]
    assert python_docs.same_words(sentences, least=2)[1] == ("Sort it", "It: sort")
