"""Turn docstrings into English prose: find the sections, remove the markup, split the text into sentences."""

import inspect
import re
from dataclasses import dataclass, field

# --------------------------------------------------------------------------- sections

_UNDERLINE = re.compile(r"^\s*([-=~^*#`\"'])\1{2,}\s*$")
_COLON_HEADING = re.compile(
    r"^(args|arguments|parameters?|params?|keyword args|keyword arguments|kwargs|other parameters|returns?|"
    r"yields?|raises?|examples?|example usage|notes?|references?|see also|attributes?|methods?|shape|shapes|"
    r"inputs?|outputs?|warnings?|usage|explanation|tips?)\s*:{1,2}$",
    re.IGNORECASE,
)
_LISTED = frozenset(
    "parameters|parameter|params|param|other parameters|args|arguments|keyword args|keyword arguments|kwargs|"
    "attributes|attribute|returns|return|yields|inputs|input".split("|")
)
_PROSE = frozenset(["", "notes", "note", "warnings", "warning", "explanation", "tips", "tip"])


@dataclass
class Docstring:
    """The parts of a docstring as prose. A paragraph is a list of sentences.

    summary: the first paragraph.
    description: the paragraphs after the summary, and the notes.
    details: what the parameters and results mean.
    see_also: the names listed under See Also.
    """

    summary: list[str] = field(default_factory=list)
    description: list[list[str]] = field(default_factory=list)
    details: list[list[str]] = field(default_factory=list)
    see_also: list[str] = field(default_factory=list)


def _sections(text):
    """Yield (heading in lower case, its lines, whether it was underlined) in order; the first heading is ''."""
    lines = inspect.cleandoc(text).expandtabs(4).splitlines()
    heading, block, underlined, i = "", [], False, 0
    while i < len(lines):
        line, following = lines[i], lines[i + 1] if i + 1 < len(lines) else ""
        can_be_heading = line.strip() and not line.startswith(" ")
        if can_be_heading and (_UNDERLINE.match(following) or _COLON_HEADING.match(line.strip())):
            yield heading, block, underlined
            heading, block, underlined = line.strip().rstrip(":").lower(), [], bool(_UNDERLINE.match(following))
            i += 2 if underlined else 1
        else:
            block.append(line)
            i += 1
    yield heading, block, underlined


def _indent(line):
    return len(line) - len(line.lstrip())


_PROSE_DIRECTIVE = re.compile(r"\.\.\s+(note|warning|tip|important|caution|attention)(?=[\s:]|$)")


def _without_blocks(lines):
    """Drop doctests, literal blocks, tables, fenced code and directives without prose."""
    kept, skip_deeper_than, fenced, in_doctest = [], None, False, False
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("```"):
            fenced = not fenced
            continue
        if fenced:
            continue
        if in_doctest:
            in_doctest = bool(stripped)
            continue
        if skip_deeper_than is not None:
            if not stripped:
                kept.append("")
                continue
            if _indent(line) > skip_deeper_than:
                continue
            skip_deeper_than = None
        if stripped.startswith((">>>", "In [", "... ")):
            in_doctest = True
            kept.append("")
            continue
        if stripped.startswith(".. "):
            kept.append("")
            if _PROSE_DIRECTIVE.match(stripped):
                kept.append(" " * _indent(line) + stripped.split("::", 1)[-1].strip())
            else:
                skip_deeper_than = _indent(line)
            continue
        if re.search(r"[-=]{4,}|^\||\+--|\|\s.*\|", stripped) or re.fullmatch(r"[-=~*_+| .]{3,}", stripped):
            kept.append("")  # a row or rule of a table
            continue
        if stripped.endswith("::"):
            skip_deeper_than = _indent(line)
            line = line.rstrip()[:-2].rstrip() + ":"
        kept.append(line)
    return kept


_LIST_ITEM = re.compile(r"^\s*([-*+•]|\(?\d{1,2}[.)]|\(?[a-z]\))\s+")


