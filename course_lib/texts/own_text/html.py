"""HTML, by libxml2's parser: the text of a page without its navigation, scripts and code."""

import re
from collections.abc import Iterator

import lxml.etree
import lxml.html

from course_lib.texts.own_text.decoding import Say
from course_lib.texts.own_text.headings import Outline, row_text
from course_lib.texts.own_text.passages import Block

_ENDS = re.compile(r"</(?:body|html)\s*>", re.IGNORECASE)  # the parser would take nothing that comes after
_NO_TEXT = {"script", "style", "head", "nav", "noscript", "template", "svg", "button", "select", "iframe", "object"}
_NO_TEXT |= {"footer", "textarea", "canvas"}
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_ITEMS = {"li", "dt", "dd", "summary", "figcaption", "caption"}
_BLOCKS = {"p", "div", "section", "article", "main", "header", "aside", "blockquote", "address", "pre", "hr", "body"}
_BLOCKS |= {"ul", "ol", "dl", "table", "tr", "td", "th", "form", "fieldset", "details", "figure", "center"}
_BLOCKS |= {*_HEADINGS, *_ITEMS}


def read(text: str, say: Say) -> Iterator[Block]:
    """The blocks of a page; its title is the first heading.

    text: the page's.
    say: is told what was left out.
    """
    outline = Outline(say)
    page = _parsed(text, outline)
    if page is None:
        return
    title = page.findtext(".//title")
    if title:  # it stands above headings of the first level where there are several
        outline.enter(0 if len(page.findall(".//h1")) > 1 else 1, title, 1)
    mains = page.xpath("//main | //*[@role='main']")
    found = list(_walk(mains[0] if len(mains) == 1 else page, outline, 1))
    if not any(block.text.strip() for block in found):  # a page that is one <pre>, as RFCs are
        outline.left_out.discard("code")
        found = list(_walk(page, outline, 1, code=True))
    yield from found
    outline.end()


def blocks(text: str, outline: Outline, line: int = 1) -> Iterator[Block]:
    """The blocks of a piece of HTML inside another document.

    text: the piece.
    outline: the document's.
    line: where the piece begins.
    """
    piece = _parsed(text, outline)
    if piece is not None:
        yield from _walk(piece, outline, line)


def _parsed(text, outline):
    parser = lxml.html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        page = lxml.html.document_fromstring(_ENDS.sub("", text).encode("utf-8", "replace"), parser=parser)
    except lxml.etree.ParserError:  # nothing but comments
        return None
    if any(error.type_name == "ERR_RESOURCE_LIMIT" for error in parser.error_log):
        outline.left_out.add("what is nested more than 2,000 deep")
    return page


def _walk(root, outline, first_line, code=False):
    parts, line = [], first_line  # of the block that is being read
    header, row = [], []

    def flush(tag):
        text = "".join(parts)
        parts.clear()
        if tag in _HEADINGS:
            yield from outline.enter(_HEADINGS[tag], text, line)
        elif text.strip():
            yield outline.block(text, line + len(text) - len(text.lstrip("\n")), continues=tag in _ITEMS)

    walker = lxml.etree.iterwalk(root, events=("start", "end"))
    for event, element in walker:
        tag = element.tag
        if event == "start":
            contents = _is_of_contents(element)
            if contents or _has_no_text(element) or tag == "pre" and not code:
                if contents or tag == "pre":
                    outline.left_out.add("a table of contents" if contents else "code")
                walker.skip_subtree()
                continue
            if tag in _BLOCKS:
                yield from flush("dd" if tag in ("ul", "ol", "dl") else "")
                line = first_line - 1 + (element.sourceline or 1)
            if tag == "table":
                header = []
            elif tag == "tr":
                row = []
            elif tag == "br":
                parts.append("\n")
            parts.append(element.text or "")
            continue
        if tag in ("td", "th"):
            row.append("".join(parts))
            parts.clear()
        elif tag == "tr":
            is_header = not header and len(element) and all(cell.tag == "th" for cell in element)
            header, text = (row, "") if is_header else (header, row_text(header, row))
            if text:
                yield outline.block(text, line, continues=True)
        elif tag in _BLOCKS:
            yield from flush(tag)
        if element is not root:
            parts.append(element.tail or "")
    yield from flush("")


def _is_of_contents(element):
    """Whether it is a link within the page that is all there is of a line, perhaps with a list of such lines below."""
    if element.tag != "a" or not (element.get("href") or "").startswith("#") or (element.tail or "").strip():
        return False
    line = element.getparent()
    if line is None or line.tag not in ("li", "p", "div", "dt") or (line.text or "").strip():
        return False
    return len(line) <= 2 and all(other is element or other.tag in ("ul", "ol") for other in line)


def _has_no_text(element):
    return (
        element.tag in _NO_TEXT
        or element.get("hidden") is not None
        or element.get("role") in ("navigation", "search", "contentinfo")
        or "headerlink" in (element.get("class") or "")
    )
