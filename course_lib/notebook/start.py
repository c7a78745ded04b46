"""The first cell of every notebook."""

import json
import os
import warnings

import torch

from course_lib.experiments.profiles import DATA, current_profile

TIMES = DATA / "notebook_times.json"


def start(notebook):
    """Choose the profile, say what it is and how long the notebook takes in it, and return it.

    notebook: its name without the ending, such as "05_simcse". Times are those that `make notebooks` and the tests
    measured. Seeds torch, so that cells that draw numbers draw the same ones in every run.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", message=".*IProgress.*")  # tqdm falls back to text where there are no widgets
    profile = current_profile()
    torch.manual_seed(0)
    measured = _times().get(profile.name, {}).get(notebook)
    takes = (
        f"this notebook took {measured['minutes']:.1f} min on {measured['machine']}"
        if measured
        else (f"a notebook takes {profile.notebook_minutes}; this one has not been timed yet")
    )
    print(f"Profile: {profile.name} ({profile.purpose}); {takes}.")
    return profile


def _times():
    return json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.is_file() else {}
