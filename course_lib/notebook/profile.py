"""One switch for everything that depends on the machine: `COURSE_PROFILE`, or what the hardware suggests."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

DATA = Path(__file__).parents[2] / "data"


@dataclass(frozen=True)
class Profile:
    """What a machine can afford. A learner may read it, copy it with `dataclasses.replace`, and train with other numbers."""

    name: str
    purpose: str
    notebook_minutes: str  # what one notebook takes, measured on the machine of `purpose`
    base_encoder: str  # a folder, or a hub name
    pooling: str
    batch_size: int
    max_length: int  # tokens of a training text
    simcse_steps: int
    simcse_learning_rate: float
    simcse_temperature: float
    mlm_steps: int
    mlm_learning_rate: float
    queries: int | None  # of each labelled task; None for all
    seeds: tuple[int, ...]


_BASE = str(DATA / "base-encoder")
PROFILES = {
    p.name: p
    for p in (
        Profile("smoke", "continuous integration: every cell, few steps", "at most 75 s on two cores", _BASE, "mean",
                batch_size=32, max_length=32, simcse_steps=6, simcse_learning_rate=3e-4, simcse_temperature=0.1,
                mlm_steps=4, mlm_learning_rate=1e-4, queries=60, seeds=(0,)),
        Profile("cpu", "a laptop: real learning on the embedded texts", "at most 6 min on two cores", _BASE, "mean",
                batch_size=64, max_length=48, simcse_steps=400, simcse_learning_rate=3e-4, simcse_temperature=0.1,
                mlm_steps=60, mlm_learning_rate=1e-4, queries=None, seeds=(0,)),
        Profile("gpu", "Colab's T4 and up: a hub model that never saw labelled pairs", "not measured yet",
                "bert-base-uncased", "mean",
                batch_size=64, max_length=48, simcse_steps=1000, simcse_learning_rate=3e-5, simcse_temperature=0.05,
                mlm_steps=500, mlm_learning_rate=5e-5, queries=None, seeds=(0,)),
        Profile("full", "the papers' settings", "hours", "bert-base-uncased", "mean",
                batch_size=64, max_length=64, simcse_steps=15_625, simcse_learning_rate=3e-5, simcse_temperature=0.05,
                mlm_steps=10_000, mlm_learning_rate=5e-5, queries=None, seeds=(0, 1, 2)),
    )
}


def current_profile(name=None):
    """The profile named, else that of COURSE_PROFILE, else gpu where there is CUDA and cpu elsewhere."""
    name = name or os.environ.get("COURSE_PROFILE") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}; COURSE_PROFILE takes {', '.join(PROFILES)}")
    return PROFILES[name]
