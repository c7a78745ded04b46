"""How the text of public packages is read: one function per format, from the bytes of a file to English sentences."""

import ast
import json
import re
import warnings
from collections.abc import Iterator

import lxml.etree
import lxml.html
import yaml

from course_lib.texts.prose import parse_docstring, prose

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first is ten times as fast, and not everywhere

Sentences = Iterator[list[str]]  # of one documented object, page or entry at a time


def read_python(source: bytes) -> Sentences:
    """The docstrings of a Python file, and the descriptions in the YAML of an Ansible module."""
    try:
        with warnings.catch_warnings(action="ignore"):  # other people's invalid escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, documented) and (text := ast.get_docstring(node, clean=False)):
            doc = parse_docstring(text)
            yield [s for paragraph in (doc.summary, *doc.description, *doc.details) for s in paragraph]
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            yield _read_ansible(node.value)


_ANSIBLE_MARKUP = re.compile(r"\b[A-Z]\(([^),]*)[^)]*\)")  # C(code), L(text, address)


def _read_ansible(value):
    try:
        descriptions = list(_descriptions(yaml.load(ast.literal_eval(value), _YAML)))
    except (ValueError, TypeError, AttributeError, yaml.YAMLError):  # made while it runs, or no YAML
        return []
    return _prose_of(_ANSIBLE_MARKUP.sub(r"\1", description) for description in descriptions)


def _descriptions(tree):
    """Every description in a tree of dicts and lists, such as JSON and YAML hold; some are lists of paragraphs."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key in ("documentation", "description", "notes"):
            yield from (text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))
        if isinstance(value, dict | list):
            yield from _descriptions(value)


def read_api(source: bytes) -> Sentences:
    """The descriptions in the JSON of a web service's interface."""
    for description in _descriptions(json.loads(source)):
        yield from read_html(description.encode())


_BLOCKS = frozenset("p div li ul ol dl dt dd td th tr table blockquote section article h1 h2 h3 h4 h5 h6 br".split())
_NO_TEXT = ("script", "style", "pre", "head", "nav", "noscript", "footer", "info", "screen", "programlisting")
_MARK = "\u2029"  # a paragraph's end; HTML has no use for this character
_PARSER = lxml.html.HTMLParser(encoding="utf-8")


def read_html(source: bytes) -> Sentences:
    """A page of HTML, or of GNOME's Mallard, which has the same paragraphs."""
    try:
        tree = lxml.html.document_fromstring(source, parser=_PARSER)
    except lxml.etree.ParserError:  # an empty page
        return
    lxml.etree.strip_elements(tree, *_NO_TEXT, with_tail=False)
    for element in tree.iter(*_BLOCKS):
        element.text = _MARK + (element.text or "")
        element.tail = _MARK + (element.tail or "")
    yield _prose_of(tree.text_content().split(_MARK))


def read_text(source: bytes) -> Sentences:
    """Plain text and reStructuredText, with an empty line between two paragraphs."""
    yield _prose_of(re.split(r"\n\s*\n", source.decode("utf-8", "ignore")))


_BRACKETED = re.compile(r"\[[^\]]*\]|[{}]")
_HEADWORD = re.compile(r"^(\w[^\\\n]*?) \\.*$", re.MULTILINE)  # of GCIDE, with its pronunciation: Absent \Ab"sent\, a.
_NUMBER = re.compile(r"^\s*(?:\d+\.|\([a-z]\)) ", re.MULTILINE)


def read_dictionary(source: bytes) -> Sentences:
    """A dictionary of the dict server, an empty line between two entries or meanings."""
    text = _BRACKETED.sub("", source.decode("utf-8", "ignore"))
    for entry in re.split(r"\n\s*\n", _NUMBER.sub("", _HEADWORD.sub(r"\1:", text))):
        yield _prose_of([entry])


_FONT = re.compile(r"\.(?:B|I|BR|IR|RB|RI|BI|IB|SB|SM) (.*)")  # macros whose arguments are words of the text
_ESCAPES = ((r"\\f(?:\(..|\[\w*\]|.)|\\[&|^%/,:]|\\s[-+]?\d", ""), (r"\\\*\(C[`']", ""), (r"\\-", "-"), (r"\\e", r"\\"))
_ESCAPES += ((r"\\\((?:aq|cq)", "'"), (r"\\\([lr]q|\\\*\([LR]\"", '"'), (r"\s?\(\d\w*\)", ""), (r"\\\(..", ""))


def read_man(source: bytes) -> Sentences:
    """A manual page in roff's macros."""
    paragraphs = [[]]
    for line in source.decode("utf-8", "ignore").splitlines():
        if font := _FONT.match(line):
            line = re.sub(r'"([^"]*)"', r"\1", font.group(1))
            line = re.sub(r" ([.,;:)])", r"\1", line)
        if not line.strip() or line.startswith((".", "'")):
            paragraphs.append([])
        else:
            paragraphs[-1].append(line)
    texts = [" ".join(lines) for lines in paragraphs]
    for pattern, replacement in _ESCAPES:
        texts = [re.sub(pattern, replacement, text) for text in texts]
    yield _prose_of(texts)


def read_wordnet(source: bytes) -> Sentences:
    """A data file of WordNet: the words of each set of synonyms, and what they mean."""
    for line in source.decode("utf-8", "ignore").splitlines():
        if not line.startswith("  "):  # the licence
            fields, _, gloss = line.partition("|")
            fields = fields.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            yield [f"{', '.join(words).replace('_', ' ')}: {gloss.strip()}"]


def _prose_of(paragraphs):
    return [s for paragraph in paragraphs if paragraph.strip() for s in prose(" ".join(paragraph.split()))]


FORMATS = {
    "python": read_python,
    "api": read_api,
    "html": read_html,
    "text": read_text,
    "dictionary": read_dictionary,
    "man": read_man,
    "wordnet": read_wordnet,
}
