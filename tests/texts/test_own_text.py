"""A learner's own text, in every form it may have, and what is said when it has another."""

import json
import pickle
import textwrap

import pytest

from course_lib.texts import own_text


@pytest.fixture
def real(docs):
    """A few real texts, one with a comma, one with quotes."""
    texts = [d.summary for d in docs.documents if d.summary]
    return [*texts[:20], next(t for t in texts if "," in t), next(t for t in texts if '"' in t)]


def test_one_text_a_line(tmp_path, real):
    (tmp_path / "lines.txt").write_text("\n".join(real) + "\n", encoding="utf-8")
    assert own_text.load(tmp_path / "lines.txt") == list(dict.fromkeys(real))


def test_paragraphs_where_there_are_blank_lines(tmp_path, real):
    wrapped = [text.replace(" ", "\n", 1) for text in real]
    (tmp_path / "book.txt").write_text("\n\n".join(wrapped), encoding="utf-8")
    assert own_text.load(tmp_path / "book.txt") == list(dict.fromkeys(real))
    assert own_text.load(tmp_path / "book.txt", unit="line")[0] == real[0].split(" ", 1)[0]


def test_sentences(tmp_path):
    (tmp_path / "book.txt").write_text("This is one, e.g. here. This is\ntwo.\n\nAnd three.\n")
    sentences = own_text.load(tmp_path / "book.txt", unit="sentence")
    assert sentences == ["This is one, e.g. here.", "This is two.", "And three."]


@pytest.mark.parametrize("suffix, separator", [(".csv", ","), (".tsv", "\t")])
def test_a_column_of_a_table(tmp_path, real, suffix, separator):
    import csv

    with open(tmp_path / f"table{suffix}", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows([["id", "text"], *enumerate(real)])
    assert own_text.load(tmp_path / f"table{suffix}", column="text") == list(dict.fromkeys(real))


def test_a_field_of_json_lines(tmp_path, real):
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"id": i, "body": t}) for i, t in enumerate(real)))
    assert own_text.load(tmp_path / "rows.jsonl", column="body") == list(dict.fromkeys(real))


