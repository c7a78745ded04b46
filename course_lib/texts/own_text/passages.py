"""Passages: pieces of a document with their headings, long enough to be judged, short enough for an encoder."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from course_lib.texts.checks import UNSPACED
from course_lib.texts.prose import split_sentences

LONGEST = 100  # word pieces by `size`, with the headings; encoders of sentences read 128 or more
_HEADINGS = LONGEST // 4  # of which the headings may take so many
_WINDOW = 2000  # characters in which sentences are looked for at once
UNITS = ("line", "paragraph", "sentence")

_PIECE = re.compile(rf"[{UNSPACED}]|[^\W\d_{UNSPACED}]{{1,8}}|\d{{1,3}}|[^\w\s]|_")
_AFTER_STOP, _AFTER_STOP_BLANK = re.compile("(?<=[。！？])"), re.compile("(?<=[。！？]) ")


class _Unseen(dict):
    """What `str.translate` does to control and format characters, which are not seen, and to half an emoji."""

    def __missing__(self, code):
        kind = unicodedata.category(chr(code))
        if kind == "Cc":
            self[code] = " " if chr(code).isspace() else None
        elif kind == "Cs":
            self[code] = "\N{REPLACEMENT CHARACTER}"
        else:  # Persian, Hindi and emoji need the joiners, flags the tags
            kept = kind != "Cf" or code in (0x200C, 0x200D) or 0xE0020 <= code <= 0xE007F
            self[code] = code if kept else None
        return self[code]


_UNSEEN = _Unseen()


class Block(NamedTuple):
    """What a document holds between two of its own boundaries.

    text: a paragraph, an item of a list, a row of a table; may have line breaks.
    line: where it begins.
    headings: those it stands under, outermost first.
    continues: whether it may share a passage with the block before it, as an item of a list may.
    """

    text: str
    line: int = 1
    headings: tuple[str, ...] = ()
    continues: bool = False


class Passage(str):
    """A passage of a reader's own text. As a string it is what a search and an encoder read: headings, then the text.

    text: the passage alone.
    file: the path of its file, as the reader gave it.
    heading: those it stands under, as in "Guide › Tables"; "" without.
    line: where it begins in its file, from 1; of a notebook the cell, of a PDF the page, of a Word document the
        paragraph, of a Parquet file the row.
    """

    text: str
    file: str
    heading: str
    line: int

    def __new__(cls, text: str, file: str = "", headings: tuple[str, ...] = (), line: int = 1):
        shown = _that_fit(headings)
        passage = super().__new__(cls, f"{shown}\n{text}" if shown else text)
        passage.text, passage.file, passage.heading, passage.line = text, file, " › ".join(headings), line
        return passage

    @classmethod
    def restored(cls, shown: str, text: str, heading: str, line: int, file: str) -> "Passage":
        """A passage as it was: `shown` is what stands before the text for a search and an encoder."""
        passage = super().__new__(cls, shown + text)
        passage.text, passage.file, passage.heading, passage.line = text, file, heading, line
        return passage


def clean(text: str) -> str:
    """A text in one line and in Unicode's composed form (NFC), without what is not seen."""
    return " ".join(unicodedata.normalize("NFC", text.translate(_UNSEEN)).split())


def size(text: str) -> int:
    """About how many word pieces a tokenizer makes of a text."""
    return len(_PIECE.findall(text))


def _that_fit(headings):
    """The innermost headings that leave room for the text."""
    for first in range(len(headings)):
        path = " › ".join(headings[first:])
        if size(path) <= _HEADINGS:
            return path
    return ""


def is_heading(text: str) -> bool:
    """Whether a heading is short enough to be one; a longer one is text."""
    return size(text) <= _HEADINGS


def passages_of(blocks: Iterable[Block], file: str = "", unit: str | None = None) -> Iterator[Passage]:
    """Put short blocks together and cut long ones.

    blocks: of one document, in order.
    file: its path.
    unit: "line", "paragraph" or "sentence" for one passage per such; by default passages are as above.
    """
    room, length, held = LONGEST, 0, []
    found = chain.from_iterable(_units(block, unit) if unit else _cut(block) for block in blocks)
    for block, pieces in found:
        if held and (unit or length + pieces > room or not _belong(held, block)):
            yield _join(held, file)
            held = []
        if not held:
            room, length = LONGEST - size(_that_fit(block.headings)), 0
        held.append(block)
        length += pieces
    if held:
        yield _join(held, file)


def _belong(held, block):
    return block.headings == held[-1].headings and (block.continues or held[-1].text.endswith((":", "：")))


def _join(blocks, file):
    return Passage("\n".join(b.text for b in blocks), file, blocks[0].headings, blocks[0].line)


def _units(block, unit):
    lines = block.text.split("\n") if unit == "line" else [block.text]
    for number, line in enumerate(lines):
        line = clean(line)
        for text in split_sentences(line) if unit == "sentence" else [line]:
            if text:
                yield block._replace(text=text, line=block.line + number), 0


def _cut(block):
    """(block, its size), cleaned; in pieces between sentences where it is too long."""
    room = LONGEST - size(_that_fit(block.headings))
    text = clean(block.text) if len(block.text) < _WINDOW else ""
    if text and (pieces := size(text)) <= room:
        yield block._replace(text=text), pieces
    elif block.text.strip():
        yield from _between_sentences(block, room)


def _between_sentences(block, room):
    held, length, line = [], 0, block.line

    def joined():
        return block._replace(text=_AFTER_STOP_BLANK.sub("", " ".join(held)), line=line), length

    for sentence, pieces, at in _sentences(block.text, block.line, room):
        if held and length + pieces > room:
            yield joined()
            held, length = [], 0
        line = line if held else at
        held.append(sentence)
        length += pieces
    if held:
        yield joined()


def _sentences(text, line, room):
    """(sentence or part of one, its size, its line) with no more than `room` pieces each."""
    for start in _windows(text):
        window, place = text[start], 0
        for sentence in (s for long in split_sentences(window) for s in _AFTER_STOP.split(long) if s.strip()):
            place = max(window.find(sentence, place), place)
            at = line + window.count("\n", 0, place)
            yield from ((part, pieces, at) for part, pieces in _parts(clean(sentence), room) if part)
        line += window.count("\n")


def _windows(text):
    """Slices of a long text that end after a blank where there is one."""
    start = 0
    while start < len(text):
        end = start + _WINDOW
        if end < len(text):
            last = max(text.rfind(mark, start, end) for mark in (". ", ".\n", "。", "! ", "? "))
            last = last if last > start else max(text.rfind(" ", start, end), text.rfind("\n", start, end))
            end = last + 1 if last > start else end
        yield slice(start, end)
        start = end


def _parts(sentence, room):
    """(part, its size): a sentence that is too long, cut at blanks if there are any."""
    starts = [piece.start() for piece in _PIECE.finditer(sentence)]
    first = start = 0
    while len(starts) - first > room:
        # the last blank before the room ends, unless a word is longer than that
        end = starts[first + room]
        end = max(sentence.rfind(" ", start + 1, end + 1), 0) or end
        following = bisect_left(starts, end)
        yield sentence[start:end].strip(), following - first
        first, start = following, end
    yield sentence[start:].strip(), len(starts) - first
