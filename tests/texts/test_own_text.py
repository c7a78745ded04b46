"""A learner's own text, in every form it may have, and what is said when it has another."""

import json

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


def test_a_folder_of_notes(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a.md").write_text(
        "# The title\n\nSee [the guide](page.html) for it.\n\n```python\nx = 1\n```\n\n- An item.\n"
    )
    (tmp_path / "deeper" / "b.txt").write_text("The second file.\n")
    (tmp_path / "c.py").write_text("not = 'a note'\n")
    assert own_text.load(tmp_path) == ["The title", "See the guide for it.", "An item.", "The second file."]


@pytest.mark.parametrize(
    "name, content, options, error, says",
    [
        (
            "t.csv",
            "id,text\n1,a\n",
            {"column": "body"},
            ValueError,
            "`column` 'body' is not in 't.csv'; it has id, text",
        ),
        ("t.csv", "id,text\n1,a\n", {}, ValueError, "`column` is missing.*It has id, text"),
        (
            "t.jsonl",
            '{"text": 1}\n',
            {"column": "text"},
            ValueError,
            "line 1: column 'text' holds 1, which is not text",
        ),
        ("t.jsonl", '{"text": "a"}\n{"text"\n', {"column": "text"}, ValueError, "line 2 is not JSON"),
        ("t.jsonl", "[1]\n", {"column": "text"}, ValueError, "line 1 is not a JSON object"),
        ("t.txt", "a\n", {"column": "text"}, ValueError, "`column` 'text' needs a table.*leave it out"),
        ("t.txt", "a\n", {"unit": "word"}, ValueError, "`unit` is 'word'; it is one of line, paragraph, sentence"),
        ("t.txt", "", {}, ValueError, "holds no text"),
        ("t.csv", "", {"column": "text"}, ValueError, "is empty"),
        ("t.txt", " \n\n", {}, ValueError, "holds no text"),
        ("t.docx", "a", {}, ValueError, "'t.docx' is of a kind not read here; give .txt, .md, .csv"),
        ("t.txt", b"caf\xe9 one\n", {}, ValueError, "byte 0xe9 at position 3 \\(line 1\\).*iconv"),
        ("t.csv", b"text\nok\ncaf\xe9\n", {"column": "text"}, ValueError, "byte 0xe9 at position 11 \\(line 3\\)"),
    ],
)
def test_errors_say_what_to_do(tmp_path, name, content, options, error, says):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=says):
        own_text.load(tmp_path / name, **options)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="`path` .*nowhere.* does not exist"):
        own_text.load(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="folder without a .txt or .md file"):
        own_text.load(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_text(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufefftext,id\r\none,1\r\n"two\r\nlines",2\r\n'.encode("utf-8"))
    assert own_text.load(tmp_path / "t.csv", column="text") == ["one", "two lines"]