def text_of(path, content, **options):
    """What is read of a file with this content: the texts without their headings."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [passage.text for passage in own_text.load(path, progress=False, **options)]


def test_a_folder_of_notes(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a.md").write_text(
        "# The title\n\nSee [the guide](page.html) for it.\n\n```python\nx = 1\n```\n\n- An item.\n- Another.\n"
    )
    (tmp_path / "deeper" / "b.txt").write_text("The second file.\n")
    (tmp_path / "c.py").write_text("not = 'a note'\n")
    read = own_text.load(tmp_path)
    assert read == ["The title\nSee the guide for it.\nAn item.\nAnother.", "The second file."]
    assert [(p.text, p.heading, p.line) for p in read][0] == (read[0].split("\n", 1)[1], "The title", 3)
    assert [p.file for p in read] == [str(tmp_path / "a.md"), str(tmp_path / "deeper" / "b.txt")]
    assert read.skipped == [(str(tmp_path / "c.py"), ".py is of a kind not read here")] and read.files == 2
    assert read.notes == [(str(tmp_path / "a.md"), "left out: fenced code")]


def test_the_column_that_holds_text_is_taken(tmp_path):
    table = "id,kind,text\nA-1,bug,the printer is on fire\nA-2,wish,a larger printer for us\n"
    assert text_of(tmp_path / "t.csv", table) == ["the printer is on fire", "a larger printer for us"]
    with pytest.raises(ValueError, match="`column` is missing.*It has question, answer"):
        text_of(tmp_path / "t.csv", "question,answer\nwhy does it burn,because it is hot\n")


@pytest.mark.parametrize(
    "text",
    [
        "costs $119 per technician per month, billed annually, or $143 per technician monthly",
        "temperature <5 degrees and pressure >3 bar",
        "git clone <url> into {folder}, then see <https://a.b/c_d>",
        "2 * 3 * 4 and a_b_c and %(name)s and 5 | 6 and C:\\dir",
    ],
)
@pytest.mark.parametrize("ending", [".md", ".txt", ".jsonl"])
def test_prose_is_unchanged(tmp_path, text, ending):
    content = json.dumps({"text": text}) if ending == ".jsonl" else text
    assert text_of(tmp_path / f"a{ending}", content) == [text.replace("<https://a.b/c_d>", "https://a.b/c_d")] or (
        ending != ".md" and text_of(tmp_path / f"a{ending}", content) == [text]
    )


TABLE = "# Prices\n\n| Tier | Price |\n| --- | --- |\n| Pro | $20 | extra |\n| **Free** | |\n"


def test_a_row_of_a_table_is_understood_without_its_header(tmp_path):
    rows = ["Tier: Pro; Price: $20; extra\nTier: Free"]
    assert text_of(tmp_path / "a.md", TABLE) == rows
    html = "<table><tr><th>Tier<th>Price<tr><td>Pro<td>$20<td>extra<tr><td><b>Free</b><td></table>"
    assert text_of(tmp_path / "a.html", html) == rows


@pytest.mark.parametrize(
    "markdown, texts",
    [
        ("```\ncode\n ```\n\nProse.\n", ["Prose."]),
        ("````\n```\ncode\n```\n````\nProse.\n", ["Prose."]),
        ("~~~\ncode\n```\n~~~\nProse.\n", ["Prose."]),
        ("Prose.\n\n- item\n\n  ```\n  code\n  ```\n\n  More.\n", ["Prose.\nitem\nMore."]),
        ("\\*no\\* &amp; `co*de*` **b** ~~s~~ ![alt](x)\n", ["*no* & co*de* b s alt"]),
        ("Setext\n======\n\nProse  \nbroken<br>here\n", ["Prose broken here"]),
        ("[![](a.svg)](b) ![](c) Prose.\n", ["Prose."]),
    ],
)
def test_markdown_is_read_as_commonmark_says(tmp_path, markdown, texts):
    assert text_of(tmp_path / "a.md", markdown) == texts


@pytest.mark.parametrize("ending", [".md", ".txt", ".MD"])
@pytest.mark.parametrize(
    "metadata",
    [
        "---\ntitle: Boiler: the manual\ntags: [a, b]\nlist:\n  - x\n- y\n---\n",
        '+++\ntitle = "Boiler: the manual"\n+++\n',
        "---\n# by hand\n\ntitle: 'Boiler: the manual'\n...\n",
    ],
)
def test_metadata_are_no_text(tmp_path, metadata, ending):
    (tmp_path / f"a{ending}").write_text(metadata + "\nThe boiler is hot.\n")
    (passage,) = own_text.load(tmp_path)
    assert (passage.text, passage.heading) == ("The boiler is hot.", "Boiler: the manual")
    assert passage.line == metadata.count("\n") + 2


def test_lines_between_rules_are_text(tmp_path):
    assert text_of(tmp_path / "a.md", "---\n\nOne: this is prose.\n\n---\n\nTwo.\n") == ["One: this is prose.", "Two."]


def test_a_page(tmp_path):
    page = """<html><head><title>Site</title><script>x</script></head><body><nav>junk</nav>
    <h1>Guide<a class="headerlink">¶</a></h1><p>One <b>two</b> &lt;3<br>four.</p>
    <h2>Tables</h2><ul><li>a<li>b</ul><pre>code</pre></body></html><p>later"""
    (tmp_path / "a.HTM").write_text(page)
    read = own_text.load(tmp_path / "a.HTM")
    assert [(p.heading, p.text) for p in read] == [
        ("Guide", "One two <3 four."),
        ("Guide › Tables", "a\nb"),
        ("Guide › Tables", "later"),
    ]
    assert [p.line for p in read] == [2, 3, 3]
    assert text_of(tmp_path / "b.html", "<pre>All of it is\npreformatted.</pre>") == ["All of it is preformatted."]


def test_a_page_with_several_first_headings_keeps_its_title_and_loses_its_contents(tmp_path):
    page = """<title>Logging</title><div><a href="#a">1. Syntax</a></div><ul><li><a href="#b">2. Limits</a>
