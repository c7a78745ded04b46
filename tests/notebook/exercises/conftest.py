"""What the tests of exercises share."""

import pytest


@pytest.fixture(autouse=True)
def own_progress_file(tmp_path, monkeypatch):
    """A progress file of each test's own; the user's is left alone."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    return tmp_path / "exercises.json"
