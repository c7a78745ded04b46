"""The learner's progress: one small file in the course's cache, which they may delete. It is sent nowhere."""

import contextlib
import json
from pathlib import Path

from course_lib import storage as store

FILE = "exercises.json"


def file() -> Path:
    """The path of the progress file."""
    return store.cache_folder() / FILE


def load() -> tuple[dict[str, str | None], str]:
    """Read the progress file; one that cannot be understood is renamed, never overwritten.

    Returns what is solved, {exercise name: source of the answer, or None}, and a remark, "" where all is well.
    """
    try:
        path = file()
        content = path.read_bytes()
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"your progress file could not be read ({error.strerror})"
    try:
        return _solved(json.loads(content)), ""
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or JSON of another shape
        return {}, _set_aside(path)


def _solved(content):
    solved = content.get("right") if isinstance(content, dict) else None
    if not isinstance(solved, dict) or not all(isinstance(v, (str, type(None))) for v in solved.values()):
        raise ValueError("not a progress file")
    return solved


def _set_aside(path):
    aside = next(p for n in range(1, 1000) if not (p := path.with_name(f"exercises.unreadable-{n}.json")).exists())
    try:
        path.replace(aside)
    except OSError as error:
        return f"your progress file {path.name} cannot be read, nor set aside ({error.strerror})"
    return f"your progress file could not be read; it was set aside as {aside.name}, and a new one begins"


def save(name: str, answer: str | None) -> str:
    """Note in the progress file that an exercise is solved; a disk that fails raises nothing.

    name: of the exercise.
    answer: the source of the learner's function, None where it is unknown.
    Returns a remark, "" where all is well.
    """
    solved, remark = load()
    if name in solved and (answer is None or solved[name] == answer):
        return remark
    try:
        if remark and file().exists():
            return remark  # unreadable and in the way: leave it alone
        _write({**solved, name: answer})
    except (OSError, UnicodeError) as error:
        return f"your progress could not be written down ({error}); the check is not affected"
    return remark


def forget(name: str | None = None) -> None:
    """Forget an answer, or delete the whole progress file.

    name: of the exercise, None for all.
    """
    if name is None:
        with contextlib.suppress(FileNotFoundError):
            file().unlink()
        return
    solved, _ = load()
    if name in solved:
        _write({each: answer for each, answer in solved.items() if each != name})


def _write(solved):
    store.write_atomically(file(), json.dumps({"right": solved}, ensure_ascii=False, indent=1))
