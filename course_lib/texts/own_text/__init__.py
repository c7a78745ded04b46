"""A reader's own files as passages: text, Markdown, HTML, notebooks, tables, PDF, Word, folders and zips of them."""

import contextlib
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm.auto import tqdm

from course_lib.texts.own_text import files, plain_text
from course_lib.texts.own_text.decoding import Say, lines_of, open_text
from course_lib.texts.own_text.kept import LARGEST, Kept
from course_lib.texts.own_text.passages import UNITS, Block, Passage, passages_of
from course_lib.texts.own_text.report import Remark, Report, grouped, place, printable

_PLAIN = (".txt", ".text")
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
# the module and function that read a kind of file as a whole, and the largest size in bytes; the libraries behind them
# take seconds to import, so only those that are needed are
_MARKUP = {
    **dict.fromkeys((".md", ".markdown"), ("markdown", "read", 2**21)),
    ".rst": ("rst", "read", 2**20),
    **dict.fromkeys((".html", ".htm", ".xhtml"), ("html", "read", 2**26)),
    ".ipynb": ("markdown", "read_notebook", 2**26),
}
_DOCUMENTS = {".pdf": ("documents", "read_pdf", 2**28), ".docx": ("documents", "read_word", 2**28)}
EMPTY = "no text in it"
ENDINGS = (*_PLAIN, *_MARKUP, *_TABLES, *_DOCUMENTS)


class Reading(list):
    """The distinct passages of a path, in order; see `Passage`.

    files: how many files were read.
    skipped: a (file, why) per file or folder that was left out.
    notes: a (file, how) per decision that you may want otherwise, and per kind of loss inside a file.
    duplicates: how many passages were there before.
    """

    def __init__(self, passages=(), report: Report | None = None, duplicates: int = 0):
        super().__init__(passages)
        report = report or Report()
        self.files, self.skipped, self.notes, self.duplicates = report.files, report.skipped, report.notes, duplicates


def load(
    path: str | Path,
    column: str | None = None,
    unit: str | None = None,
    progress: bool = True,
    keep: bool = False,
) -> Reading:
    """Load the passages of a file or folder, as `train`, the objectives and the searches take them.

    path: a file (ENDINGS lists the kinds), a zip or a folder of such files. Of a folder, hidden files and what a
        .gitignore names are left out.
    column: of a table, the column that holds the text; by default the one that does.
    unit: "line", "paragraph" or "sentence" for one text per such. By default a passage is a paragraph, several items of
        a list, some rows of a table; no longer than an encoder reads.
    progress: whether to show a bar where reading takes more than a second.
    keep: whether to keep what was read in the cache, and to read again only the files that have changed since.
    Returns a Reading, which is a list of Passages; a Passage is a string.
    Raises FileNotFoundError where the path does not exist, ValueError where nothing can be read; both say what to do.
    """
    report, seen, count = Report(), {}, 0
    for passage in passages(path, column, unit, progress, report, keep):
        count += 1
        seen.setdefault(str(passage), passage)
    if not seen:
        raise ValueError(_nothing(path, report))
    return Reading(seen.values(), report, count - len(seen))


def passages(
    path: str | Path,
    column: str | None = None,
    unit: str | None = None,
    progress: bool = True,
    report: Report | None = None,
    keep: bool = False,
) -> Iterator[Passage]:
    """The passages of a path one by one, for text that is larger than memory; duplicates stay.

    path, column, unit, progress, keep: as in `load`.
    report: is told what was skipped and how files were read.
    Raises as `load`, but where there is no text.
    """
    path, report = Path(path).expanduser(), Report() if report is None else report
    if unit not in (None, *UNITS):
        raise ValueError(f"`unit` is {unit!r}; it is one of {', '.join(UNITS)}")
    if not path.exists():
        raise FileNotFoundError(f"`path` {str(path)!r} does not exist (the current folder is {str(Path.cwd())!r})")
    sources = files.find(path, ENDINGS, report)
    if column is not None and not any(_ending(source) in _TABLES for source in sources):
        needs = f"needs a table ({', '.join(_TABLES)})"
        raise ValueError(f"`column` {column!r} {needs}, and {path.name!r} is or has none; leave it out")
    total = sum(source.size for source in sources)
    kept = Kept(path, column, unit) if keep and total <= LARGEST else None
    options = {"unit": "B", "unit_scale": True, "delay": 1, "leave": False}
    with tqdm(total=total, desc="Reading", disable=not progress, **options) as bar:
        for source in sources:
            reading = _read(source, column, unit, report, bar)
            yield from reading if kept is None else _read_or_kept(source, reading, kept, report, bar)
    if kept is not None:
        kept.save()


def _read_or_kept(source, reading, kept, report, bar):
    """The passages of a file and what there is to remark, as they were kept, or as they are read now."""
    if (known := kept.find(source)) is not None:
        found, whole, skipped, notes = known
        report.files += whole
        report.skipped += skipped
        report.notes += notes
        bar.update(source.size)
    else:
        files, skips, notes = report.files, len(report.skipped), len(report.notes)
        found = list(reading)
        kept.add(source, found, report.files > files, report.skipped[skips:], report.notes[notes:])
    yield from found


def _ending(source):
    return PurePosixPath(source.name).suffix.lower()


def _read(source, column, unit, report, bar):
    done, found = 0, 0
    try:
        with source.open() as file:
            blocks = _blocks(file, source, column, unit, partial(report.note, source.name))
            for passage in passages_of(blocks, source.name, unit):
                found += 1
                yield passage
                with contextlib.suppress(ValueError):  # closed by its reader
                    bar.update(file.tell() - done)
                    done = file.tell()
        report.files += 1
        if not found:
            report.skip(source.name, EMPTY)
    except Exception as error:  # whatever a library says to a damaged file, the others are read
        why = str(error).strip().partition("\n")[0][:200]
        if not (isinstance(error, ValueError) and why):
            why = f"damaged, or not what its ending says ({type(error).__name__}: {why})"
        report.skip(source.name, f"read in part, then: {why}" if found else why)
    bar.update(source.size - done)


def _blocks(file: BinaryIO, source: files.Source, column: str | None, unit: str | None, say: Say) -> Iterator[Block]:
    ending = _ending(source)
    if ending in _TABLES:
        from course_lib.texts.own_text import tables

        return tables.read(file, ending, PurePosixPath(source.name).name, column, say)
    module, function, largest = {**_MARKUP, **_DOCUMENTS}.get(ending, (None, None, 0))
    if module and source.size <= largest:
        read = getattr(import_module(f"{__name__}.{module}"), function)
        return read(file if ending in _DOCUMENTS else open_text(file, say).read(), say)
    if ending in _DOCUMENTS:
        raise ValueError(f"larger than {largest >> 20} MB")
    if ending in _MARKUP:
        say(f"larger than {largest >> 20} MB, so it was read as plain text")
    return plain_text.read(lines_of(open_text(file, say)), unit, say)


def _nothing(path, report):
    """The message for a path of which nothing could be read."""
    path = Path(path)
    reasons = [(why, names) for _, why, names in grouped(report.skipped + report.notes) if why != EMPTY]
    if not reasons:
        return f"`path` {str(path)!r} holds no text: it is empty, or all blank"
    if not path.is_dir():
        return f"`path` {str(path)!r} holds no text: " + "; ".join(why for why, _ in reasons)
    told = "; ".join(f"{why} ({names})" for why, names in reasons[:5])
    return f"`path` {str(path)!r} holds no text that can be read, which is {', '.join(ENDINGS)} or a zip. {told}"
