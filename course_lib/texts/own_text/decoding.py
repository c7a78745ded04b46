"""Bytes to text: which encoding a file has, and its lines, one at a time."""

import codecs
import io
import re
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import BinaryIO

import charset_normalizer

SAMPLE = 2**16  # bytes that are looked at
LONGEST_LINE = 2**14  # characters; longer lines come in parts
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is the beginning of this one
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NO_ASCII = re.compile(rb"[\x80-\xff]")
WESTERN = 0.06  # with a smaller share of bytes above 127, it is a Western language in Windows-1252
Say = Callable[[str], None]
_NAMES = cycle(range(256))  # Python keeps every error handler for good, so names are used again


def open_text(file: BinaryIO, say: Say) -> io.TextIOWrapper:
    """A binary file as text, whatever its encoding and its line ends.

    file: seekable.
    say: is told of a guess.
    Raises ValueError for a binary file.
    """
    sample = file.read(SAMPLE)
    file.seek(0)
    encoding = _encoding(sample)
    if encoding not in ("utf-8", *MARKS.values()):
        say(f"its encoding is not given; read as {encoding.upper().replace('_', '-')}")
    errors = _stray_bytes(say) if encoding.startswith("utf-8") else "replace"
    return io.TextIOWrapper(file, encoding=encoding, errors=errors)


def _encoding(sample):
    marked = next((name for mark, name in MARKS.items() if sample.startswith(mark)), None)
    if marked:
        return marked
    if b"\0" in sample:
        fits = [name for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be") if _is_text(sample, name)]
        if not fits:
            raise ValueError("a binary file")
        return fits[0]
    if len(_CONTROL.findall(sample)) > len(sample) / 50:
        raise ValueError("a binary file")
    bad = []
    text = sample.decode("utf-8", _stray_bytes(bad.append, each=True))
    good = sum(c > "\x7f" for c in text) - len(bad)
    if 2 * len(bad) <= good or len(bad) == 1 and len(sample) == SAMPLE:  # the sample's end may cut a character
        return "utf-8"
    if len(_NO_ASCII.findall(sample)) < WESTERN * len(sample):
        return "cp1252"
    # a few words are too few to judge by; repeated, they are judged well
    best = charset_normalizer.from_bytes(sample * (1 + 2000 // len(sample))).best()
    return best.encoding if best else "cp1252"


def _is_text(sample, encoding):
    """Whether bytes with zeros among them are text of two or four bytes per character."""
    text = sample[: len(sample) // 4 * 4].decode(encoding, "replace")
    usual = sum(c.isprintable() and c != "\ufffd" or c in "\r\n\t" for c in text)
    spaces = sum(c in " \r\n" for c in text)
    return usual > 0.97 * len(text) and spaces > len(text) / 200


def _stray_bytes(say, each=False):
    """The name of an error handler: a byte that is not UTF-8 is read as Windows-1252, the usual stranger."""
    name, said = f"course-stray-bytes-{next(_NAMES)}", []

    def handle(error):
        if each or not said:
            said.append(True)
            say("some bytes are not UTF-8; they were read as WINDOWS-1252")
        return error.object[error.start : error.end].decode("cp1252", "replace"), error.end

    codecs.register_error(name, handle)
    return name


def lines_of(file: io.TextIOBase, longest: int = LONGEST_LINE) -> Iterator[tuple[int, str]]:
    """(line number, line without its end). A line longer than `longest` comes in parts, cut at blanks if there are any.

    file: opened as text.
    longest: in characters.
    """
    number, rest = 1, ""
    while part := file.readline(longest):
        line = rest + part
        if line.endswith("\n") or len(part) < longest:
            yield number, line.removesuffix("\n")
            number, rest = number + 1, ""
            continue
        cut = line.rfind(" ") + 1 or len(line)
        yield number, line[:cut]
        rest = line[cut:]
    if rest:
        yield number, rest


def whole_lines(file: io.TextIOBase, longest: int, say: Say) -> Iterator[tuple[int, str]]:
    """(line number, line with its end), for formats whose lines cannot be cut; a longer line is left out."""
    number = 0
    while line := file.readline(longest):
        number += 1
        if len(line) < longest or line.endswith("\n"):
            yield number, line
            continue
        while line and not line.endswith("\n"):
            line = file.readline(longest)
        say(f"a line of more than {longest:,} characters was left out")


def first(lines: Iterator, count: int) -> tuple[list, Iterator]:
    """The first few items as a list, and an iterator over these, whatever is in the list by then, and the others."""
    some = list(islice(lines, count))

    def all_lines():
        yield from some
        yield from lines

    return some, all_lines()
