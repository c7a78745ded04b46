"""Read your own text as training text: a file of lines or paragraphs, a column of a table, a folder of notes."""

import csv
import io
import json
import re
from pathlib import Path

from course_lib.texts.prose import plain, split_sentences

TABLES = (".csv", ".tsv", ".jsonl")
NOTES = (".txt", ".md")
_READ = f"{', '.join((*NOTES, *TABLES))}, or a folder of {' and '.join(NOTES)} files"
_UNITS = ("line", "paragraph", "sentence")


def load(path: str | Path, column: str | None = None, unit: str | None = None) -> list[str]:
    """Load the texts of a file or folder, as `train` and the objectives take them.

    path: a .txt or .md file, a folder of such files (including subfolders), or a .csv, .tsv or .jsonl table.
    column: the column of the table (field of the .jsonl) that holds the text.
    unit: what one text is: "line", "paragraph" or "sentence". By default a row of a table is one text, and a file is
        split into paragraphs if it has blank lines, else into lines.
    Returns the distinct texts in order.
    Raises FileNotFoundError where the path does not exist, ValueError where it does not fit; both say what to change.
    """
    path = Path(path).expanduser()
    if unit not in (None, *_UNITS):
        raise ValueError(f"`unit` is {unit!r}; it is one of {', '.join(_UNITS)}")
    if not path.exists():
        raise FileNotFoundError(f"`path` {str(path)!r} does not exist (the current folder is {str(Path.cwd())!r})")
    if path.suffix in TABLES and path.is_file():
        texts = [piece for text in _column(path, column) for piece in (_pieces(text, unit) if unit else [text])]
    elif column is not None:
        raise ValueError(f"`column` {column!r} needs a table ({', '.join(TABLES)}), not {path.name!r}; leave it out")
    else:
        texts = [piece for file in _notes(path) for piece in _pieces(_note(file), unit)]
    texts = list(dict.fromkeys(" ".join(t.split()) for t in texts if t.strip()))
    if not texts:
        raise ValueError(f"`path` {str(path)!r} holds no text: it is empty, or all blank")
    return texts


def _notes(path):
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in NOTES and p.is_file())
        if not files:
            raise ValueError(f"`path` {str(path)!r} is a folder without a {' or '.join(NOTES)} file")
        return files
    if path.suffix not in NOTES:
        raise ValueError(f"`path` {path.name!r} is of a kind not read here; give {_READ}")
    return [path]


def _note(file):
    """A file's text; Markdown without code, heading marks and link targets."""
    text = read_text(file)
    if file.suffix == ".md":
        text = re.sub(r"^(```|~~~).*?^\1[^\n]*$", "", text, flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"^(#+|>|[-*+]|\d+\.)\s+", "", text, flags=re.MULTILINE)
        text = "\n".join(plain(line).replace("\x00", " ") for line in text.split("\n"))
    return text


def _pieces(text, unit):
    paragraphs = re.split(r"\n\s*\n", text.strip())
    if unit == "line" or unit is None and len(paragraphs) == 1:
        return text.split("\n")
    if unit == "sentence":
        return [s for paragraph in paragraphs for s in split_sentences(" ".join(paragraph.split()))]
    return paragraphs


def _column(path, column):
    rows = read_rows(path)
    columns = dict.fromkeys(name for _, row in rows for name in row if name)
    if column is None:
        raise ValueError(f"`column` is missing: which of {path.name!r} holds the text? It has {', '.join(columns)}")
    if column not in columns:
        raise ValueError(f"`column` {column!r} is not in {path.name!r}; it has {', '.join(columns)}")
    for line, row in rows:
        if row.get(column) is not None and not isinstance(row[column], str):
            raise ValueError(f"{path.name!r}, line {line}: column {column!r} holds {row[column]!r}, which is not text")
    return [row[column] for _, row in rows if row.get(column)]


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    path: the file.
    Returns its text with "\\n" at the end of lines.
    Raises ValueError, with the position of the first byte that is not UTF-8.
    """
    raw = Path(path).read_bytes()
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        where = f"byte 0x{raw[error.start]:02x} at position {error.start} (line {line})"
        fix = "save it as UTF-8 in an editor, or convert it: iconv -f WINDOWS-1252 -t UTF-8 old > new"
        raise ValueError(f"{str(path)!r} is not UTF-8: {where}; {fix}") from None


def read_rows(path: str | Path) -> list[tuple[int, dict]]:
    """Read the rows of a table.

    path: a .csv, .tsv or .jsonl file.
    Returns [(line number, {column: value})].
    Raises ValueError, with the line that cannot be read.
    """
    path, text = Path(path), read_text(path)
    if not text.strip():
        raise ValueError(f"{str(path)!r} is empty")
    if path.suffix == ".jsonl":
        return [(i, _json_object(path, i, line)) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    csv.field_size_limit(2**27)  # a text may be longer than the 128 KiB that the module allows
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{str(path)!r}, line {reader.line_num}: {error}") from None


def _json_object(path, number, line):
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{str(path)!r}, line {number} is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f'{str(path)!r}, line {number} is not a JSON object such as {{"text": "…"}}')
    return row
