"""`import course_lib` is instant and offers the names that a user types."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
import course_lib
heavy = [name for name in ("torch", "transformers", "numpy") if name in sys.modules]
offered = {name: getattr(course_lib, name).__name__ for name in course_lib.__all__}
from course_lib import *
print(json.dumps({"heavy": heavy, "offered": offered, "dir": dir(course_lib), "star": sorted(globals())}))
"""


@pytest.fixture(scope="module")
def fresh():
    """What a fresh Python sees."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_import_is_light(fresh):
    assert fresh["heavy"] == []


def test_every_offered_name_resolves(fresh):
    assert fresh["offered"] == {
        "SentenceEncoder": "SentenceEncoder",
        "TrainingConfig": "TrainingConfig",
        "objectives": "course_lib.objectives",
        "train": "train",
    }
    assert set(fresh["offered"]) <= set(fresh["dir"]) & set(fresh["star"])


def test_the_offered_names_are_those_of_their_modules():
    import course_lib
    from course_lib import objectives, training
    from course_lib.models.encoder import SentenceEncoder

    assert course_lib.SentenceEncoder is SentenceEncoder and course_lib.objectives is objectives
    assert course_lib.train is training.train and course_lib.TrainingConfig is training.TrainingConfig


def test_another_name_is_an_attribute_error():
    import course_lib

    with pytest.raises(AttributeError, match="module 'course_lib' has no attribute 'SentenceEncoders'"):
        course_lib.SentenceEncoders
    with pytest.raises(ImportError):
        from course_lib import nothing  # noqa: F401