<ul><li><a href="#c">2.1 Size</a></li></ul></li></ul>
<h1>Syntax</h1><p>See <a href="#b">the limits</a>.</p><h1>Limits</h1>
<p><a href="b.html">None</a></p><h2>Size</h2>Small."""
    (tmp_path / "a.html").write_text(page)
    read = own_text.load(tmp_path)
    assert [(p.heading, p.text) for p in read] == [
        ("Logging › Syntax", "See the limits."),
        ("Logging › Limits", "None"),
        ("Logging › Limits › Size", "Small."),
    ]
    assert [remark.why for remark in read.notes] == ["left out: a table of contents"]


def test_restructured_text(tmp_path):
    source = """:orphan:

Title
=====

See :ref:`the guide <guide>`, ``code`` and :py:func:`~a.b`.

.. versionadded:: 3.2
   Some *news*.

.. include:: /etc/passwd

::

   code

Sub
---

* one
* two
"""
    (tmp_path / "a.rst").write_text(source)
    read = own_text.load(tmp_path / "a.rst")
    assert [(p.heading, p.text) for p in read] == [
        ("Title", "See the guide, code and a.b."),
        ("Title", "3.2 Some news."),
        ("Title › Sub", "one\ntwo"),
    ]


def test_a_manual_page(tmp_path):
    page = "NAME\n       ls - list contents\n\nSYNOPSIS\n       ls [FILE]\n\nALONE\n\nOptions\n-------\n\nNone.\n"
    (tmp_path / "ls.txt").write_text(page)
    read = own_text.load(tmp_path / "ls.txt")
    assert [(p.heading, p.text, p.line) for p in read] == [
        ("NAME", "ls - list contents", 2),
        ("SYNOPSIS", "ls [FILE]", 5),
        ("", "ALONE", 7),
        ("Options", "None.", 12),
    ]


def test_the_options_of_a_manual_page_stand_under_its_name(tmp_path):
    page = """TAIL(1)            User Commands            TAIL(1)

NAME
       tail - output the last part

DESCRIPTION
       Print the last 10 lines, even if they are re\u2010
       ally long.

       -f     follow

              as the file grows

       -q     quiet

       Then it ends.
