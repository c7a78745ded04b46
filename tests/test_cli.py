"""The command line: answers that help, exit codes that scripts can trust."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from course_lib.cli import app
from course_lib.experiments import PROFILES, adapt, runs
from course_lib.experiments import domain_adaptation as adaptation
from course_lib.models import SentenceEncoder
from course_lib.models.minilm import reference_folder
from course_lib.objectives import Cropping
from course_lib.storage import cache_folder
from course_lib.texts import own_text

NOTES = "The cat sat on the mat.\nInterest rates rose again.\nA kitten slept on the rug.\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "runs_folder", lambda: tmp_path)
    monkeypatch.setenv("COURSE_PROFILE", "smoke")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text(NOTES)
    return str(path)


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


def test_search_in_own_text_by_meaning(run, notes):
    result = run("search", "a small cat sleeping on a carpet", "--encoder", "base", "--corpus", notes, "-k", "2")
    assert result.exit_code == 0, result.output
    assert "kitten" in result.output and "Interest" not in result.output


def test_a_hybrid_search_merges_words_and_meaning_and_says_what_is_shared(run, notes):
    result = run("search", "the cat of the house", "--encoder", "hybrid", "--corpus", notes, "-k", "3")
    assert result.exit_code == 0, result.output
    first = result.stdout.split("2.")[0]
    said = " ".join(result.output.split())  # a long path breaks its line elsewhere
    assert "The cat sat" in first and "shares cat" in first and "shares no word" in said


def test_a_hit_names_file_line_and_heading_and_the_end_what_was_left_out(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("# House\n\n## Boiler\n\nIt is serviced in October.\n\n## Bread\n\n500 g flour.\n")
    (folder / "t.csv").write_text("kind,text,more\nx,the flour of the mill,a b\n")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    result = run("search", "boiler", "--encoder", "bm25", "--corpus", "notes", "--column", "text")
    assert result.exit_code == 0, result.output
    assert "1. notes/a.md:5 › House › Boiler" in result.output and "It is serviced in October." in result.output
    assert ".jpg is of a kind not read here  photo.jpg" in result.output
    result = run("search", "mill", "--encoder", "bm25", "--corpus", "notes/t.csv", "--column", "more")
    assert "Nothing shares a word" in result.output and "the flour" not in result.output


def test_an_encoder_that_cannot_read_the_texts_is_warned_of(run, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("Котёл обслуживается каждый октябрь.\nЗапасной ключ у соседей.\n", encoding="utf-8")
    result = run("search", "ключ", "--encoder", "base", "--corpus", str(path))
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0 and "% of the word pieces of these texts are unknown" in said
    assert "--encoder bm25" in said and "multilingual" in said
    path.write_text(NOTES)
    assert "unknown" not in run("search", "a cat", "--encoder", "base", "--corpus", str(path)).stderr


@pytest.mark.skipif(not reference_folder(), reason="all-MiniLM-L6-v2's weights are not on this machine")
def test_adapt_keeps_an_encoder_that_search_and_the_library_load(run, docs, tmp_path):
    passages = list(adaptation.target_passages(docs).values())[:40]
    notes, folder = tmp_path / "notes.txt", tmp_path / "adapted"
    notes.write_text("\n\n".join(passages), encoding="utf-8")
    result = run("adapt", str(notes), str(folder), "--steps", "2")
    assert result.exit_code == 0, result.output
    assert f"{len(own_text.load(notes))} texts" in result.output and f"--encoder {folder}" in result.output
    adapted, start = (SentenceEncoder.from_pretrained(path) for path in (folder, reference_folder()))
    ours = adapted.encode(passages[:3])
    assert abs(ours - start.encode(passages[:3])).max() > 1e-4
    assert adapted.max_length == 256  # it learned from cut texts, and still reads whole ones
    theirs = SentenceTransformer(str(folder), device="cpu").encode(passages[:3])
    assert abs(theirs - ours).max() < 1e-5 and abs((ours**2).sum(1) - 1).max() < 1e-5  # unit vectors, as before
    found = run("search", passages[0], "--corpus", str(notes), "--encoder", str(folder), "-k", "1")
    assert found.exit_code == 0 and f"1. {notes}:1  " in " ".join(found.output.split("\n"))
    again = run("adapt", str(notes), str(folder))
    assert again.exit_code == 2 and "holds a model already" in " ".join(again.output.split())
    default = run("search", "the shortest path in a graph", "--corpus", str(notes))
    assert default.exit_code == 0 and "searched with: all-MiniLM-L6-v2" in default.output


def test_adapt_says_what_it_will_do_before_and_what_changed_afterwards(run, docs, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for n, document in enumerate(docs.validation.documents[:300]):
        text = "\n\n".join(" ".join(paragraph) for paragraph in document.paragraphs)
        (folder / f"{n}.md").write_text(f"# {document.name}\n\n{text}\n", encoding="utf-8")
    (folder / "photo.png").write_bytes(b"no text")
    result = run("adapt", str(folder), str(tmp_path / "out"), "--start", "base", "--steps", "2", "--method", "simcse")
    said = " ".join(result.output.split())
    assert result.exit_code == 0, result.output
    order = [".png is of a kind", "texts. Ctrl-C stops", "measured on", "heading → passage", "never saw a label"]
    order += ["your choice; recommended is", "2 steps of 32 texts", "on this machine", "finished: 2 steps"]
    order += ["Model and card"]
    places = [said.index(part) for part in order]
    assert places == sorted(places), said
    assert any(begin in said for begin in ("Better than before", "No difference can be told", "Worse than before"))
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize("target", ["notes", "model", "data/base-encoder", "file"])
def test_adapt_refuses_every_folder_that_holds_something(run, tmp_path, target, shallow):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text(NOTES)
    (tmp_path / "file").write_text("mine")
    if target == "model":
        shallow().save(tmp_path / "model")
    output = PROFILES["cpu"].base_encoder if target.startswith("data") else str(tmp_path / target)
    before = {p: p.read_bytes() for p in [*tmp_path.rglob("*")] if p.is_file()}
    result = run("adapt", str(notes), output)
    assert result.exit_code == 2 and "name a new folder" in " ".join(result.output.split())
    assert "Training" not in result.output and "texts" not in result.stdout
    assert {p: p.read_bytes() for p in [*tmp_path.rglob("*")] if p.is_file()} == before


def test_adapt_warns_of_a_language_that_its_start_cannot_read(run, tmp_path):
    sentences = (f"Котёл номер {n} обслуживается каждый октябрь, ключ от дома {n * 7} у соседей." for n in range(40))
    (tmp_path / "notes.txt").write_text("\n\n".join(sentences), encoding="utf-8")
    result = run("adapt", str(tmp_path / "notes.txt"), str(tmp_path / "out"), "--start", "base", "--steps", "1")
    said = " ".join(result.stderr.split())
    assert result.exit_code == 0 and "% of the word pieces of these texts are unknown" in said and "--start" in said


def test_json_is_all_there_is_on_stdout(run, tmp_path, docs):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("# Haus\n\n## Kessel\n\nDer [rot]Kessel[/rot] wird im Oktober gewärtet.\n", "utf-8")
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "w") as file:
        file.write("Bread needs flour.")
    result = run("search", "Kessel", "--encoder", "bm25", "--corpus", str(folder), "--json")
    (row,) = json.loads(result.stdout)
    assert row.pop("score") > 0 and row == {
        "text": "Der [rot]Kessel[/rot] wird im Oktober gewärtet.",
        "file": str(folder / "a.md"),
        "heading": "Haus › Kessel",
        "line": 5,
    }
    assert "photo.jpg" in result.stderr
    assert (
        json.loads(run("search", "nothing of it", "--encoder", "bm25", "--corpus", str(folder), "--json").stdout) == []
    )
    assert json.loads(run("search", "flour", "--encoder", "bm25", "--corpus", str(folder), "--json").stdout)[0]["file"]
    failed = run("search", "x", "--corpus", str(tmp_path / "absent"), "--json")
    assert failed.exit_code == 2 and failed.stdout == "" and "absent" in failed.stderr
    rows = json.loads(run("search", "compute the pseudo-inverse", "--encoder", "bm25", "--json", "-k", "3").stdout)
    assert [set(row) for row in rows] == [{"text", "file", "heading", "line", "score"}] * 3


def test_several_encoders_are_merged(run, notes):
    result = run("search", "cat", "--encoder", "base", "--encoder", "bm25", "--corpus", notes)
    assert "searched with: the course's base encoder and BM25, merged" in result.output


def test_a_stopped_adapt_goes_on_from_its_checkpoint(docs, tmp_path, monkeypatch):
    texts = list(adaptation.target_passages(docs).values())[:40]
    arguments = {"profile": PROFILES["smoke"], "start": PROFILES["cpu"].base_encoder, "steps": 3, "progress": False}
    whole = adapt(texts, tmp_path / "whole", **arguments)
    real, calls = Cropping.forward, []

    def stopping(self, batch):
        calls.append(batch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(Cropping, "forward", stopping)
    with pytest.raises(KeyboardInterrupt):
        adapt(texts, tmp_path / "stopped", **arguments)
    resumed = adapt(texts, tmp_path / "stopped", **arguments)
    assert resumed.outcome == "finished" and resumed.losses == whole.losses and len(calls) == 4
    with pytest.raises(FileExistsError, match="name a new folder"):
        adapt(texts, tmp_path / "stopped", **arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("search", " "), "the query is empty"),
        (("search", "x", "--encoder", "no/such-model"), "no folder"),
        (("search", "x", "--corpus", "absent.txt"), "absent.txt"),
        (("search", "x", "--column", "text"), "give the table too"),
        (("adapt", "absent.txt", "out"), "absent.txt"),
        (("adapt", "README.md", "out", "--start", "no/such-model"), "no folder"),
        (("compare", "--profile", "fast"), "COURSE_PROFILE takes"),
        (("compare", "word2vec"), "there is no method 'word2vec'"),
        (("compare", "--sentences", "3"), "one batch already takes more"),
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


# --------------------------------------------------------------------------- Ctrl-C


def press_ctrl_c(arguments, when, environment):
    """Start a command, send SIGINT as soon as a line of its output says `when`, and wait: (exit code, output)."""
    command = [sys.executable, "-m", "course_lib.cli", *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    output, pressed = "", False
    watchdog = threading.Timer(240, process.kill)
    watchdog.start()
    while piece := process.stdout.read(1):  # bars end with a carriage return, not with a line
        output += piece
        if not pressed and when in output:
            process.send_signal(signal.SIGINT)
            pressed = True
    process.wait()
    watchdog.cancel()
    assert pressed, output
    return process.returncode, output


@pytest.fixture
def environment(docs, tmp_path):
    """A cache of its own that holds the corpus already."""
    for path in cache_folder().glob("python-docs*"):
        os.symlink(path, tmp_path / path.name)
    return {"COURSE_CACHE": str(tmp_path), "COURSE_PROFILE": "smoke", "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize("when", ["Training:", "SimCSE, seed 0"])
def test_ctrl_c_ends_a_comparison(environment, tmp_path, when):
    """During the training and while it is prepared: nothing goes on, nothing half-done is shown, and it can go on."""
    code, output = press_ctrl_c(["compare", "simcse", "ct_in_batch"], when, environment)
    assert code == 130 and "Stopped. The same command continues; what is finished is kept." in output, output
    assert "CT in-batch" not in output and "Held-out results" not in output and "Traceback" not in output
    assert not list(tmp_path.rglob("record*.json")) and not list(tmp_path.rglob("comparison*"))
    assert not list(tmp_path.rglob("training.json"))


def test_ctrl_c_ends_adapt_and_the_same_command_goes_on(environment, docs, tmp_path):
    notes, folder = tmp_path / "notes.txt", tmp_path / "adapted"
    notes.write_text("\n\n".join(list(adaptation.target_passages(docs).values())[:40]), encoding="utf-8")
    command = ["adapt", str(notes), str(folder), "--steps", "4", "--start", PROFILES["cpu"].base_encoder]
    code, output = press_ctrl_c(command, "loss=", environment)
    assert code == 130 and "The same command continues" in output and "Traceback" not in output, output
    done = subprocess.run(
        [sys.executable, "-m", "course_lib.cli", *command], capture_output=True, text=True, env=os.environ | environment
    )
    assert done.returncode == 0 and "finished: 4 steps" in done.stdout, done.stderr


def test_ctrl_c_ends_a_search(environment):
    """While the corpus is embedded."""
    code, output = press_ctrl_c(["search", "merge tables", "--encoder", "base"], "Encoding:", environment)
    assert code == 130 and "Stopped" in output and "Traceback" not in output, output
