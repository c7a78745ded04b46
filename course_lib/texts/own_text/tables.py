"""Tables: .csv, .tsv, .jsonl and .parquet, of which one column holds the text."""

import csv
import json
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from course_lib.texts.own_text.decoding import Say, first, open_text, whole_lines
from course_lib.texts.own_text.passages import Block

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*DELIMITERS, ".jsonl", ".parquet")
_LOOKED_AT = 1000  # rows by which the column is chosen
_LONGEST_LINE = 2**27  # characters
_RECORD = 100  # lines; a quotation that is longer was never closed
_WORD = re.compile(r"[^\W\d_]{2,}")
csv.field_size_limit(_LONGEST_LINE)  # a text may be longer than the 128 KiB that the module allows

Rows = Iterator[tuple[int, dict[str, Any]]]


def read(file: BinaryIO, ending: str, name: str, column: str | None, say: Say) -> Iterator[Block]:
    """The texts of a column, one block per row.

    file: opened, seekable.
    ending: of its name, one of ENDINGS.
    name: of the file, for messages.
    column: which; by default the one that holds text.
    say: is told which column was taken, and of every kind of row that was left out.
    Raises ValueError where the column is not there, or is to be named.
    """
    some, found = first(rows(file, ending, say), _LOOKED_AT)
    columns = list(dict.fromkeys(key for _, row in some for key in row))
    if column is None:
        column = _text_column(some, columns, name)
        if len(columns) > 1:
            say(f"column {column!r} was taken; name another with `column`")
    elif columns and column not in columns:
        raise ValueError(f"`column` {column!r} is not in {name!r}; it has {', '.join(columns)}")
    lost = Losses(say)
    for line, row in found:
        text = row.get(column)
        if isinstance(text, str) and text.strip():
            yield Block(text, line)
        elif text in (None, "") or isinstance(text, str):
            lost.add(f"column {column!r} is empty", line)
        else:
            lost.add(f"column {column!r} holds {type(text).__name__}, which is not text", line, f"{text!r:.60}")
    lost.end()


class Losses:
    """Rows that were left out, counted by reason."""

    def __init__(self, say: Say):
        self.say, self.rows = say, {}

    def add(self, why: str, line: int, example: str = "") -> None:
        count, first, shown = self.rows.get(why, (0, line, example))
        self.rows[why] = (count + 1, first, shown)

    def end(self) -> None:
        """Say how many there were."""
        for why, (count, line, example) in self.rows.items():
            rows = f"{count:,} rows, from line {line} on" if count > 1 else f"line {line}"
            self.say(f"left out: {rows}: {why}" + (f": {example}" if example else ""))


def _text_column(rows, columns, name):
    """The column with most words; it must have twice as many as the next."""
    words = {}
    for column in columns:
        texts = [row[column] for _, row in rows if isinstance(row.get(column), str)]
        words[column] = sum(len(_WORD.findall(text)) + text.count("。") * 5 for text in texts) / max(len(rows), 1)
    ranked = sorted(words, key=words.get, reverse=True)
    if not columns:
        return ""
    if len(columns) > 1 and (not words[ranked[0]] or words[ranked[0]] < 2 * words[ranked[1]]):
        raise ValueError(f"`column` is missing: which of {name!r} holds the text? It has {', '.join(columns)}")
    return ranked[0]


def rows(file: BinaryIO, ending: str, say: Say) -> Rows:
    """The rows of a table as (line number, {column: value}); of .parquet the number of the row.

    file, ending, say: as in `read`.
    """
    if ending == ".parquet":
        return _parquet(file)
    lines = whole_lines(open_text(file, say), _LONGEST_LINE, say)
    return _json_lines(lines, say) if ending == ".jsonl" else _delimited(lines, DELIMITERS[ending], say)


def read_rows(path: str | Path) -> list[tuple[int, dict]]:
    """Read the rows of a table that must be without a fault.

    path: a .csv, .tsv, .jsonl or .parquet file.
    Returns [(line number, {column: value})].
    Raises ValueError, with what is wrong.
    """

    def fail(why):
        raise ValueError(f"{str(path)!r}: {why}")

    with open(path, "rb") as file:
        found = list(rows(file, Path(path).suffix.lower(), fail))
    if not found:
        raise ValueError(f"{str(path)!r} is empty")
    return found


def _json_lines(lines, say):
    lost = Losses(say)
    for number, line in lines:
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            lost.add("not JSON", number, str(getattr(error, "msg", error)))
            continue
        if isinstance(row, dict):
            yield number, row
        elif row is not None:
            lost.add('not a JSON object such as {"text": "…"}', number)
    lost.end()


def _delimited(lines, delimiter, say):
    some, lines = first(lines, 1)
    if some and delimiter not in some[0][1]:  # spreadsheets of other countries write semicolons
        other = max(";\t|,", key=some[0][1].count)
        delimiter = other if other in some[0][1] else delimiter
    records = _records(lines, delimiter, say)
    number, header = next(records, (0, []))
    header = [name.strip() for name in header]
    if any(len(_WORD.findall(name)) > 5 for name in header):
        say("its first line is a text and was read as one, not as the names of columns")
        records, header = chain([(number, header)], records), [str(i) for i in range(1, len(header) + 1)]
    joined = False
    for number, cells in records:
        if len(cells) > len(header):  # a comma that should have been quoted, in most tables in the text at the end
            if not joined:
                say(f"line {number} has more cells than there are columns; they were joined to the last one")
            joined = True
            cells = [*cells[: len(header) - 1], delimiter.join(cells[len(header) - 1 :])]
        if cells:
            yield number, dict(zip(header, cells))


def _records(lines, delimiter, say):
    """(line number, cells). Where a quotation is not closed, its line is read by itself, with the marks as text."""
    pending, taken, number = deque(), [], 1

    def feed():
        while len(taken) < _RECORD:
            line = pending.popleft() if pending else next(lines, None)
            if line is None:
                return
            taken.append(line)
            yield line[1]

    while True:
        try:
            for cells in csv.reader(feed(), delimiter=delimiter, strict=True):
                yield taken[0][0], cells
                taken.clear()
            return
        except csv.Error:
            number, line = taken[0]
            say(f"line {number}: a quotation mark without its partner; such marks were read as text")
            yield number, next(csv.reader([line.replace("\0", "")], delimiter=delimiter, quoting=csv.QUOTE_NONE))
            pending.extendleft(reversed(taken[1:]))
            taken.clear()


def _parquet(file):
    import pyarrow.parquet  # a second, which only these files should cost

    number = 0
    for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1024):
        for row in batch.to_pylist():
            number += 1
            yield number, row
