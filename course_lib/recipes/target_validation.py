"""The rows of domain adaptation on validation documents, recorded for notebook 10: with labels, and without them.

`python -m course_lib.recipes.target_validation` measures every row whose encoder is in the cache and has no record yet;
`course_lib.recipes.recorded_runs` leaves the encoders there.
"""

from collections.abc import Sequence

from course_lib.experiments import Run, RunRecord, load_docs, load_or_run, measure, proxies
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.models.minilm import reference_folder
from course_lib.recipes import kept
from course_lib.recipes.recorded_runs import RECORDED
from course_lib.search import rank_bm25
from course_lib.storage import DATA

RECORD = DATA / "recorded-runs" / "target-validation.json"


def target_runs() -> list[Run]:
    """Every row of domain adaptation in the cpu profile, the first seed."""
    return [row.runs()[0] for row in RECORDED if row.domain == "target" and row.profile == "cpu"]


def proxy_tasks() -> dict:
    """The two tasks that `course adapt` makes of unlabelled text, of the target's validation documents."""
    documents = [d for d in load_docs().validation.documents if d.library in adaptation.TARGET]
    return proxies.proxy_tasks(proxies.passages_of_documents(documents))


def record_one(run: Run) -> dict:
    """Measure a run, which must have been trained.

    Returns {task: {"title", "metric", "value", "per_query": list}} of the labelled tasks and, where an encoder or BM25
    searches alone, of the two proxies.
    """
    results = dict(load_or_run(run, split="validation", progress=False).results)
    if not run.search:
        ranker = rank_bm25 if run.start == "bm25" else run.encoder(progress=False)
        results |= measure(ranker, proxy_tasks().values())
    return kept.without_queries(results)


def load() -> dict[str, dict]:
    """What is recorded: {name of the run: what `record_one` returned}."""
    return kept.load(RECORD)


def as_records(runs: Sequence[Run]) -> dict[str, RunRecord]:
    """{name: RunRecord} of those runs that are recorded, as tables and figures take them."""
    known, tasks = load(), adaptation.target_tasks(load_docs(), split="validation") | proxy_tasks()
    found = {}
    for run in (run for run in runs if run.name in known):
        results = kept.with_queries(known[run.name], tasks)
        found[run.name] = RunRecord(run.name, run.title, "cpu", 0, {}, {}, {}, {}, results)
    return found


def main() -> None:
    """Measure what can be measured and has no record yet; each is written as soon as it is finished."""
    for run in target_runs():
        absent = run.start == "minilm" and reference_folder() is None
        if run.name in load() or absent or (run.stages and not run.is_trained()):
            continue
        kept.write(RECORD, load() | {run.name: record_one(run)})
        print(run.title, flush=True)


if __name__ == "__main__":
    main()
