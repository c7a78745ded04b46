"""Sweeps: a method trained with several settings. Their runs are recorded; the comparison does not show them."""

from collections.abc import Hashable
from dataclasses import dataclass

from course_lib.experiments.profiles import PROFILES, Profile
from course_lib.experiments.records import RunRecord, shipped_records
from course_lib.experiments.runs import Run, as_run


@dataclass(frozen=True)
class Sweep:
    """One row of the comparison, trained with several settings of its last stage.

    row: as `as_run` takes it.
    settings: {label: changes}; the changes are those of a Run, and {} stands for the recipe as it is.
    """

    row: str | tuple[str, ...]
    settings: dict[Hashable, dict]

    def runs(self, profile: Profile = PROFILES["cpu"]) -> dict[Hashable, Run]:
        """{label: Run} of seed 0, in the order of the settings."""
        return {label: as_run(self.row, profile, changes=changes) for label, changes in self.settings.items()}

    def records(self, profile: Profile = PROFILES["cpu"]) -> dict[Hashable, list[RunRecord]]:
        """{label: the records that ship, one per seed}; [] for a setting that has not been recorded yet."""
        return {label: shipped_records(run) for label, run in self.runs(profile).items()}


# at most four settings each: every one is three runs of full length
SWEEPS = {
    "temperature": Sweep(
        "simcse", {0.01: {"temperature": 0.01}, 0.05: {}, 0.2: {"temperature": 0.2}, 1.0: {"temperature": 1.0}}
    ),
    "dropout": Sweep("simcse", {0.0: {"dropout": 0.0}, 0.1: {}, 0.3: {"dropout": 0.3}}),
    # without noise; the 0.4 of the examples in Sentence Transformers; the paper's; hardly a word left
    "deletion": Sweep(
        "tsdae",
        {
            0.0: {"deletion_probability": 0.0},
            0.4: {"deletion_probability": 0.4},
            0.6: {},
            0.9: {"deletion_probability": 0.9},
        },
    ),
}

ALL = "all texts"


def _amounts(row):
    """{(texts, peak rate): changes}: 1,000, 10,000 or all texts, in the recipe's steps, at its rate or a lower one."""
    rates = {PROFILES["cpu"].recipes[row].learning_rate: {}, 1e-4: {"learning_rate": 1e-4}}
    texts = {1000: {"texts": 1000}, 10_000: {"texts": 10_000}, ALL: {}}
    return {(n, rate): of_n | of_rate for rate, of_rate in rates.items() for n, of_n in texts.items()}


# with little text the same steps read every sentence often: does a lower rate help then?
AMOUNTS = {row: Sweep(row, _amounts(row)) for row in ("simcse", "tsdae", "cropping")}
