"""Where the course keeps files, and how it writes them."""

import os
import tempfile
from pathlib import Path

DATA = Path(__file__).parents[2] / "data"  # what ships with the course


def cache_folder():
    """The course's folder in the user's cache (XDG), made if absent; a temporary one where it cannot be written."""
    if os.environ.get("COURSE_CACHE"):
        folder = Path(os.environ["COURSE_CACHE"])
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embeddings-course"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    folder = Path(tempfile.gettempdir()) / f"embeddings-course-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(path, content):
    """Write text or bytes under a temporary name, then rename: a reader sees the old file or the whole new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mode, encoding = ("wb", None) if isinstance(content, bytes) else ("w", "utf-8")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
