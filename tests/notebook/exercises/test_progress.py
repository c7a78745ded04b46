"""Progress is kept in one small file, survives the kernel, and never stands in the way."""

import json
import socket
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

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
        'loss = Exercise("later_method.loss", "Loss", "easy", 3, len, lambda: {"two": ([1, 2],)}, [], ["?"], "", "")\n'
    )
    monkeypatch.setattr(exercises, "__path__", [*exercises.__path__, str(tmp_path)])
    assert exercises.all_exercises()[-1].name == "later_method.loss"


def test_reset_forgets_the_attempt(capsys):
    exercise = sentence_encoder.mean_pool
    exercise.check(my_mean_pool)
    simcse.info_nce.check(functional.info_nce)
    exercise.hint()
    exercise.reset()
    assert "not solved yet" in repr(exercise.answer()) and "not solved yet" not in repr(simcse.info_nce.answer())
    assert repr(exercise.hint()).startswith("Hint 1") and "Hint 2" not in repr(exercise.hint().text.split("\n")[0])
    assert exercise.use(my_mean_pool) is functional.mean_pool
    assert "not solved yet" in repr(exercise.answer())
    assert exercise.check(my_mean_pool).right and exercise.use(my_mean_pool) is my_mean_pool
    said = capsys.readouterr().out.splitlines()
    assert "forgotten" in said[0] and "the library's function, until you check" in said[1] and "your own" in said[2]


def test_reset_of_what_was_never_tried(own_progress_file):
    simcse.alignment.reset()
    assert simcse.alignment.use(functional.alignment) is simcse.alignment.reference
    assert not own_progress_file.exists()
    assert simcse.alignment.check(functional.alignment).right


def test_function_and_check_in_one_cell():
    """A cell that does not compile grades nothing; an endless loop is reported with its line."""
    shell = InteractiveShell.instance()
    shell.run_cell("from course_lib.notebook.exercises import sentence_encoder", store_history=True)

    def cell(source):
        return shell.run_cell(source + "\nsentence_encoder.mean_pool.check(my_mean_pool)", store_history=True)

    assert cell("def my_mean_pool(hidden, mask):\n    ...").result.status == "not attempted"
    assert cell(sentence_encoder.mean_pool.solution_source).result.right
    assert "def my_mean_pool(hidden, mask):" in repr(sentence_encoder.mean_pool.answer())
    broken = cell("def my_mean_pool(hidden, mask):\n    return hidden.mean(1")
    assert isinstance(broken.error_before_exec, SyntaxError) and broken.result is None
    shell.run_cell("sentence_encoder.mean_pool.seconds = 0.5")
    endless = cell("def my_mean_pool(hidden, mask):\n    while True:\n        pass")
    assert "was stopped" in repr(endless.result)
    assert any(line in repr(endless.result) for line in ("line 2: while True:", "line 3: pass"))


@pytest.fixture(autouse=True)
def usual_patience(monkeypatch):
    monkeypatch.setattr(sentence_encoder.mean_pool, "seconds", sentence_encoder.mean_pool.seconds)