"""
    (tmp_path / "tail.1.txt").write_text(page, encoding="utf-8")
    assert [(p.heading, p.text, p.line) for p in own_text.load(tmp_path)] == [
        ("TAIL(1) › NAME", "tail - output the last part", 4),
        (
            "TAIL(1) › DESCRIPTION",
            "Print the last 10 lines, even if they are really long.\n-f follow\nas the file grows\n-q quiet",
            7,
        ),
        ("TAIL(1) › DESCRIPTION", "Then it ends.", 16),
    ]


def test_items_of_a_plain_list_share_a_passage(tmp_path):
    assert text_of(tmp_path / "a.txt", "To buy:\n\n- milk\n\n- bread\n\n1) tea\n\nThat is all.\n") == [
        "To buy:\n- milk\n- bread\n1) tea",
        "That is all.",
    ]


def test_a_notebook(tmp_path):
    import nbformat  # seconds, which the other tests need not wait for

    cells = [nbformat.v4.new_markdown_cell("# Head\n\nText."), nbformat.v4.new_code_cell("x = 1")]
    nbformat.write(
        nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_markdown_cell("More.")]), tmp_path / "a.ipynb"
    )
    read = own_text.load(tmp_path)
    assert [(p.heading, p.text, p.line) for p in read] == [("Head", "Text.", 1), ("Head", "More.", 3)]


def test_parquet(tmp_path):
    import pyarrow.parquet

    rows = {"id": [1, 2, 3], "body": ["the first text", None, "the third text"]}
    pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / "a.parquet")
    read = own_text.load(tmp_path / "a.parquet")
    assert [(p.text, p.line) for p in read] == [("the first text", 1), ("the third text", 3)]
    assert "left out: line 2: column 'body' is empty" in [note.why for note in read.notes]


def test_a_word_document(tmp_path):
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("Guide", 1)
    document.add_paragraph("The boiler is hot.")
    table = document.add_table(2, 2)
    for cell, text in zip((c for row in table.rows for c in row.cells), ("Tier", "Price", "Pro", "$20")):
        cell.text = text
    document.save(tmp_path / "a.docx")
    (passage,) = own_text.load(tmp_path)
    assert (passage.heading, passage.text) == ("Guide", "The boiler is hot.\nTier: Pro; Price: $20")


def test_a_pdf(tmp_path):
    pytest.importorskip("pypdf")
    from matplotlib.figure import Figure  # writes PDFs whose text can be read back

    figure = Figure()
    figure.text(0.1, 0.5, "The boiler is hot.")
    figure.savefig(tmp_path / "a.pdf", metadata={"CreationDate": None})
    (passage,) = own_text.load(tmp_path)
    assert "boiler" in passage and passage.line == 1


RUSSIAN, CHINESE = "Котёл обслуживается каждый октябрь, ключ у соседей.", "锅炉每年十月保养。钥匙在邻居那里。"


@pytest.mark.parametrize(
    "text, encoding",
    [(RUSSIAN, e) for e in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "cp1251", "koi8-r")]
    + [(CHINESE, e) for e in ("utf-16", "gb18030")]
    + [("これは地下室のボイラーです。", "shift_jis"), ("Der Kessel ist heiß, naïve Leute frieren.", "cp1252")]
    + [("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250"), ("The boiler is hot.", "utf-16-le")],
)
def test_encodings(tmp_path, text, encoding):
    (tmp_path / "a.txt").write_bytes(f"{text}\r\n".encode(encoding))
    read = own_text.load(tmp_path)
    assert read == [text] or read == [text.replace("。", "。\n").strip()]
    marked = encoding in ("utf-16", "utf-32", "utf-8-sig")
    assert marked or "its encoding is not given" in read.notes[0].why


def test_a_stray_byte_in_utf8(tmp_path):
    (tmp_path / "a.txt").write_bytes("Der Kessel ist heiß. Ähren. ".encode() + b"caf\xe9.\n")
    read = own_text.load(tmp_path)
    assert read == ["Der Kessel ist heiß. Ähren. café."] and "not UTF-8" in read.notes[0].why


def test_one_text_per_line_although_one_is_blank(tmp_path):
    lines = [f"Note {i} is about boiler number {i} in the cellar of house {i * 7}." for i in range(1000)]
    for blank in (1, 400, 998):
        (tmp_path / "a.txt").write_text("\n".join(line if i != blank else "" for i, line in enumerate(lines)))
        read = own_text.load(tmp_path)
        assert read == lines[:blank] + lines[blank + 1 :]
        assert "read line by line" in read.notes[0].why
        assert read[blank].line == blank + 2


def test_wrapped_prose_is_joined(tmp_path, docs):
    prose = [d.text for d in docs.documents if len(d.text.split()) > 60][:5]
    wrapped = "\n".join(line for text in prose for line in textwrap.wrap(text, 72, break_on_hyphens=False))
    (tmp_path / "a.txt").write_text(wrapped, encoding="utf-8")
    read = own_text.load(tmp_path)
    assert " ".join(read) == " ".join(" ".join(prose).split()) and "read as paragraphs" in read.notes[0].why


def test_unicode_forms_and_duplicates_are_merged(tmp_path):
    (tmp_path / "a.txt").write_text("Cafe\u0301 is closed.\n\nCafé is closed.\n\nCa\u00adfé\u200b is\u00a0closed.\n")
    read = own_text.load(tmp_path)
    assert read == ["Café is closed."] and read.duplicates == 2


def test_half_an_emoji(tmp_path):
    rows = '{"text": "half \\ud83d one"}\n{"text": "whole \\ud83d\\ude00 one"}\n'
    assert text_of(tmp_path / "a.jsonl", rows) == ["half \ufffd one", "whole 😀 one"]


@pytest.mark.parametrize(
    "table, texts",
    [
        ('1,"never closed\n2,"fine, ""so"""\n', ['"never closed', 'fine, "so"']),
        ('1,5" pipe\n2,a "b" c\n', ['5" pipe', 'a "b" c']),
        ("1,Hello, dear, world\n", ["Hello, dear, world"]),
        ('1,"two\nlines"\n\n2,one\n', ["two lines", "one"]),
    ],
)
def test_quotes_and_commas_in_tables(tmp_path, table, texts):
    assert text_of(tmp_path / "t.csv", "id,text\n" + table, column="text") == texts
    assert text_of(tmp_path / "t.csv", "id,text\r\n" + table.replace("\n", "\r\n"), column="text") == texts


