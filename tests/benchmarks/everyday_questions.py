"""Everyday questions: how many have a right answer among the first five results of a search.

python -m tests.benchmarks.everyday_questions [NAME …]

NAME: as in `course search --encoder`; without one, the search that `course search` takes by itself. Thirty questions
are for choices (validation), twenty for the result (test).
"""

import json
import sys

from course_lib import experiments
from course_lib.storage import DATA

QUESTIONS = DATA / "everyday_questions.jsonl"


def main(names):
    """Print the rank of the first right answer for every question and search."""
    questions = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    profile, texts = experiments.current_profile(), experiments.load_docs().search_texts
    for name in names or [experiments.default_search(profile)]:
        searcher = experiments.searcher(name, texts, profile, progress=False)
        for split in ("validation", "test"):
            asked, found = [q for q in questions if q["split"] == split], 0
            print(f"{name}, {split}:")
            for question in asked:
                hits = [hit.id for hit in searcher.search(question["question"], k=5)]
                right = next((i for i in hits if i in question["answers"]), None)
                found += right is not None
                print(f"  {hits.index(right) + 1 if right else '–'}  {question['question']}: {right or hits[0]}")
            print(f"  {found} of {len(asked)}")


if __name__ == "__main__":
    main(sys.argv[1:])
