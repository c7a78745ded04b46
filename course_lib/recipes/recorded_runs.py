"""`make recorded-runs`: the runs whose records ship in `data/recorded-runs`, most valuable first.

A run that was stopped continues where it was, and a run that has its record is not repeated: after a change of a recipe
or of a model, the same command makes what is missing again. Two processes at once need different rows or seeds.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from course_lib.experiments import (
    AMOUNTS,
    PIPELINES,
    PROFILES,
    SWEEPS,
    Run,
    RunRecord,
    add_method,
    as_run,
    load_docs,
    load_or_run,
    records,
    shipped_records,
)
from course_lib.models.minilm import reference_folder
from course_lib.recipes.reading_path import NOTEBOOKS
from course_lib.texts import hub

EXAMPLES = ("word_repetition", "momentum_queue", "two_templates")  # methods of a reader, as notebook 11 adds one


@dataclass(frozen=True)
class Row:
    """One row of a table, run with several seeds.

    names: as `as_run` takes them.
    domain: "python" for the comparison, "target" for domain adaptation.
    profile: whose recipes are used.
    seeds: of the training; a row that trains nothing has seed 0 alone.
    changes: what differs from the recipe of the last stage, as a Run takes it.
    """

    names: str | tuple[str, ...]
    domain: str = "python"
    profile: str = "cpu"
    seeds: tuple[int, ...] = (0, 1, 2)
    changes: dict = field(default_factory=dict)

    def runs(self) -> list[Run]:
        """The row's runs, one per seed."""
        if self.names in EXAMPLES:
            add_method(NOTEBOOKS / "methods" / f"{self.names}.py")
        first = as_run(self.names, PROFILES[self.profile], domain=self.domain, changes=self.changes)
        return [replace(first, seed=seed) for seed in (self.seeds if first.stages else (0,))]


_COMPARED = ("mlm", "simcse", "tsdae", "tsdae_mean", "ct", "ct_in_batch", "cropping", "simcse_cls")
_SWEPT = (*SWEEPS.values(), *AMOUNTS.values())
# in the order of their value, as far as one row does not need another
RECORDED = (
    *(Row(name) for name in (*_COMPARED, "bm25", "base", "base_cls", "minilm", "static", "whitened", *EXAMPLES)),
    # a value that the recipe has is the comparison's own run
    *(Row(s.row, changes=changes) for s in _SWEPT for changes in s.settings.values() if changes),
    *(Row(name) for name in ("simcse_long", "tsdae_long", "cropping_long")),
    *(Row(names, domain="target") for names in PIPELINES),
)


def chosen_runs(names: Iterable[str] = (), seeds: Iterable[int] = ()) -> list[Run]:
    """The runs of RECORDED in their order.

    names: of runs, such as "simcse", "target-source-gpl" or "simcse-temperature-0.2"; by default all.
    seeds: by default all.
    Raises ValueError for a name that no row has.
    """
    runs = [run for row in RECORDED for run in row.runs()]
    known = dict.fromkeys(run.name for run in runs)
    if unknown := next((name for name in names if name not in known), None):
        raise ValueError(f"no row of the table is called {unknown!r}; choose among {', '.join(known)}")
    return [run for run in runs if run.name in (names or known) and (not seeds or run.seed in seeds)]


def shipped_record(run: Run) -> RunRecord | None:
    """The record of a run that ships, made with today's settings and weights and with every task; else None."""
    for record in shipped_records(run):
        if (record.profile, record.seed) == (run.profile.name, run.seed):
            return record if records.STS in record.results or not _measured_on_sts(run) else None
    return None


def _measured_on_sts(run):
    return run.domain == "python" and run.start != "bm25" and not run.search


