"""The first cell of every notebook."""

import json
import warnings

import torch
from IPython import get_ipython

from course_lib.experiments import Profile, current_profile
from course_lib.notebook.errors import explain_errors
from course_lib.storage import DATA

TIMES = DATA / "notebook_times.json"


def start(notebook: str) -> Profile:
    """Choose the profile, and print what it is and how long the notebook takes in it.

    Seeds torch, so that cells that draw random numbers draw the same ones in every run. From here on, a cell that is
    stopped or that lacks a name from a cell above says what to do.

    notebook: its file name without the ending, such as "05_simcse"; `make notebooks` measured its time.
    Returns the profile.
    """
    warnings.filterwarnings("ignore", message=".*IProgress.*")  # tqdm falls back to text where there are no widgets
    explain_errors(get_ipython())
    profile = current_profile()
    torch.manual_seed(0)
    measured = recorded_times().get(profile.name, {}).get(notebook)
    takes = (
        f"this notebook took {measured['minutes']:.1f} min on {measured['machine']}"
        if measured
        else f"a notebook takes {profile.notebook_minutes}; this one has not been timed yet"
    )
    print(f"Profile: {profile.name} ({profile.purpose}); {takes}.")
    return profile


def recorded_times() -> dict:
    """How long each notebook took: {profile: {notebook: {"minutes", "machine"}}}, empty where none was timed."""
    return json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.is_file() else {}
