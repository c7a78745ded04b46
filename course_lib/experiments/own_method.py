"""A method of your own in the comparison: one file with an objective, trained and measured as the others are.

The file defines one subclass of `objectives.Objective` with `collate` and `forward`. It may set TITLE, for tables, and
RECIPE, {name: value}: what differs from the profile's recipe of SimCSE, the arguments of the class among it.
`notebooks/methods/word_repetition.py` is an example.
"""

import importlib.util
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from course_lib.experiments.profiles import PROFILES, Profile
from course_lib.experiments.records import RunRecord
from course_lib.experiments.runs import as_run, load_or_run
from course_lib.experiments.stages import STAGES, Stage, passages, sentences
from course_lib.objectives import Objective
from course_lib.storage import fingerprint

READS = {"text": sentences, "passage": passages}  # by the objective's `example`


def add_method(path: str | Path) -> str:
    """Read a method from its file, and make it a stage that every profile has a recipe for.

    path: of the file; its name without the ending becomes the name of the stage.
    Returns that name, which then stands wherever a stage's name does, as in `as_run`. A file that was changed is read
    again, and its runs are other runs.
    Raises FileNotFoundError without such a file, ValueError for a name that is taken or cannot be one, and for a file
    that does not define exactly one objective on texts or passages.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; name the Python file of your method")
    name = path.stem
    if not re.fullmatch(r"[a-z]\w*", name) or (name in STAGES and not STAGES[name].code):
        raise ValueError(f"{path.name}: call the file in small letters, digits and _, and not like a stage: {name!r}")
    module = _load(path)
    kind = _objective_of(module, path)
    code = fingerprint(path.read_text(encoding="utf-8"))  # the same with the line ends of Windows
    STAGES[name] = Stage(name, getattr(module, "TITLE", kind.__name__), kind, READS[kind.example], code=code)
    for profile in PROFILES.values():
        like = replace(profile.recipes["simcse"], options={})
        profile.recipes[name] = like.changed(getattr(module, "RECIPE", {}))
    return name


def compare_with(
    path: str | Path,
    profile: Profile,
    sentences: int | None = None,
    seeds: Iterable[int] | None = None,
    progress: bool = True,
) -> list[RunRecord]:
    """Train the method of a file, measure it on the tasks of the comparison, and give its records, one per seed.

    path: as in `add_method`.
    profile: one of PROFILES.
    sentences: how many to train on; by default as many as the recipe says.
    seeds: by default the profile's.
    progress: whether to show bars.
    What is trained and measured is kept; the same file and settings are not trained again.
    Raises what `add_method` raises, and KeyboardInterrupt where the training is interrupted; the next call continues.
    """
    name = add_method(path)
    profile = profile if sentences is None else profile.at_sentences(sentences)
    return [load_or_run(as_run(name, profile, seed), progress=progress) for seed in seeds or profile.seeds]


def _load(path):
    spec = importlib.util.spec_from_file_location(f"own_method_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _objective_of(module, path):
    """The one objective that a file defines."""
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    found = [kind for kind in own if issubclass(kind, Objective)]
    if len(found) != 1:
        names = ", ".join(kind.__name__ for kind in found) or "none"
        raise ValueError(f"{path.name} must define one subclass of course_lib.objectives.Objective; it has {names}")
    (kind,) = found
    if kind.forward is Objective.forward:
        raise ValueError(f"{path.name}: {kind.__name__} needs forward(batch), which returns the loss")
    if kind.example not in READS:
        raise ValueError(
            f"{path.name}: {kind.__name__}.example is {kind.example!r}; a method of your own reads 'text' or 'passage'"
        )
    return kind
