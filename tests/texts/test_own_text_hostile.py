"""Folders as they are: hidden, ignored, generated, damaged and hostile files among the notes."""

import csv
import io
import json
import os
import random
import unicodedata
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_lib.texts import own_text
from course_lib.texts.own_text.passages import LONGEST, Block, clean, passages_of, size
from course_lib.texts.own_text.report import grouped


def zipped(files):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


NESTED = zipped({"../../evil.txt": "evil text", "/abs.txt": "absolute text", "in.zip": b"PK", "bomb.txt": b"a" * 2**27})
RANDOM = random.Random(0)
CONTENTS = {
    "empty": b"",
    "zeros": bytes(1000),
    "random": RANDOM.randbytes(5000),
    "picture": b"\x89PNG\r\n\x1a\n" + RANDOM.randbytes(3000),
    "mark": b"\xff\xfe",
    "cut-utf16": "The boiler is hot.\n".encode("utf-16")[:-1],
    "cut-utf8": "Der Kessel ist heiß".encode()[:-1],
    "mixed": "heiß ".encode() * 3 + "heiß\n".encode("latin-1") + "Ключ.".encode("cp1251"),
    "quotes": b'id,text\n1,"open\n2,"a"b"c\n3,x\n' * 50,
    "half-emoji": b'{"text": "a \\ud83d b"}\n{"text": "\\udc00\\ud800 words"}\n',
    "deep-json": b"[" * 100_000 + b"\n" + b'{"text":' * 10_000,
    "brackets": b"[" * 30_000,
    "stars": b"*a **b " * 3000,
    "ticks": b"".join(b"`" * i + b" " for i in range(100)),
    "quotations": b">" * 2000 + b" x",
    "lists": b"".join(b" " * (2 * i) + b"- a\n" for i in range(150)),
    "divs": b"<div>" * 5000 + b"deep",
    "entities": b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><p>&a; text</p>',
    "include": b".. include:: /etc/passwd\n\n.. csv-table::\n   :file: /etc/passwd\n\nText.\n",
    "long-line": b"word " * 20_000,
    "long-word": b"x" * 100_000,
    "line-ends": b"a\rb\r\r\nc\n\r",
    "escapes": b"\x1b[31mred\x1b[0m text \x07bell\n",
    "unseen": "\u200b\u200c\u200d\ufeff\u2060".encode() * 100,
    "combining": ("a" + "\u0301" * 500).encode(),
    "notebook": json.dumps({"nbformat": 4, "cells": [{"cell_type": "markdown", "source": 5}]}).encode(),
    "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 1 0 R >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF",
    "zip": NESTED,
    "cut-zip": NESTED[:-30],
}


def tree(folder):
    return {p: p.stat().st_size for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("content", CONTENTS)
def test_nothing_is_lost_silently_and_nothing_is_written(tmp_path, content):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "good.txt").write_text("The boiler is hot.\n")
    for ending in (*own_text.ENDINGS, ".zip"):
        (folder / f"bad{ending}").write_bytes(CONTENTS[content])
    before, report = tree(tmp_path), own_text.Report()
    read = list(own_text.passages(folder, progress=False, report=report))
    assert tree(tmp_path) == before
    told = {passage.file for passage in read} | {file for file, _ in (*report.skipped, *report.notes)}
    assert [p for p in map(str, before) if not any(f == p or f.startswith(p + "/") for f in told)] == []
    assert "The boiler is hot." in read and "root:" not in "\n".join(read)
    for passage in read:
        assert passage.text and size(passage) <= LONGEST and passage.encode("utf-8")
        assert all(c.isprintable() or c in "\n\u200c\u200d" for c in passage)


