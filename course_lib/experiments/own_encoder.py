"""`course adapt`: a finished sentence encoder and the reader's own text."""

from dataclasses import replace
from pathlib import Path

from course_lib.experiments.profiles import Profile
from course_lib.experiments.runs import Run
from course_lib.experiments.searches import warn_of_unknown_words
from course_lib.models import SentenceEncoder
from course_lib.models.minilm import minilm_folder
from course_lib.objectives import Cropping
from course_lib.training import CHECKPOINT, TrainingRecord, train


def adapt(
    texts: list[str],
    folder: str | Path,
    profile: Profile,
    start: str | Path | None = None,
    steps: int | None = None,
    progress: bool = True,
) -> TrainingRecord:
    """Train a finished sentence encoder further on texts of yours, without a label, and keep it in a folder.

    The training is the stage "cropping_gentle".
    texts: passages of a few sentences each.
    folder: in the Sentence Transformers layout; an interrupted call is continued from the checkpoint in it.
    profile: has the recipe.
    start: a path or hub name; by default all-MiniLM-L6-v2. Its own pooling stays.
    steps: by default the profile's.
    progress: whether to show a bar.
    Returns the TrainingRecord.
    Raises FileExistsError where the folder holds a model already, ValueError for too few texts and for a checkpoint of
    other texts, KeyboardInterrupt where the training is interrupted.
    """
    folder, run = Path(folder), Run("minilm", ("cropping_gentle",), profile)
    if (folder / "config.json").exists() and not (folder / CHECKPOINT).exists():
        raise FileExistsError(f"{folder} holds a model already; name a new folder")
    encoder = SentenceEncoder.from_pretrained(start or minilm_folder())
    warn_of_unknown_words(encoder, texts)
    objective = Cropping(encoder, **run.recipe.options)
    config = run.config()
    size = min(config.batch_size, max(len(texts), 1))
    config = replace(config, steps=steps or config.steps, batch_size=size, checkpoint_every=10)
    examples = objective.prepare(texts, run.recipe.max_length)
    record = train(objective, examples, config, folder, resume=True, progress=progress)
    if record.outcome == "interrupted":
        raise KeyboardInterrupt
    return record
