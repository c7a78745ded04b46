"""Plain text: paragraphs between blank lines, or one text per line; headings as manual pages and RFCs have them."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from course_lib.texts.own_text.decoding import LONGEST_LINE, Say, first
from course_lib.texts.own_text.headings import metadata
from course_lib.texts.own_text.passages import LONGEST, Block, clean, is_heading, size

_LOOKED_AT, _LONG = 1000, 2000  # lines by which the file is judged, and characters of each
_UNDERLINE = re.compile(r"\s*([-=~^*#])\1{2,}\s*")
_END = re.compile(r"""[.!?:;。！？…]["'”’»)\]]*$""")
# "TAIL(1)    User Commands    TAIL(1)"
_MANUAL_PAGE = re.compile(r"\s*(\S+\(\d\w*\))\s.*\s\1\s*")
_ITEM = re.compile(r"\s*(?:[-+*•–]|\d{1,3}[.)])\s*\S")
# a word that was broken at the end of a line, with the line's own hyphen
_BROKEN = re.compile("(?<=[^\\W\\d_])[\u2010\u00ad]\n[ \t]*([a-zß-öø-ÿ]\\S*)")
_WRAPPED = 10  # word pieces; shorter lines were not broken for want of room


def read(lines: Iterable[tuple[int, str]], unit: str | None, say: Say) -> Iterator[Block]:
    """The blocks of a plain text.

    lines: (number, line) in order.
    unit: as in `own_text.load`; by default the text decides whether a line or a paragraph is one block.
    say: is told when lines are taken although there are blank lines, or joined although there are none.
    """
    some, lines = first(iter(lines), _LOOKED_AT)
    title, length = metadata("".join(f"{line}\n" for _, line in some))
    del some[:length]
    headings = (title,) if title and is_heading(title) else ()
    if unit is None and _by_line([line[:_LONG] for _, line in some], say):
        yield from (Block(line, number, headings) for number, line in lines if line.strip())
    else:
        yield from _by_paragraph(lines, headings)


def _by_line(lines, say):
    paragraphs = [list(group) for filled, group in groupby(lines, lambda line: bool(line.strip())) if filled]
    breaks = [pair for paragraph in paragraphs for pair in zip(paragraph, paragraph[1:])]
    if not breaks:
        return False
    width = sorted(map(len, lines))[len(lines) * 9 // 10]
    wrapped = sum(_goes_on(line, following, width) for line, following in breaks) > len(breaks) / 2
    if len(paragraphs) == 1:
        if wrapped:
            say("read as paragraphs: its lines break inside sentences")
        return not wrapped
    sizes = [size(" ".join(paragraph)) for paragraph in paragraphs]
    by_line = not wrapped and sum(s for s in sizes if s > LONGEST) > sum(sizes) / 2
    if by_line:
        say("read line by line: between its blank lines there is more than fits into one passage")
    return by_line


def _goes_on(line, following, width):
    """Whether a line was broken inside a sentence, for want of room."""
    following = following.strip()
    full = len(line) + 1 + len(following.split(" ", 1)[0]) > 0.75 * width
    return full and size(line) >= _WRAPPED and not _END.search(line.rstrip()) and not following[0].isupper()


def _by_paragraph(lines, title):
    headings, margin = title, None
    unused = None  # a heading without a text so far; it is text where it stays without
    for paragraph in _paragraphs(lines):
        if len(paragraph) == 1 and not headings and (page := _MANUAL_PAGE.fullmatch(paragraph[0][1])):
            headings = title = (page.group(1),)
            continue
        number, heading, rest = _heading(paragraph)
        if heading and unused:
            yield unused
        if heading:
            headings, unused, margin = (*title, heading), Block(heading, number, title), None
        if rest:
            indented = len(rest[0][1]) - len(rest[0][1].lstrip())
            margin = indented if margin is None else margin
            text = _BROKEN.sub(r"\1\n", "\n".join(line for _, line in rest))
            yield Block(text, rest[0][0], headings, indented > margin or bool(_ITEM.match(rest[0][1])))
            unused = None
    if unused:
        yield unused


def _paragraphs(lines):
    """Lists of (number, line) without blank lines among them; endless ones come in parts."""
    paragraph, length = [], 0
    for number, line in lines:
        if line.strip():
            paragraph.append((number, line))
            length += len(line)
        if paragraph and (not line.strip() or length > LONGEST_LINE):
            yield paragraph
            paragraph, length = [], 0
    if paragraph:
        yield paragraph


def _heading(paragraph):
    """(line, heading or None, the rest): a line that is underlined, or in capitals and left of what it stands above."""
    number, line = paragraph[0]
    text, underlined = clean(line), len(paragraph) > 1 and _UNDERLINE.fullmatch(paragraph[1][1])
    if underlined and is_heading(text) and not _UNDERLINE.fullmatch(line):
        return number, text, paragraph[2:]
    outside = len(paragraph) == 1 or paragraph[1][1].startswith((" ", "\t"))
    if text.isupper() and outside and not line[0].isspace() and not _END.search(text) and is_heading(text):
        return number, text, paragraph[1:]
    return number, None, paragraph
