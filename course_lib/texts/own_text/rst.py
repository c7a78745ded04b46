"""reStructuredText, by docutils. What Sphinx adds to it is read as the text that it holds."""

import re
from collections.abc import Iterator

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives, roles
from docutils.statemachine import StringList

from course_lib.texts.own_text import plain_text
from course_lib.texts.own_text.decoding import Say
from course_lib.texts.own_text.headings import Outline, row_text
from course_lib.texts.own_text.passages import Block

# nothing is included, run or shown; a mistake in the file is no reason to stop
_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 6,
    "doctitle_xform": False,
    "docinfo_xform": False,
    "_disable_config": True,
    "line_length_limit": 2**20,
    "syntax_highlight": "none",
}
_BLANK, _LONGEST = re.compile(r"\n\s*\n"), 10_000  # docutils' time grows with the square of a paragraph
_ROLE = re.compile(r":([a-zA-Z][\w:+.-]*):`")
_DIRECTIVE = re.compile(r"^\s*\.\.\s+([a-zA-Z][\w:+.-]*)::", re.MULTILINE)
_TARGET = re.compile(r"\s*<[^<>]*>$")
_NO_TEXT = (nodes.comment, nodes.target, nodes.substitution_definition, nodes.raw, nodes.system_message, nodes.pending)
_NO_PROSE = {"toctree", "index", "highlight", "currentmodule", "literalinclude", "graphviz", "plot", "ipython"}
_NO_PROSE |= {"testcode", "testoutput", "doctest", "productionlist"}
_ITEMS = (nodes.list_item, nodes.definition_list_item, nodes.field, nodes.option_list_item, nodes.footnote)


def read(text: str, say: Say) -> Iterator[Block]:
    """The blocks of a reStructuredText file; its metadata are no text, and literal blocks are left out.

    text: the file's.
    say: is told what was left out.
    """
    if max(map(len, _BLANK.split(text))) > _LONGEST:
        say(f"it has a paragraph of more than {_LONGEST:,} characters, so it was read as plain text")
        yield from plain_text.read(enumerate(text.split("\n"), 1), None, say)
        return
    _register_unknown(text)
    outline = Outline(say)
    document = publish_doctree(text, settings_overrides=_SETTINGS)
    if document.children and isinstance(document[0], nodes.field_list):
        document.pop(0)
    yield from _walk(document, outline, 0, False)
    outline.end()


class _Sphinx(Directive):
    """A directive that docutils does not know: what it holds is text like any other."""

    has_content, optional_arguments, final_argument_whitespace = True, 1, True
    option_spec = type("Any", (dict,), {"__getitem__": lambda *_: str, "__bool__": lambda _: True})()

    def run(self):
        held = nodes.Element()
        if self.name.lower() not in _NO_PROSE:
            said = StringList("\n".join(self.arguments).split("\n"), source="")
            self.state.nested_parse(said, self.lineno - 1, held)
            self.state.nested_parse(self.content, self.content_offset, held)
        return held.children


def _role(name, rawtext, text, lineno, inliner, options=None, content=None):
    return [nodes.inline(rawtext, _TARGET.sub("", text).lstrip("~!"))], []


def _register_unknown(text):
    for name in set(_ROLE.findall(text)):
        if name.lower() not in roles._role_registry and name.lower() not in roles._roles:
            roles.register_local_role(name, _role)
    for name in {n.lower() for n in _DIRECTIVE.findall(text)}:
        if name not in directives._directive_registry and name not in directives._directives:
            directives.register_directive(name, _Sphinx)


def _walk(node, outline, level, continues):
    for child in node.children:
        line = child.line or getattr(child.parent, "line", None) or 1
        if isinstance(child, _NO_TEXT):
            continue
        if isinstance(child, nodes.title):
            yield from outline.enter(level, child.astext(), line)
        elif isinstance(child, (nodes.literal_block, nodes.doctest_block, nodes.math_block)):
            outline.left_out.add("code")
        elif isinstance(child, nodes.table):
            yield from _table(child, outline)
        elif isinstance(child, nodes.TextElement):
            yield outline.block(child.astext(), line, continues)
        else:
            deeper = level + isinstance(child, nodes.section)
            yield from _walk(child, outline, deeper, continues or isinstance(child, _ITEMS))


def _table(table, outline):
    header = []
    for row in table.findall(nodes.row):
        cells = [entry.astext() for entry in row.children]
        if isinstance(row.parent, nodes.thead) and not header:
            header = cells
        else:
            yield outline.block(row_text(header, cells), row.line or table.line or 1, continues=True)
