"""Markdown, by a CommonMark parser, and the Markdown of notebooks."""

import re
import warnings
from collections.abc import Iterator

import lxml.html.defs
from markdown_it import MarkdownIt
from markdown_it.rules_block.table import escapedSplit

from course_lib.texts.own_text import html
from course_lib.texts.own_text.decoding import Say
from course_lib.texts.own_text.headings import Outline, metadata, row_text
from course_lib.texts.own_text.passages import Block

_DEEPEST = 100  # of lists and quotations in one another
_RULES = MarkdownIt("commonmark", {"maxNesting": _DEEPEST}).enable(["table", "strikethrough"])
# blocks first, the markup inside each later: a hostile paragraph can then be taken as it is
_BLOCKS = MarkdownIt("commonmark", {"maxNesting": _DEEPEST}).enable("table").disable(["inline", "text_join"])
_LONGEST, _BRACKETS = 20_000, 500  # of a paragraph with markup; the parser's time grows with their square
_TAG = re.compile(r"</?([a-zA-Z][\w-]*)")
TAGS = {*lxml.html.defs.tags, "main", "picture", "template", "dialog"}  # anything else is a placeholder, such as <url>


def read(text: str, say: Say) -> Iterator[Block]:
    """The blocks of a Markdown file; its metadata are no text, but for the title, and fenced code is left out.

    text: the file's.
    say: is told what was left out.
    """
    outline = Outline(say)
    title, lines = metadata(text)
    outline.enter(1, title, 1)
    yield from blocks("\n" * lines + "".join(text.split("\n", lines)[lines:]), outline)
    outline.end()


def read_notebook(text: str, say: Say) -> Iterator[Block]:
    """The Markdown cells of a notebook; the line of a block is the number of its cell.

    text, say: as in `read`.
    """
    import nbformat  # seconds, which only notebooks should cost

    with warnings.catch_warnings(action="ignore"):  # about cells without an id
        notebook = nbformat.reads(text, as_version=4)
    outline = Outline(say)
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            yield from (block._replace(line=number) for block in blocks(cell.source, outline))
        else:
            outline.left_out.add("the code of cells")
    outline.end()


def blocks(text: str, outline: Outline) -> Iterator[Block]:
    """The blocks of Markdown, under the headings of an outline that goes on."""
    references, source = {}, text.split("\n")
    heading, row, header, depth, line = 0, None, [], 0, 1
    for token in _BLOCKS.parse(text, references):
        line = token.map[0] + 1 if token.map else line
        if token.level >= _DEEPEST - 2:
            outline.left_out.add(f"what is nested {_DEEPEST} deep")
        match token.type:
            case "heading_open" | "heading_close":
                heading = int(token.tag[1]) if token.nesting == 1 else 0
            case "list_item_open" | "list_item_close":
                depth += token.nesting
            case "thead_open":
                header = []
            case "tr_open":
                row = []
            case "tr_close":
                row += (_plain(cell, references) for cell in _surplus(source[line - 1], len(row)))
                if header:
                    yield outline.block(row_text(header, row), line, continues=True)
                header, row = header or row, None
            case "inline" if heading:
                yield from outline.enter(heading, _plain(token.content, references), line)
            case "inline" if row is not None:
                row.append(_plain(token.content, references))
            case "inline":
                yield outline.block(_plain(token.content, references), line, continues=depth > 0)
            case "code_block":
                yield outline.block(token.content, line)
            case "html_block":
                yield from html.blocks(_TAG.sub(_shown, token.content), outline, line)
            case "fence":
                outline.left_out.add("fenced code")


def _surplus(source, width):
    """The cells of a row beyond the table's header, which the standard ignores."""
    cells = escapedSplit(source.strip().removeprefix("|").removesuffix("|"))
    return cells[width:]


def _plain(content, references):
    """A paragraph without its markup: every word, the texts of links and images, not their addresses."""
    if len(content) > _LONGEST or content.count("[") > _BRACKETS:
        return content
    return "".join(_words(t) for t in _RULES.parseInline(content, references)[0].children)


def _words(token):
    match token.type:
        case "softbreak" | "hardbreak":
            return "\n"
        case "image":
            return "".join(map(_words, token.children or ()))  # without a text in place of the picture None
        case "html_inline":
            tag = _TAG.match(token.content)
            name = tag.group(1).lower() if tag else ""
            return "\n" if name == "br" else token.content if name and name not in TAGS else ""
    return token.content


def _shown(tag):
    """In a block of HTML, a placeholder such as <url> as text."""
    return tag.group() if tag.group(1).lower() in TAGS else tag.group().replace("<", "&lt;")
