"""Which files a path stands for: a file, or a folder or zip without hidden, ignored and generated files."""

import os
import stat
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from pathspec import GitIgnoreSpec

from course_lib.texts.own_text.report import Report

GENERATED = {"node_modules", "bower_components", "__pycache__", "__MACOSX", "site-packages"}
# files that mark a virtual environment, a cache and a model; `course adapt` may have written one among the notes
GENERATED_MARKS = ("pyvenv.cfg", "CACHEDIR.TAG", "config_sentence_transformers.json", "course-adaptation.json")
LARGEST_RATIO, SMALLEST_BOMB = 200, 2**26  # an entry of a zip that unpacks to more than both is a bomb


class Source(NamedTuple):
    """A file to read.

    name: its path, as the reader gave it; of an entry of a zip the zip's path and the entry's.
    size: in bytes.
    open: returns a binary file.
    stamp: other numbers after every change of the file: size, times of change, number.
    changed_at: when that was last, in seconds.
    """

    name: str
    size: int
    open: Callable[[], BinaryIO]
    stamp: tuple[int, ...]
    changed_at: float


def find(path: Path, endings: Collection[str], report: Report) -> list[Source]:
    """The files that a path stands for, in the order of their names.

    path: a file, a zip or a folder.
    endings: those that can be read, in lower case.
    report: is told what was left out.
    Raises OSError for a file that cannot be opened, ValueError for one that is no file.
    """
    if path.is_dir():
        return list(_in_folder(path, endings, report))
    if not path.is_file():
        raise ValueError(f"`path` {str(path)!r} is neither a file nor a folder")
    if path.suffix.lower() == ".zip":
        try:
            return list(_in_zip(path, endings, report))
        except ValueError as error:
            raise ValueError(f"`path` {str(path)!r} is {error}") from None
    if path.suffix.lower() not in endings:
        raise ValueError(f"`path` {path.name!r} is of a kind not read here; give {', '.join(endings)}, or a folder")
    return [_source(path)]


def _source(path):
    found = path.stat()
    return Source(str(path), found.st_size, lambda: open(path, "rb"), *_stamp(found))


def _stamp(found):
    stamp = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    return stamp, max(found.st_mtime, found.st_ctime)


def _in_folder(root, endings, report):
    home, ignores = root.resolve(), {}
    for name, folders, files in os.walk(root, onerror=lambda e: report.skip(e.filename, f"not readable: {e.strerror}")):
        folder = Path(name)
        if ".gitignore" in files:
            ignores[folder] = _gitignore(folder / ".gitignore", report)
        reasons = {each: _why_no_folder(folder / each, root, ignores) for each in sorted(folders)}
        folders[:] = [each for each, why in reasons.items() if not why]
        for each, why in reasons.items():
            if why:
                report.skip(folder / each, why)
        for path in (folder / file for file in sorted(files) if file != ".gitignore"):
            try:
                why = _why_no_file(path.name, endings) or _why_unfit(path, home) or _ignored(path, "", root, ignores)
                if not why and path.suffix.lower() == ".zip":
                    yield from _in_zip(path, endings, report)
                elif not why:
                    yield _source(path)
            except OSError as error:
                why = f"not readable: {error.strerror}"
            except ValueError as error:
                why = str(error)
            if why:
                report.skip(path, why)


def _why_no_folder(path, root, ignores):
    if path.is_symlink():
        return "a link to a folder; give that folder itself"
    if any((path / mark).is_file() for mark in GENERATED_MARKS):
        return "a folder of generated files"
    return _why_no_part(path.name) or _ignored(path, "/", root, ignores)


def _why_no_part(name):
    if name.startswith("."):
        return "hidden"
    return "a folder of generated files" if name in GENERATED else None


def _why_no_file(name, endings):
    if name.startswith((".", "~$")):
        return "hidden"
    ending = PurePosixPath(name).suffix.lower()
    return None if ending in (*endings, ".zip") else f"{ending or 'without an ending,'} is of a kind not read here"


def _why_unfit(path, home):
    if path.is_symlink() and not path.exists():
        return "a link to nothing"
    if not path.resolve().is_relative_to(home):
        return "a link that leaves the folder; give its target itself"
    return None if stat.S_ISREG(path.stat().st_mode) else "not a plain file"


def _gitignore(path, report):
    try:
        return GitIgnoreSpec.from_lines(path.read_text("utf-8", "replace").splitlines())
    except (OSError, ValueError) as error:
        report.note(path, f"not followed: {error}")
        return GitIgnoreSpec([])


def _ignored(path, slash, root, ignores):
    """Whether git would ignore a path: the nearest .gitignore that says anything about it decides."""
    for folder in path.parents:
        if folder in ignores:
            verdict = ignores[folder].check_file(path.relative_to(folder).as_posix() + slash).include
            if verdict is not None:
                return "named in .gitignore" if verdict else None
        if folder == root:
            return None


def _in_zip(path, endings, report):
    """The entries of a zip are read from it; nothing is unpacked to the disk."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ValueError(f"a damaged zip: {error}") from None
    stamp = _stamp(path.stat())
    for entry in sorted((e for e in archive.infolist() if not e.is_dir()), key=lambda e: e.filename):
        *folders, name = PurePosixPath(entry.filename).parts or [""]
        why = next(filter(None, map(_why_no_part, (f for f in folders if f != ".."))), None) or (
            _why_no_file(name, endings) or _why_no_entry(entry, name)
        )
        if why:
            report.skip(f"{path}/{entry.filename}", why)
        else:
            yield Source(f"{path}/{entry.filename}", entry.file_size, lambda e=entry: archive.open(e), *stamp)


def _why_no_entry(entry, name):
    if entry.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link in a zip"
    if name.lower().endswith(".zip"):
        return "a zip in a zip; unpack it"
    if entry.file_size > max(LARGEST_RATIO * entry.compress_size, SMALLEST_BOMB):
        return "a zip bomb: it unpacks to over 200 times its size"
