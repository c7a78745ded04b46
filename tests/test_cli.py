"""The command line: answers that help, exit codes that scripts can trust."""

import pytest
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from course_lib.cli import app
from course_lib.experiments import adaptation_runs, experiments
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.experiments.profiles import PROFILES
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives import Cropping


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


@pytest.mark.skipif(not experiments.reference_folder(), reason="all-MiniLM-L6-v2's weights are not on this machine")
def test_adapt_keeps_an_encoder_that_search_and_the_library_load(run, docs, tmp_path):
    passages = list(adaptation.target_passages(docs).values())[:40]
    notes, folder = tmp_path / "notes.txt", tmp_path / "adapted"
    notes.write_text("\n\n".join(passages), encoding="utf-8")
    result = run("adapt", str(notes), str(folder), "--steps", "2")
    assert result.exit_code == 0, result.output
    assert f"{len(set(passages))} texts" in result.output and f"--encoder {folder}" in result.output
    adapted = SentenceEncoder.from_pretrained(folder)
    ours, before = (
        e.encode(passages[:3]) for e in (adapted, SentenceEncoder.from_pretrained(experiments.reference_folder()))
    )
    assert (
        abs(ours - before).max() > 1e-4 and adapted.max_length == 256
    )  # it learned from cut texts, and still reads whole ones
    assert (
        abs(SentenceTransformer(str(folder), device="cpu").encode(passages[:3]) - ours).max()
        < 1e-5 + 1e-5 * abs(ours).max()
    )
    found = run("search", passages[0], "--corpus", str(notes), "--encoder", str(folder), "-k", "1")
    assert found.exit_code == 0 and "1. text 1 " in found.output
    again = run("adapt", str(notes), str(folder))
    assert again.exit_code == 2 and "holds a model already" in " ".join(again.output.split())


def test_a_stopped_adapt_goes_on_from_its_checkpoint(docs, tmp_path, monkeypatch):
    texts, profile, base = (
        list(adaptation.target_passages(docs).values())[:40],
        PROFILES["smoke"],
        PROFILES["cpu"].base_encoder,
    )
    whole = adaptation_runs.adapt(texts, tmp_path / "whole", profile, base, steps=3, progress=False)
    real = Cropping.forward

    def stopping(self, batch):
        calls.append(batch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, batch)

    calls = []
    monkeypatch.setattr(Cropping, "forward", stopping)
    stopped = adaptation_runs.adapt(texts, tmp_path / "stopped", profile, base, steps=3, progress=False)
    assert stopped.outcome == "interrupted" and len(stopped.losses) == 2
    resumed = adaptation_runs.adapt(texts, tmp_path / "stopped", profile, base, steps=3, progress=False)
    assert resumed.outcome == "finished" and resumed.losses == whole.losses and len(calls) == 4
    with pytest.raises(FileExistsError, match="name a new folder"):
        adaptation_runs.adapt(texts, tmp_path / "stopped", profile, base)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("search", " "), "the query is empty"),
        (("search", "x", "--encoder", "no/such-model"), "no folder"),
        (("search", "x", "--corpus", "absent.txt"), "absent.txt"),
        (("adapt", "absent.txt", "out"), "absent.txt"),
        (("adapt", "README.md", "out", "--start", "no/such-model"), "no folder"),
        (("compare", "--profile", "fast"), "COURSE_PROFILE takes"),
        (("compare", "word2vec"), "there is no method 'word2vec'"),
        (("compare", "--sentences", "3"), "a batch alone takes more"),
    ],
)
def test_mistakes_get_one_clear_line(run, docs, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split()) and "Traceback" not in result.output


def test_search_shows_markup_as_text(run, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("[bold]merge[/bold] <script>tables</script>\nother words entirely\n")
    result = run("search", "merge", "--encoder", "bm25", "--corpus", str(path))
    assert "[bold]merge[/bold] <script>" in result.output
