"""Progress is kept in one small file, survives the kernel, and never stands in the way."""

import json
import socket
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from course_lib import functional
from course_lib.notebook import exercises
from course_lib.notebook.exercises import sentence_encoder, simcse


def my_mean_pool(hidden, mask):
    """Mine."""
    weights = mask.unsqueeze(-1).float()
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def test_a_right_answer_is_kept_with_its_source(own_progress_file):
    assert sentence_encoder.mean_pool.check(lambda hidden, mask: hidden.mean(1)).status == "wrong"
    assert not own_progress_file.exists()
    assert sentence_encoder.mean_pool.check(my_mean_pool).right
    assert '"""Mine."""' in repr(sentence_encoder.mean_pool.answer())
    assert "not solved yet" in repr(simcse.info_nce.answer())
    kept = json.loads(own_progress_file.read_text(encoding="utf-8"))["right"]
    assert list(kept) == ["sentence_encoder.mean_pool"]
    assert [path.name for path in own_progress_file.parent.iterdir()] == ["exercises.json"]


def test_a_stub_later_is_told_of_the_answer():
    sentence_encoder.mean_pool.check(my_mean_pool)
    outcome = sentence_encoder.mean_pool.check(lambda hidden, mask: ...)
    assert outcome.status == "not attempted" and "sentence_encoder.mean_pool.answer()" in outcome.notes[0]


def test_an_answer_without_source_is_kept_as_solved():
    sentence_encoder.mean_pool.check(eval("lambda hidden, mask: f(hidden, mask)", {"f": functional.mean_pool}))
    assert "could not be kept" in repr(sentence_encoder.mean_pool.answer())
    sentence_encoder.mean_pool.check(my_mean_pool)
    sentence_encoder.mean_pool.check(eval("lambda hidden, mask: f(hidden, mask)", {"f": functional.mean_pool}))
    assert "Mine." in repr(sentence_encoder.mean_pool.answer())


def test_the_table_shows_what_is_done():
    names = [exercise.name for exercise in exercises.all_exercises()]
    assert f"0 of {len(names)} exercises solved." in repr(exercises.progress())
    sentence_encoder.mean_pool.check(my_mean_pool)
    shown = repr(exercises.progress())
    assert f"1 of {len(names)} exercises solved." in shown
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("✓")] == ["sentence_encoder.mean_pool"]
    assert all(name in exercises.progress()._repr_html_() for name in names)
    exercises.forget()
    exercises.forget()
    assert f"0 of {len(names)}" in repr(exercises.progress())


def test_the_table_is_in_the_order_of_the_notebooks():
    topics = list(dict.fromkeys(exercise.name.split(".")[0] for exercise in exercises.all_exercises()))
    assert topics[:4] == ["start_here", "sentence_encoder", "evaluation", "masked_language_model"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b'{"right": []}',
        b'{"right": {"simcse.info_nce": 3}}',
        b"null",
        b"[" * 100_000,
    ],
)
def test_an_unreadable_file_is_set_aside_and_said(own_progress_file, content):
    own_progress_file.write_bytes(content)
    outcome = sentence_encoder.mean_pool.check(my_mean_pool)
    assert outcome.right
    assert "could not be read; it was set aside as exercises.unreadable-1.json" in outcome.notes[0]
    assert (own_progress_file.parent / "exercises.unreadable-1.json").read_bytes() == content
    assert "Mine." in repr(sentence_encoder.mean_pool.answer())
    own_progress_file.write_bytes(content)
    assert "unreadable-2" in repr(exercises.progress()) and "unreadable" not in repr(exercises.progress())


def test_a_place_that_cannot_be_written_is_only_said(own_progress_file):
    own_progress_file.mkdir()
    (own_progress_file / "full").touch()
    outcome = sentence_encoder.mean_pool.check(my_mean_pool)
    assert outcome.right and "progress" in outcome.notes[0]
    assert f"of {len(exercises.all_exercises())}" in repr(exercises.progress())
    assert (own_progress_file / "full").exists()


def test_a_full_disk_is_only_said(own_progress_file, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    outcome = sentence_encoder.mean_pool.check(my_mean_pool)
    assert outcome.right and "No space left" in outcome.notes[0]


def test_nothing_is_sent(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a check opened a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    assert sentence_encoder.mean_pool.check(my_mean_pool).right
    exercises.progress()


def test_a_new_module_is_found_by_itself(tmp_path, monkeypatch):
    (tmp_path / "later_method.py").write_text(
        "from course_lib.notebook.exercises.kit import Exercise\n"
        'NOTEBOOK = "99_later"\n'
        'loss = Exercise("later_method.loss", "Loss", "easy", 3, len, lambda: [([1, 2],)], [], ["?", "!"], "")\n'
    )
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    assert exercises.all_exercises()[-1].name == "later_method.loss"


def test_in_a_real_kernel_and_after_it():
    """An endless loop in a notebook's cell is reported, and another process, this one, knows what was solved."""
    notebook = new_notebook(
        cells=[
            new_code_cell(source)
            for source in (
                "from course_lib.notebook.exercises import sentence_encoder",
                sentence_encoder.mean_pool.solution_source,
                "sentence_encoder.mean_pool.check(my_mean_pool)",
                "def my_max_pool(hidden, mask):\n    while True:\n        pass",
                "sentence_encoder.max_pool.seconds = 1\nsentence_encoder.max_pool.check(my_max_pool)",
            )
        ]
    )
    NotebookClient(notebook, timeout=300, startup_timeout=300, kernel_name="python3").execute()
    solved, endless = (
        [cell.outputs[-1].data[kind] for kind in ("text/plain", "text/html")]
        for cell in (notebook.cells[2], notebook.cells[4])
    )
    assert all("right." in text for text in solved)
    assert all("was stopped" in text for text in endless)
    assert "line 2: while True:" in endless[0] or "line 3: pass" in endless[0]
    assert "def my_mean_pool(hidden, mask):" in repr(sentence_encoder.mean_pool.answer())
