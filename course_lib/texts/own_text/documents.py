"""PDF and Word: read where `pip install embeddings-course[documents]` has installed their libraries."""

import logging
import re
from collections.abc import Iterator
from typing import BinaryIO

from course_lib.texts.own_text.decoding import Say
from course_lib.texts.own_text.headings import Outline, row_text
from course_lib.texts.own_text.passages import Block

_HYPHEN = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
_LEVEL = re.compile(r"(?:Heading|Title)\s*(\d?)")


def _missing(library):
    return ValueError(f"{library} is not installed: pip install {library}")


def read_pdf(file: BinaryIO, say: Say) -> Iterator[Block]:
    """The text of a PDF, as it is on the pages; the line of a block is its page.

    file: seekable.
    say: is told of pages without text.
    Raises ValueError for one that is encrypted, or without text.
    """
    try:
        import pypdf
    except ImportError:
        raise _missing("pypdf") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it has a line for every oddity
    pages = pypdf.PdfReader(file)
    if pages.is_encrypted and not pages.decrypt(""):
        raise ValueError("encrypted")
    empty = 0
    for number, page in enumerate(pages.pages, 1):
        text = _HYPHEN.sub("", page.extract_text())
        empty += not text.strip()
        yield from (Block(paragraph, number) for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip())
    if empty:
        say("left out: pages without text, which may be pictures of text")


def read_word(file: BinaryIO, say: Say) -> Iterator[Block]:
    """The paragraphs and tables of a Word document; the line of a block is the number of its paragraph.

    file: seekable.
    say: is told what was left out.
    """
    try:
        import docx
        from docx.table import Table
    except ImportError:
        raise _missing("python-docx") from None
    outline = Outline(say)
    for number, part in enumerate(docx.Document(file).iter_inner_content(), 1):
        if isinstance(part, Table):
            header, *rows = (_cells(row) for row in part.rows)
            yield from (outline.block(row_text(header, row), number, continues=True) for row in rows)
            if not rows:
                yield outline.block(row_text([], header), number)
            continue
        style = part.style.name or ""
        heading = _LEVEL.fullmatch(style)
        if heading and part.text.strip():
            yield from outline.enter(int(heading.group(1) or 1), part.text, number)
        elif part.text.strip():
            yield outline.block(part.text, number, continues=style.startswith("List"))
    outline.end()


def _cells(row):
    return list({cell._tc: cell.text for cell in row.cells}.values())  # a merged cell is there several times
