"""The search that `course search --corpus` takes by itself: BM25, all-MiniLM-L6-v2, or both, on the validation split.

python -m tests.benchmarks.own_search_default

The two labelled tasks of the validation documents, and the thirty everyday questions that are for choices. Prints the
mean nDCG@10 of each search, and the paired differences with their 95 % intervals.
"""

import json
from itertools import combinations

from course_lib import experiments
from course_lib.evaluation import paired_bootstrap, verdict
from course_lib.models import SentenceEncoder
from course_lib.models.minilm import minilm_folder
from course_lib.notebook.differences import with_interval
from course_lib.search import BM25Search, CachedEncoder, ExactSearch, HybridSearch, rank_with
from course_lib.storage import DATA
from course_lib.texts.labelled_tasks import RetrievalTask, bucket

OTHERS = 2000


def everyday_questions(docs):
    """The thirty questions, with their answers and OTHERS of the texts that `course search` shows as candidates."""
    lines = (DATA / "everyday_questions.jsonl").read_text("utf-8").splitlines()
    asked = [row for row in map(json.loads, lines) if row["split"] == "validation"]
    queries = {row["question"]: row["question"] for row in asked}
    relevant = {row["question"]: dict.fromkeys(row["answers"], 1) for row in asked}
    answers = {name for of in relevant.values() for name in of}
    chosen = answers.union(sorted(docs.search_texts, key=bucket)[:OTHERS])
    corpus = {name: text for name, text in docs.search_texts.items() if name in chosen}
    return RetrievalTask("everyday", "Everyday questions", "ndcg@10", queries, corpus, relevant)


def main():
    docs = experiments.load_docs()
    encoder = CachedEncoder(SentenceEncoder.from_pretrained(minilm_folder()))
    makers = {
        "BM25": BM25Search,
        "MiniLM": lambda texts: ExactSearch(encoder, texts),
        "hybrid": lambda texts: HybridSearch([ExactSearch(encoder, texts), BM25Search(texts)]),
    }
    for task in [*docs.validation.tasks.values(), everyday_questions(docs)]:
        found = {}
        for name, make in makers.items():
            ranker = rank_with(make)
            results = experiments.measure(ranker, [task])[task.name]
            found[name] = results["per_query"]
            print(f"{task.title}: {name} {results['value']:.3f} ({len(task.queries)} queries)")
        for a, b in combinations(reversed(makers), 2):
            gain = paired_bootstrap(found[a], found[b])
            said = f"{with_interval(gain)}, {verdict(gain)}"
            print(f"{task.title}: {a} minus {b} {said}", flush=True)


if __name__ == "__main__":
    main()
