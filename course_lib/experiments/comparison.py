"""The comparison of all methods and of the pipelines: their rows, and which are trained here or shown as recorded."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from course_lib.experiments.profiles import Profile
from course_lib.experiments.records import RunRecord, shipped_records
from course_lib.experiments.runs import as_run, foreign_runs, load_or_run
from course_lib.experiments.stages import STAGES
from course_lib.models.minilm import reference_folder

# the rows of the comparison, in their order
COMPARISON = "bm25 base base_cls mlm simcse simcse_cls tsdae tsdae_mean ct ct_in_batch cropping minilm".split()
# of domain adaptation, as `as_run` takes them
PIPELINES = (
    *(("source",), ("source", "genq"), ("source", "gpl"), ("tsdae", "source"), ("source", "tsdae")),
    *(("mlm", "source"), ("tsdae", "source", "gpl"), ("cropping_long",), ("cropping_long", "source")),
    *(("hybrid", "cropping_long"), ("hybrid", "cropping_long", "source"), ("minilm", "cropping_gentle")),
    *("bm25", "base", "minilm", ("hybrid", "minilm")),
)


def compare(
    profile: Profile,
    methods: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
    progress: bool = True,
    say: Callable = print,
    own: str | None = None,
    full: bool = False,
) -> list[RunRecord]:
    """Run what has not been run, and give the records of the comparison, in the order of COMPARISON.

    profile: a Profile.
    methods: names from COMPARISON; by default all. Those that `profile.trains` leaves out are then shown as recorded,
        unless they were trained here, and left out where nothing was recorded.
    seeds: of the training; by default the profile's.
    progress: whether to show bars.
    say: called with one line before each run.
    own: a method of your own, as `add_method` names it. It becomes the last row; of the others, only `methods` are
        trained.
    full: whether to train here, too, what would be shown as recorded.
    Raises ValueError for another name, KeyboardInterrupt where a run is interrupted; the next call continues with it.
    """
    if unknown := next((m for m in methods or () if m not in COMPARISON), None):
        raise ValueError(f"there is no method {unknown!r}; choose one of {', '.join(COMPARISON)}")
    rows, records = (*COMPARISON, own) if own else COMPARISON, []
    chosen = [*(methods or ()), *([own] if own else ())]
    unasked = STAGES if full else profile.trains or STAGES
    if old := foreign_runs():
        say(f"{len(old)} runs of another version of the course are left alone; course doctor says more.")
    first = profile.trains or ()  # before the others: an interrupted call has then made the most useful
    names = chosen if methods else sorted(rows, key=lambda name: (*first, name).index(name))
    for method in dict.fromkeys(names):
        run = as_run(method, profile, profile.seeds[0])
        if _without_weights(run, say):
            continue
        spared = run.stages and method not in (chosen or unasked)
        if spared and not run.is_trained():
            shipped = shipped_records(run)
            where = "as recorded in data/recorded-runs" if shipped else "not recorded with these settings"
            say(f"{run.title}: {where}; to train it here: course compare {method}")
            records += [replace(record, note="recorded") for record in shipped]
            continue
        records += _of_seeds(run, seeds or profile.seeds, progress, say)
    return sorted(records, key=lambda record: rows.index(record.method))


def compare_pipelines(
    profile: Profile, seeds: Iterable[int] | None = None, progress: bool = True, say: Callable = print
) -> list[RunRecord]:
    """Run every pipeline of domain adaptation that has not been run, on the target libraries: hours.

    profile, seeds, progress, say: as in `compare`.
    Returns the records, in the order of PIPELINES.
    Raises KeyboardInterrupt where a run is interrupted; the next call continues with it.
    """
    runs = [as_run(names, profile, domain="target") for names in PIPELINES]
    there = [run for run in runs if not _without_weights(run, say)]
    return [record for run in there for record in _of_seeds(run, seeds or profile.seeds, progress, say)]


def _without_weights(run, say):
    missing = run.start == "minilm" and reference_folder() is None
    if missing:
        say(f"all-MiniLM-L6-v2's weights are not on this machine: {run.title} is left out.")
    return missing


def _of_seeds(run, seeds, progress, say):
    """The records of a run, one per seed; what trains nothing has one."""
    records = []
    for seed in seeds if run.stages else (0,):
        say(f"{run.title}, seed {seed}" if run.stages else run.title)
        records.append(load_or_run(replace(run, seed=seed), progress=progress))
    return records