def _paragraphs(lines):
    """Join lines into paragraphs. A blank line, a list item or a smaller indentation starts a new paragraph."""
    paragraph, indent = [], None
    for line in [*lines, ""]:
        starts_item = bool(_LIST_ITEM.match(line))
        if paragraph and (not line.strip() or starts_item or (indent is not None and _indent(line) < indent)):
            yield " ".join(paragraph)
            paragraph = []
        if line.strip():
            if not paragraph:
                indent = _indent(line) if not starts_item else _indent(line) + 1
            paragraph.append(_LIST_ITEM.sub("", line).strip())


_GOOGLE_PARAMETER = re.compile(r"^[*`]{0,2}[\w.]+[*`]{0,2}(\s*\([^)]*\)(, \*optional\*[^:]*)?)?\s*:\s+")


def _entries(lines, numpydoc):
    """The descriptions of a parameter list, without names and types.

    numpydoc puts "name : type" on a line of its own and indents the description. Google style puts both on one line.
    """
    filled = [line for line in lines if line.strip()]
    base = min(map(_indent, filled), default=0)
    if numpydoc and all(_indent(line) == base and " : " not in line for line in filled):
        return lines  # plain sentences, as in some Returns sections
    body = []
    for line in lines:
        if not line.strip() or _indent(line) > base:
            body.append(line)
            continue
        body.append("")
        google = _GOOGLE_PARAMETER.sub("", line.strip())
        if not numpydoc and google != line.strip():
            body.append(" " * (base + 4) + google)
        elif line.strip().endswith(".") and " : " not in line and line.count(" ") > 4:
            body.append(line)
    return body


_SEE_ALSO_NAMES = re.compile(r"^(?::\w+:)?`?~?\.?([\w.]+)`?\s*(?:,|:|$)")


def _see_also_names(lines):
    filled = [line for line in lines if line.strip()]
    base = min(map(_indent, filled), default=0)
    heads = [line.strip().lstrip("-* ").split(" : ")[0] for line in filled if _indent(line) == base]
    pieces = [piece.strip() for head in heads for piece in head.split(",")]
    matches = [_SEE_ALSO_NAMES.match(piece if " " in piece else piece + " :") for piece in pieces]
    return [match.group(1) for match in matches if match and not match.group(1).endswith(".")]


# --------------------------------------------------------------------------- inline markup

