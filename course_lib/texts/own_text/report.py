"""What reading left out, and what it decided: nothing is lost silently."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Remark(NamedTuple):
    """One line about one file.

    file: the file or folder.
    why: why it was skipped, or how it was read.
    """

    file: str
    why: str


class Report:
    """What is known after reading.

    files: how many were read.
    skipped: a Remark per file, folder or row that was left out.
    notes: a Remark per decision that a reader may want otherwise, and per loss inside a file.
    """

    def __init__(self):
        self.files, self.skipped, self.notes = 0, [], []

    def skip(self, file: str | os.PathLike, why: str) -> None:
        self.skipped.append(Remark(str(file), why))

    def note(self, file: str | os.PathLike, why: str) -> None:
        self.notes.append(Remark(str(file), why))


def grouped(remarks: Iterable[Remark], examples: int = 3) -> list[tuple[int, str, str]]:
    """Remarks as rows of a table, one per reason: (how many, why, the names of the first few files).

    remarks: in any order.
    examples: how many files a row names.
    """
    files = defaultdict(list)
    for file, why in remarks:
        files[why].append(file)
    rows = []
    for why, names in files.items():
        more = ", …" if len(names) > examples else ""
        rows.append((len(names), why, ", ".join(printable(Path(name).name) for name in names[:examples]) + more))
    return rows


# what a passage's line counts in files that have none
_UNITS = {".pdf": "page", ".ipynb": "cell", ".parquet": "row", ".docx": "paragraph"}


def place(passage) -> str:
    """Where a passage stands, as an editor opens it: "notes/a.md:12"; of a file without lines "notes/a.pdf, page 3".

    passage: a Passage.
    """
    unit = _UNITS.get(Path(passage.file).suffix.lower())
    return printable(passage.file) + (f", {unit} {passage.line}" if unit else f":{passage.line}")


def printable(name: str) -> str:
    """A file's name for the screen: line breaks and bytes that are no text cannot disturb what is around it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