def check_machine(runs: Sequence[Run]):
    """Records must be comparable: they need STS-B and the texts of those that ship already.

    Raises FileNotFoundError where STS-B is not at hand, ValueError where this machine's texts are others.
    """
    if any(map(_measured_on_sts, runs)) and not hub.available(hub.STSB):
        raise FileNotFoundError("STS-B is not on this machine; set COURSE_DATA to a folder that holds stsb/")
    texts = {record.data["texts"] for run in runs if (record := shipped_record(run))}
    if texts - {load_docs().fingerprint}:
        raise ValueError(
            "records that ship were measured on other texts than this machine has, so new ones would not compare with "
            "them; install the versions of requirements.lock, or delete those records and make all of them again"
        )


def record_runs(runs: Sequence[Run], progress: bool = True) -> list[Path]:
    """Make the records that are missing, each written into `data/recorded-runs` as soon as its run has ended.

    runs: as `chosen_runs` gives them.
    progress: whether to show bars.
    Returns the files that were written.
    Raises what `check_machine` raises, and KeyboardInterrupt where a run is interrupted; the next call continues it.
    """
    check_machine(runs)
    written, missing = [], [run for run in runs if shipped_record(run) is None]
    for number, run in enumerate(missing, 1):
        if run.start == "minilm" and reference_folder() is None:
            print(f"{run.title}: left out, all-MiniLM-L6-v2's weights are not on this machine", flush=True)
            continue
        print(f"{number} of {len(missing)}: {run.title}, {run.domain}, seed {run.seed}", flush=True)
        written.append(load_or_run(run, progress=progress).ship())
    return written


# --------------------------------------------------------------------------- what is there


def stale_files() -> list[Path]:
    """The records in the folder that no row of the table finds: of other rows, settings or models."""
    used = {f"{r.profile}-{r.method}-{r.seed}.json" for run in chosen_runs() if (r := shipped_record(run))}
    return [path for path in sorted(records.RECORDS.glob("*-[0-9]*.json")) if path.name not in used]


def prune() -> list[Path]:
    """Remove the stale files, and the names of queries that no other record uses. Returns what was removed."""
    removed = stale_files()
    for path in removed:
        path.unlink()
    keys = set()
    for path in records.RECORDS.glob("*-[0-9]*.json"):
        results = json.loads(path.read_text(encoding="utf-8"))["results"].values()
        keys |= {result[name] for result in results for name in ("queries", "scores") if name in result}
    records.keep_shared(records.RECORDS, keys)
    return removed


def overview(runs: Sequence[Run]) -> str:
    """One line per row, with the seeds that are there and those that are missing; then the stale files."""
    rows = {}
    for run in runs:
        there, missing = rows.setdefault((run.profile.name, run.name, run.title), ([], []))
        (there if shipped_record(run) else missing).append(run.seed)
    lines = [
        f"{profile:4} {name:35} {_listed('there', there):13} {_listed('missing', missing):15} {title}"
        for (profile, name, title), (there, missing) in rows.items()
    ]
    count = sum(len(missing) for _, missing in rows.values())
    lines += [f"stale: {path.name}" for path in stale_files()]
    return "\n".join([*lines, f"{count} of {len(runs)} records are missing"])


def _listed(word, seeds):
    return f"{word} {' '.join(map(str, seeds))}" if seeds else ""


def main(arguments: Sequence[str] | None = None):
    """Record the runs of the table that have no record of today's recipes; finished ones are kept."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", help="of runs, as --list shows them; by default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=(), help="only these")
    parser.add_argument("--list", action="store_true", help="only say what is there, what is missing and what is stale")
    parser.add_argument("--prune", action="store_true", help="only remove the stale files; see first who reads them")
    options = parser.parse_args(arguments)
    try:
        runs = chosen_runs(options.names, options.seeds)
        if options.prune:
            print("".join(f"removed: {path.name}\n" for path in prune()) or "No file is stale.", end="")
        elif not options.list:
            record_runs(runs)
        print(overview(runs))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("\nStopped. The same command continues; what is finished is kept.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