_INLINE = [
    (re.compile(r":math:`[^`]*`|\$\$?[^$]+\$\$?"), " \x00 "),  # a formula; the sentence that contains it is dropped
    (re.compile(r"\[\d+\]_|\[[\w#*]+\]_|\|[\w ]+\|_?"), ""),
    (re.compile(r":[\w:+-]+:`([^`<]+?)\s*<[^>]*>`"), r"\1"),
    (re.compile(r":[\w:+-]+:`~(?:[\w.]*\.)?(\w+)`"), r"\1"),
    (re.compile(r":[\w:+-]+:`([^`]*)`"), r"\1"),
    (re.compile(r"\[`?([^\]`]+)`?\]\([^)]*\)"), r"\1"),  # Markdown link
    (re.compile(r"\[`~?([\w.]+)`\]"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^>]*>`__?"), r"\1"),
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`([^`]*)`_{0,2}"), r"\1"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"(?<!\w)\*([^*\s][^*]*)\*(?!\w)"), r"\1"),
    (re.compile(r"<[^<>\s][^<>]*>"), " "),
    (re.compile(r"%\(\w+\)\w"), " \x00 "),  # a template's placeholder
    (re.compile(r"(?<!\w)\{[\w.]+\}"), " \x00 "),
    (re.compile(r"https?://\S+"), " \x00 "),
    (re.compile(r"\s+"), " "),
    (re.compile(r"\s+([.,;:!?])"), r"\1"),
]


def plain(text: str) -> str:
    """Remove reStructuredText, Markdown and template markup.

    text: any text with markup.
    Returns the text in one line; a formula, a link or a placeholder leaves the mark \\x00.
    """
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text.strip()


# --------------------------------------------------------------------------- sentences

_ABBREVIATIONS = re.compile(
    r"\b(e\.g|i\.e|etc|cf|vs|resp|approx|Eq|Eqs|Fig|Ref|Refs|Sec|Ch|Dr|Mr|al|no|vol|pp|ed|[A-Z])\.$"
)
_BOUNDARY = re.compile(r"(?<=[.!?])[\")']?\s+(?=[A-Z\"'(\[]|\d)")
_UNFINISHED = frozenset(
    "the a an of to in is are be by for with and or if we that as have where which from than such when given".split()
)
_OPENER = re.compile(r"(The|This|These|If|It|In|When|For|Note|Must|Should|Only|Default|Defaults|Whether|Each|By)\b")
_FUNCTION_WORDS = frozenset(
    "a an the of to in is are be by for with on at as from and or if when whether this that these it its which can "
    "will not no than then into has have may must should was were only each all any between such using used".split()
)
# what never occurs in an English sentence: markup, operators, calls, names with underscores or several dots
_ODD = re.compile(
    r"[\x00{}\\|<>=_@#~^*$&+`\[\]]|\.\.\.|->|\(\)|::|\w\((?!e?s\))|\w\.\w+\.\w|--|:$|"
    r":(param|type|returns?|rtype)\b"
)
# a type from a parameter list that still precedes its description: "Bool, default True If true, …", "Int The order …"
_TYPE_LEFT = re.compile(
    r"^(Bool(ean)?|Int(eger)?|Float|Str(ing)?|Array([-_]like)?|Nd-?array|Callable|Dict(ionary)?|Object|Scalar|Number|"
    r"(List|Tuple|Sequence|Array|Iterable|Set|Ndarray|Matrix|Dict) of [\w-]+|List|Tuple|Sequence|Iterable|DataFrame|"
    r"Series|Tensor|Optional|Expr|Symbol|Function|Ignored|None|Path|Index)s?"
    r"(,? (default:?( to)? \S+|optional|or [\w-]+|of (shape |type )?[\w-]+|\([^)]*\)))*,? (?=[A-Z][a-z]+ )"
)
# an entry or a section that starts inside a paragraph: "Key (tuple): a tuple of …", "Returns: a list of …"
_ENTRY_LEFT = re.compile(
    r"^(\w+ \([^)]*\)|(Param(eter)?s?|Arg(ument)?s?|Returns?|Raises|Yields|Examples?|References)): "
)
_NOTE_TO_SELF = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# two sentences that were not split: "… equal rank. pivot: uses …"
_UNCUT = re.compile(r"[a-z]{4,}\. +[a-z]|[!?;:,]{2,}|[a-z]\.[A-Z]")
# a sentence that lost a reference or a formula: "produced by.", "defined in which …"
_BROKEN = re.compile(
    r"\b(by|see|the|and|or|as|an|than|is|are|that|if|we)\.$|"
    r"\b(defined|described|proposed|presented|given|introduced|found|shown) (in|by) "
    r"(which|and|to|for|is)\b|\(\s*[,;.)]| \."
)
_IDENTIFIER = re.compile(r"\b(?=\w*(_|\.\w+\.))[A-Za-z][\w.]*\w\b")
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")


def split_sentences(text: str) -> list[str]:
    """Split a paragraph into sentences, without splitting at abbreviations and decimals.

    text: plain text without markup, see `plain`.
    Returns the sentences in order, without surrounding blanks.
    """
    pieces, start = [], 0
    for match in _BOUNDARY.finditer(text):
        if not _ABBREVIATIONS.search(text[start : match.start()].rstrip("\"')")) or _OPENER.match(text[match.end() :]):
            pieces.append(text[start : match.end()].strip())
            start = match.end()
    pieces.append(text[start:].strip())
    return [p for p in pieces if p]


def sentences_of_lines(text: str) -> list[str]:
    """The sentences of a passage, as they stand there; no sentence goes over the end of a line, as of a list's item."""
    return [sentence for line in text.split("\n") for sentence in split_sentences(line)]


def is_prose(sentence: str, names: int = 0) -> bool:
    """Whether a sentence reads as English: it starts and ends like a sentence, and has mostly words and no symbols.

    sentence: one sentence, not empty.
    names: number of identifiers such as from_pretrained that a sentence of at least 12 words may mention; default 0.
    Returns True for English prose.
    """
    if len(sentence) > 400 or not sentence[0].isupper() or sentence[-1] not in ".!?":
        return False
    tokens = sentence.split()
    readable = _IDENTIFIER.sub("name", sentence, count=names) if names and len(tokens) >= 12 else sentence
    if not 5 <= len(tokens) <= 60 or _ODD.search(readable) or _UNCUT.search(readable) or _BROKEN.search(sentence):
        return False
    unpaired = sentence.count("(") != sentence.count(")") or sentence.count('"') % 2
    if unpaired or _TYPE_LEFT.match(sentence) or _ENTRY_LEFT.match(sentence) or _NOTE_TO_SELF.search(sentence):
        return False
    words = _WORD.findall(sentence)
    mostly_letters = sum(map(len, words)) >= 0.74 * len(sentence.replace(" ", ""))
    mostly_words = sum(t.strip(".,;:()'\"").replace("-", "").isalpha() for t in tokens) >= 0.75 * len(tokens)
    has_function_words = sum(w.lower() in _FUNCTION_WORDS for w in words) >= max(1, len(words) // 10)
    few_capitals = sum(w[0].isupper() for w in words[1:]) <= max(2, 0.4 * len(words))
    return mostly_letters and mostly_words and has_function_words and few_capitals


def prose(paragraph: str, names: int = 0) -> list[str]:
    """The sentences of a paragraph that read as English.

    paragraph: text with markup.
    names: number of identifiers that a long sentence may mention, see `is_prose`; default 0.
    Returns the sentences in order, without markup.
    """
    return [s for s in split_sentences(plain(paragraph)) if is_prose(s, names)]


def parse_docstring(text: str) -> Docstring:
    """Split a docstring into its summary, description, details and See Also names.

    text: the raw docstring in numpydoc, Google or plain style.
    Returns a Docstring whose sentences all pass `is_prose`; no paragraph contains text of the See Also section.
    """
    doc = Docstring()
    for heading, lines, underlined in _sections(text):
        if heading == "see also":
            doc.see_also += _see_also_names(lines)
            continue
        lines = _without_blocks(lines)
        if heading in _LISTED:
            for paragraph in _paragraphs(_entries(lines, underlined)):
                # entries often start in lower case and have no full stop
                doc.details += [s for s in [prose(_as_sentence(paragraph))] if s]
        elif heading in _PROSE:
            for paragraph in _paragraphs(lines):
                if heading == "" and not doc.summary and not doc.description:
                    # a summary that mentions an identifier is better than none
                    doc.summary = prose(_as_sentence(paragraph)) or prose(_as_sentence(paragraph), names=1)
                elif sentences := prose(paragraph):
                    doc.description.append(sentences)
    if doc.details and not doc.summary and not doc.description:
        doc.summary = _title(text)
    return doc


def _title(text):
    """The first line as a sentence if it is a plain phrase, such as "Singular Value Decomposition"."""
    line = _as_sentence(plain(inspect.cleandoc(text).split("\n", 1)[0]))
    words = line.rstrip(".").split()
    return [line] if 3 <= len(words) <= 12 and all(w.replace("-", "").isalpha() for w in words) else []


def _as_sentence(paragraph):
    """Add the capital letter and the full stop, unless the phrase starts with code or is unfinished."""
    paragraph = paragraph.strip()
    first, last = paragraph.partition(" ")[0], paragraph.rpartition(" ")[2]
    if first.rstrip(",:;").isalpha() or "-" in first:
        paragraph = paragraph[0].upper() + paragraph[1:]
    return paragraph + "." if last[-1:].isalnum() and last not in _UNFINISHED else paragraph