def test_a_table_of_a_spreadsheet(tmp_path):
    assert text_of(tmp_path / "t.csv", "id;text\n1;Hallo, du schöne Welt\n") == ["Hallo, du schöne Welt"]
    assert text_of(tmp_path / "t.csv", "This first line is a text too,1\nAnd this one,2\n")[0].startswith("This first")


def test_what_cannot_be_read_of_a_table_is_counted(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text"\n[1]\n{"text": 1}\n{"text": ""}\n{"text"\n')
    read = own_text.load(tmp_path / "t.jsonl", column="text")
    assert read == ["a"]
    assert [note.why.split(": ", 1)[1].split(" such")[0] for note in read.notes] == [
        "2 rows, from line 2 on: not JSON: Expecting ':' delimiter",
        "line 3: not a JSON object",
        "line 4: column 'text' holds int, which is not text: 1",
        "line 5: column 'text' is empty",
    ]


@pytest.mark.parametrize(
    "name, content, options, says",
    [
        ("t.csv", "id,text\n1,a\n", {"column": "body"}, "`column` 'body' is not in 't.csv'; it has id, text"),
        ("t.jsonl", '{"text": 1}\n', {"column": "text"}, "line 1: column 'text' holds int, which is not text: 1"),
        ("t.jsonl", "[1]\n", {"column": "text"}, "line 1: not a JSON object"),
        ("t.txt", "a\n", {"column": "text"}, "`column` 'text' needs a table.*leave it out"),
        ("t.txt", "a\n", {"unit": "word"}, "`unit` is 'word'; it is one of line, paragraph, sentence"),
        ("t.txt", "", {}, "holds no text: it is empty"),
        ("t.csv", "", {"column": "text"}, "is empty"),
        ("t.txt", " \n\n", {}, "holds no text"),
        ("t.txt", b"GIF89a\0\0\0", {}, "holds no text: a binary file"),
        ("t.md", "# Alone\n", {}, "a heading without a text below it"),
        ("t.doc", "a", {}, "'t.doc' is of a kind not read here; give .txt, .*.md, .*.csv"),
        ("t.zip", "a", {}, "is a damaged zip"),
    ],
)
def test_errors_say_what_to_do(tmp_path, name, content, options, says):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=says):
        own_text.load(tmp_path / name, **options)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` .*nowhere.* does not exist"):
        own_text.load(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="holds no text"):
        own_text.load(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_text(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufefftext,id\r\none,1\r\n"two\r\nlines",2\r\n'.encode())
    assert own_text.load(tmp_path / "t.csv", column="text") == ["one", "two lines"]
    assert text_of(tmp_path / "old-mac.txt", "One.\rTwo.\r") == ["One.", "Two."]


def test_a_passage_survives_pickling_and_is_what_an_encoder_reads(tmp_path):
    (tmp_path / "a.md").write_text("# Guide\n\nThe boiler is hot.\n")
    (passage,) = own_text.load(tmp_path)
    copy = pickle.loads(pickle.dumps(passage))
    assert copy == passage == "Guide\nThe boiler is hot." and vars(copy) == vars(passage)
    assert json.loads(json.dumps([passage])) == [str(passage)]
