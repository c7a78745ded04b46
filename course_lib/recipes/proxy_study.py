"""`python -m course_lib.recipes.proxy_study`: how well the tasks without labels predict those with labels.

Encoders, very short trainings among them, and BM25 are measured twice on the test documents of the embedded corpus: by
labelled tasks, and by the two tasks that `course adapt` makes of any text. `proxy-study.json` among the recorded runs
keeps the values, and the differences of each two systems with their intervals.
"""

import json
from itertools import combinations

from course_lib.evaluation import paired_bootstrap
from course_lib.experiments import PROFILES, Run, as_run, load_docs, load_or_run, measure
from course_lib.experiments.proxies import measure_proxies, passages_of_documents, proxy_tasks
from course_lib.search import BM25Search, rank_with
from course_lib.storage import DATA, write_atomically
from course_lib.texts.labelled_tasks import bucket

STUDY = DATA / "recorded-runs" / "proxy-study.json"
LABELLED = ("summary_to_description", "questions")
PASSAGES = 700  # of test documents, that the tasks without labels are made of
# (names as `as_run` takes them, steps); the last has a rate that is six times that of a finished encoder
SYSTEMS = (
    *((("bm25",), None), (("base",), None), (("base_cls",), None), (("minilm",), None)),
    *((("minilm", "cropping_gentle"), 20), (("minilm", "simcse"), 20)),
)


def systems() -> list[Run]:
    """The runs that are compared."""
    return [as_run(names, PROFILES["cpu"], changes={"steps": steps} if steps else None) for names, steps in SYSTEMS]


def some_passages() -> list:
    """PASSAGES passages, or a few more, of whole test documents that look random but are the same everywhere."""
    chosen, count = [], 0
    for document in sorted(load_docs().test.documents, key=lambda document: bucket(document.name)):
        if count < PASSAGES:
            chosen.append(document)
            count += len(document.paragraphs)
    return passages_of_documents(chosen)


def study(say=print) -> dict:
    """Measure every system on both kinds of tasks; what has been trained is not trained again.

    say: is told each system's values.
    Returns {"texts", "queries", "systems": {name: {"title", "values"}}, "pairs": [{"systems", "differences"}]}.
    """
    tasks, per_query, found = proxy_tasks(some_passages()), {}, {}
    for run in systems():
        encoder = None if run.start == "bm25" else run.encoder(progress=False)
        labelled = [load_docs().test.tasks[name] for name in LABELLED]
        results = measure(encoder, labelled) if run.stages else load_or_run(run, progress=False).results
        values = {name: results[name]["per_query"] for name in LABELLED}
        values |= measure_proxies(encoder or rank_with(BM25Search), tasks)
        per_query[run.name] = values
        means = {name: round(sum(of.values()) / len(of), 4) for name, of in values.items()}
        found[run.name] = {"title": run.title, "values": means}
        say(run.title, means)
    pairs = []
    for a, b in combinations(found, 2):
        gains = {task: paired_bootstrap(per_query[a][task], per_query[b][task]) for task in per_query[a]}
        pairs.append({"systems": [a, b], "differences": {t: [round(x, 4) for x in g[:3]] for t, g in gains.items()}})
    queries = {task: len(of) for task, of in per_query["bm25"].items()}
    return {"texts": load_docs().fingerprint, "queries": queries, "systems": found, "pairs": pairs}


if __name__ == "__main__":
    write_atomically(STUDY, json.dumps(study(), ensure_ascii=False, indent=1) + "\n")
