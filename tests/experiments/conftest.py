"""What the tests of runs share: a folder of their own."""

import pytest

from course_lib.experiments import runs


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Runs and stages of one test file alone; the corpus stays where it is."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "runs_folder", lambda: folder / "runs")
        patch.setattr("course_lib.storage.cache_folder", lambda: folder)
        yield folder
