"""The command line: answers that help, exit codes that scripts can trust."""

import pytest
from typer.testing import CliRunner

from course_lib import experiments
from course_lib.cli import app


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "runs_folder", lambda: tmp_path)
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_doctor_names_profile_and_remedies(run, monkeypatch):
    result = run("doctor")
    assert "smoke" in result.output and "Base encoder" in result.output
    monkeypatch.setenv("COURSE_PROFILE", "turbo")
    result = run("doctor")
    assert result.exit_code == 1 and "Unset COURSE_PROFILE" in result.output


def test_search_by_words_finds_the_function(run, docs):
    result = run("search", "compute the pseudo-inverse of a matrix", "--encoder", "bm25", "-k", "8")
    assert result.exit_code == 0, result.output
    assert "pinv" in result.output


def test_search_in_own_text_by_meaning(run, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("The cat sat on the mat.\nInterest rates rose again.\nA kitten slept on the rug.\n")
    result = run("search", "a small cat sleeping on a carpet", "--encoder", "base", "--corpus", str(path), "-k", "2")
    assert result.exit_code == 0, result.output
    assert "kitten" in result.output and "Interest" not in result.output


def test_a_hybrid_search_merges_words_and_meaning_and_says_what_is_shared(run, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("The cat sat on the mat.\nInterest rates rose again.\nA kitten slept on the rug.\n")
    result = run("search", "the cat of the house", "--encoder", "hybrid", "--corpus", str(path), "-k", "3")
    assert result.exit_code == 0, result.output
    first = result.stdout.split("2.")[0]
    assert "The cat sat" in first and "shares cat" in first and "shares no word" in result.output


@pytest.mark.parametrize("arguments, message", [
    (("search", " "), "the query is empty"),
    (("search", "x", "--encoder", "no/such-model"), "no folder"),
    (("search", "x", "--corpus", "absent.txt"), "absent.txt"),
    (("compare", "--profile", "fast"), "COURSE_PROFILE takes"),
    (("compare", "word2vec"), "there is no method 'word2vec'"),
    (("compare", "--sentences", "3"), "a batch alone takes more"),
])
def test_mistakes_get_one_clear_line(run, docs, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split()) and "Traceback" not in result.output


def test_search_shows_markup_as_text(run, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("[bold]merge[/bold] <script>tables</script>\nother words entirely\n")
    result = run("search", "merge", "--encoder", "bm25", "--corpus", str(path))
    assert "[bold]merge[/bold] <script>" in result.output