def test_hidden_ignored_and_generated_files_are_left_out_and_named(tmp_path):
    files = {
        "a.md": "The boiler is hot.",
        "._a.md": b"\0\x05\x16\x07",
        ".git/h.txt": "no",
        ".obsidian/x.md": "no",
        "node_modules/p/README.md": "no",
        "env/pyvenv.cfg": "",
        "env/x.txt": "no",
        "cache/CACHEDIR.TAG": "",
        "cache/x.txt": "no",
        "build/x.md": "no",
        "sub/y.tmp.md": "no",
        "sub/keep.tmp.md": "This one is kept.",
        "sub/.gitignore": "!keep.tmp.md\n",
        ".gitignore": "build/\n*.tmp.md\n",
        "photo.JPG": b"\xff\xd8",
        "Makefile": "no",
        "~$draft.docx": b"lock",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    read = own_text.load(tmp_path)
    assert read == ["The boiler is hot.", "This one is kept."]
    skipped = {os.path.relpath(file, tmp_path): why for file, why in read.skipped}
    assert skipped == {
        **dict.fromkeys(("._a.md", ".git", ".obsidian", "~$draft.docx"), "hidden"),
        **dict.fromkeys(("node_modules", "env", "cache"), "a folder of generated files"),
        **dict.fromkeys(("build", "sub/y.tmp.md"), "named in .gitignore"),
        "photo.JPG": ".jpg is of a kind not read here",
        "Makefile": "without an ending, is of a kind not read here",
    }
    assert (4, "hidden", ".git, .obsidian, ._a.md, …") in grouped(read.skipped)


def test_links_and_what_is_no_file(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("A secret.")
    (folder / "a.txt").write_text("A note.")
    for name, target in {"out.txt": "../secret.txt", "up": "..", "loop.txt": "loop.txt", "gone.txt": "x"}.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.txt")
    read = own_text.load(folder)
    assert read == ["A note."]
    assert {os.path.basename(file): why.split(";")[0] for file, why in read.skipped} == {
        "out.txt": "a link that leaves the folder",
        "up": "a link to a folder",
        "loop.txt": "a link to nothing",
        "gone.txt": "a link to nothing",
        "pipe.txt": "not a plain file",
    }
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        own_text.load(folder / "pipe.txt")


@pytest.mark.parametrize(
    "name", ["line\nbreak.txt", "[red]x[bold].txt", "a;b&c $(d).txt", "späti 猫.txt", "x" * 200 + ".txt"]
)
def test_names_are_only_names(tmp_path, name):
    (tmp_path / name).write_text("A note.")
    assert own_text.load(tmp_path)[0].file == str(tmp_path / name)
    assert own_text.printable(name).isprintable()


def test_a_name_that_is_no_text(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w") as file:
        file.write("A note.")
    assert own_text.printable(own_text.load(tmp_path)[0].file).encode()


def test_a_zip_is_read_like_a_folder(tmp_path):
    files = {"b/a.md": "# Guide\n\nThe boiler is hot.", "__MACOSX/a.md": "no", "b/.x.md": "no", "b/p.png": "no"}
    (tmp_path / "a.ZIP").write_bytes(zipped({**files, "deep.zip": b"PK", "bomb.txt": b"a" * 2**27}))
    for path in (tmp_path, tmp_path / "a.ZIP"):
        read = own_text.load(path)
        assert read == ["Guide\nThe boiler is hot."] and read[0].file == f"{tmp_path}/a.ZIP/b/a.md"
        assert sorted(why.partition(":")[0] for _, why in read.skipped) == [
            ".png is of a kind not read here",
            "a folder of generated files",
            "a zip bomb",
            "a zip in a zip; unpack it",
            "hidden",
        ]


def test_a_large_file_is_read_piece_by_piece(tmp_path):
    """The first passage comes while most of the file has not been read."""
    sentence = "The boiler of house number {} is serviced every October by the plumber of the village.\n\n"
    (tmp_path / "a.txt").write_text("".join(sentence.format(i) for i in range(20_000)))
    report = own_text.Report()
    found = own_text.passages(tmp_path, progress=False, report=report)
    assert next(found).endswith("village.") and report.files == 0
    found.close()


@pytest.fixture
def hostile(tmp_path):
    """200 hostile files and one that is good."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "good.md").write_text("# House\n\nThe boiler is hot.\n")
    pairs = [(content, ending) for content in CONTENTS for ending in (*own_text.ENDINGS, ".zip")]
    for number, (content, ending) in enumerate(RANDOM.sample(pairs, 200)):
        (folder / f"[red]{number}\n{content}{ending}").write_bytes(CONTENTS[content])
    return folder


@pytest.mark.slow
def test_commands_survive_hostile_files(hostile, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from course_lib.cli import app

    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    before = tree(hostile)
    for _ in range(2):  # the second time what was kept of them
        search = ["search", "the boiler", "--corpus", str(hostile), "--json", "--encoder", "bm25"]
        result = CliRunner().invoke(app, search)
        assert result.exit_code == 0 and result.exception is None, result.output
        assert json.loads(result.stdout)[0]["text"].startswith("The boiler is hot")  # one of them is cut
        read, said = own_text.load(hostile, progress=False, keep=True), " ".join(result.stderr.split())
        assert f"{read.files:,} files read" in said and "Traceback" not in said
    shown = CliRunner().invoke(app, [*search[:4], "--encoder", "bm25"])
    assert shown.exit_code == 0 and "good.md:3 › House" in " ".join(shown.output.split())
    adapt = ["adapt", str(hostile), str(tmp_path / "out"), "--start", "base", "--steps", "1", "--profile", "smoke"]
    result = CliRunner().invoke(app, adapt)
    assert result.exit_code == 0 and result.exception is None, result.output
    assert tree(hostile) == before and {p.name for p in tmp_path.iterdir()} == {"notes", "cache", "out"}


# --------------------------------------------------------------------------- properties

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=400)
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def words(text):
    return unicodedata.normalize("NFD", "".join(clean(text).split()))


@quick
@given(st.lists(st.tuples(texts, st.booleans(), st.sampled_from([(), ("Guide",), ("Guide", "Tables")]))))
def test_passages_keep_every_word_in_order_and_fit(blocks):
    found = list(passages_of([Block(text, 1, headings, joins) for text, joins, headings in blocks], "a.txt"))
    assert words("".join(p.text for p in found)) == words(" ".join(text for text, _, _ in blocks))
    assert all(p.text and size(p) <= LONGEST for p in found)
    assert all(p.heading in ("", "Guide", "Guide › Tables") for p in found)


@quick
@given(st.text(max_size=300))
def test_clean_text_stays_as_it_is(text):
    assert clean(clean(text)) == clean(text) and clean(text).encode("utf-8") is not None


@quick
@given(texts, st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]))
def test_a_marked_encoding_is_read(tmp_path_factory, text, encoding):
    path, text = tmp_path_factory.mktemp("marked") / "a.txt", clean(f"The text: {text}")
    path.write_bytes(text.encode(encoding))
    assert own_text.load(path, progress=False, unit="paragraph") == [text]


cells = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), include_characters="\n\"',"))


@quick
@given(st.lists(cells, min_size=1, max_size=10))
def test_a_table_that_csv_writes_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "a.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *([i, f"Row: {row}"] for i, row in enumerate(rows))])
    read = own_text.load(path, column="text", progress=False, unit="paragraph")
    assert read == list(dict.fromkeys(clean(f"Row: {row}") for row in rows))
