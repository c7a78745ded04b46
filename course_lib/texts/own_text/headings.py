"""What the readers of structured documents share: where a block stands, and how a row of a table reads."""

import re
from collections.abc import Sequence

from course_lib.texts.own_text.decoding import Say
from course_lib.texts.own_text.passages import Block, clean, is_heading

# what Jekyll, Hugo, Obsidian and Pandoc take for metadata: YAML between lines of ---, TOML between lines of +++
_METADATA = re.compile(
    r"""\A(?:---[ \t]*\n(?=[\w"'#])(?:[ \t]+.*\n|\n|[#\]}].*\n|-[ \t].*\n|[^\s:#-][^\n:]*:.*\n)*(?:---|\.\.\.)"""
    r"""|\+\+\+[ \t]*\n(?=[\w"'#\[])(?:(?!\+\+\+).*\n)*?\+\+\+)[ \t]*(?:\n|\Z)"""
)
_TITLE = re.compile(r"""^title\s*[:=][ \t]*["']?(.*?)["']?[ \t]*$""", re.MULTILINE | re.IGNORECASE)


def metadata(text: str) -> tuple[str, int]:
    """(the title in a text's metadata or "", how many lines the metadata take)."""
    found = _METADATA.match(text)
    title = found and _TITLE.search(found.group())
    return title.group(1) if title else "", found.group().count("\n") if found else 0


class Outline:
    """The headings that what comes next stands under.

    say: is told at the end what was left out; readers add to `left_out`.
    """

    def __init__(self, say: Say):
        self.say, self.path, self.used, self.left_out = say, [], True, set()

    def enter(self, level: int, text: str, line: int) -> list[Block]:
        """A heading begins; one too long to be a heading is returned as a block of text."""
        text = clean(text)
        if not is_heading(text):
            return [self.block(text, line)]
        if not text:
            return []
        if self.path and not self.used and level <= self.path[-1][0]:
            self.left_out.add("a heading without a text below it")
        self.path = [(above, title) for above, title in self.path if above < level] + [(level, text)]
        self.used = False
        return []

    def block(self, text: str, line: int, continues: bool = False) -> Block:
        """A block under these headings."""
        self.used = self.used or bool(text.strip())
        return Block(text, line, tuple(title for _, title in self.path), continues)

    def end(self) -> None:
        """Say what was left out."""
        if not self.used:
            self.left_out.add("a heading without a text below it")
        for what in sorted(self.left_out):
            self.say(f"left out: {what}")


def row_text(header: Sequence[str], cells: Sequence[str]) -> str:
    """A row of a table as text that is understood without the table: "Tier: Pro; Price: $20"."""
    cells = [clean(cell) for cell in cells]
    names = (clean(name) for name in (*header, *[""] * len(cells)))
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in zip(names, cells) if cell)
