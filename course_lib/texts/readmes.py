"""Prose that is on every machine with this course: the READMEs of the packages that it installs."""

import re
from importlib import metadata
from pathlib import Path

from course_lib.storage import cache_folder, write_atomically

COURSE = "embeddings-course"
_ENDINGS = {"text/markdown": ".md", "text/plain": ".txt"}  # the others are reStructuredText, the default


def required_packages() -> list[str]:
    """The names of the packages that the course needs, without those of its extras, in alphabetical order."""
    needed = [line for line in metadata.requires(COURSE) or () if "extra ==" not in line]
    return sorted({re.match(r"[\w.-]+", line).group() for line in needed}, key=str.lower)


def write_readmes(folder: str | Path | None = None) -> Path:
    """Write the README of each package into a file of its own, as the package's author wrote it.

    folder: for the files; by default one in the course's cache. A package that is not installed has none.
    Returns the folder. Nothing is downloaded: pip keeps the README of a package in its metadata.
    """
    folder = Path(folder) if folder else cache_folder() / "readmes"
    folder.mkdir(parents=True, exist_ok=True)
    for name in required_packages():
        try:
            found = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue
        text = found.get_payload() or found.get("Description") or ""
        kind = (found.get("Description-Content-Type") or "").partition(";")[0].strip()
        if text.strip():
            write_atomically(folder / f"{name}{_ENDINGS.get(kind, '.rst')}", text)
    return folder
