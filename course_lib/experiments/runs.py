"""Runs: an encoder trained stage by stage and measured, each stage once, kept in the cache and never repeated."""

import random
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from course_lib.experiments.baselines import make_baseline
from course_lib.experiments.profiles import Profile, Recipe
from course_lib.experiments.records import STS, RunRecord, machine, measure, shipped_records, versions
from course_lib.experiments.stages import DOMAINS, STAGES, Stage, load_cross_encoder, load_docs
from course_lib.experiments.starts import BASELINES, STARTS, labelling_weights, start_folder, start_weights
from course_lib.models import SentenceEncoder
from course_lib.objectives import Objective
from course_lib.search import BM25Search, ExactSearch, HybridSearch, Reranked, rank_bm25, rank_with
from course_lib.storage import cache_folder, fingerprint
from course_lib.texts import hub
from course_lib.training import TrainingConfig, TrainingRecord, train
from course_lib.training.record import memory_in_use

# what a run is searched with, where that is more than itself
SEARCHES = {"hybrid": "BM25 and {}, hybrid", "reranked": "{} + cross-encoder"}
DEPTH = 20  # passages that the cross-encoder reads for each query
TOUCH_TRAINING = ("torch", "transformers", "tokenizers")  # packages whose other version means another training


def runs_folder() -> Path:
    """Where trained encoders and run records are kept; another version of the course has another folder."""
    return cache_folder() / "runs-2"


def foreign_runs() -> list[Path]:
    """Folders of runs that another version of the course has left in the cache."""
    return sorted(p for folder in cache_folder().glob("runs*") if folder != runs_folder() for p in folder.iterdir())


@dataclass(frozen=True)
class Run:
    """An encoder and how it came about: a start, then one training stage after the other, in this order.

    start: a key of STARTS.
    stages: keys of STAGES; ("tsdae", "source", "gpl") is TSDAE, then source labels, then GPL.
    profile: the recipes that the stages are trained with.
    seed: of every stage.
    domain: a key of DOMAINS: "python" is the whole corpus, as in the comparison; "target" is that of domain adaptation.
    search: a key of SEARCHES, or "" to measure the encoder alone; it changes nothing about the training.
    changes: what differs from the recipe of the last stage, as `Recipe.changed` takes it; values that the recipe has
        already are left out, so that such a run is that of the recipe.
    Raises ValueError for a name that is not in its table, and for changes without a stage.
    """

    start: str
    stages: tuple[str, ...]
    profile: Profile
    seed: int = 0
    domain: str = "python"
    search: str = ""
    changes: dict = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "stages", tuple(self.stages))
        named = (("start", STARTS, [self.start]), ("stage", STAGES, self.stages), ("domain", DOMAINS, [self.domain]))
        for kind, known, names in (*named, ("search", {"": "", **SEARCHES}, [self.search])):
            for name in names:
                if name not in known:
                    raise ValueError(f"there is no {kind} {name!r}; choose among {', '.join(filter(None, known))}")
        for stage in (s for s in self.stages if STAGES[s].domain not in (None, self.domain)):
            raise ValueError(f"stage {stage!r} reads texts of the target; use it with domain='target'")
        if self.start in ("bm25", *BASELINES) and self.stages:
            raise ValueError(f"{STARTS[self.start]} cannot be trained; start from base or minilm")
        if self.changes and not self.stages:
            raise ValueError(f"changes is {self.changes}; without a stage there is no recipe to change")
        known = vars(self._given_recipe) | self._given_recipe.options if self.changes else {}
        changes = {n: value for n, value in self.changes.items() if n not in known or known[n] != value}
        object.__setattr__(self, "changes", changes)

    # ------------------------------------------------------------------ names

    @property
    def name(self) -> str:
        """As in file names and in `RunRecord.method`, such as "target-source-gpl" or "simcse-temperature-0.2"."""
        begin = [] if self.start == "base" and self.stages else [self.start]
        domain = [] if self.domain == "python" else [self.domain]
        changes = [f"{name}-{_short(value)}" for name, value in self.changes.items()]
        return "-".join([*domain, *filter(None, [self.search]), *begin, *self.stages, *changes])

    @property
    def title(self) -> str:
        """As in tables."""
        begin = [] if self.start == "base" and self.stages else [STARTS[self.start]]
        if begin and self.stages:
            begin = [begin[0].removesuffix(" (supervised)")]
        changes = [f"{name.replace('_', ' ')} {_short(value)}" for name, value in self.changes.items()]
        chain = ", ".join([" → ".join([*begin, *(STAGES[s].title for s in self.stages)]), *changes])
        return SEARCHES[self.search].format(chain) if self.search else chain

    # ------------------------------------------------------------------ the last stage

    @property
    def stage(self) -> Stage:
        """The stage that is trained last."""
        return STAGES[self.stages[-1]]

    @property
    def recipe(self) -> Recipe:
        """How the last stage is trained."""
        return self._given_recipe.changed(self.changes)

    @property
    def _given_recipe(self):
        return self.profile.recipes[self.stages[-1]]

    @property
    def before(self) -> "Run":
        """The run without its last stage."""
        return replace(self, stages=self.stages[:-1], search="", changes={})

    @property
    def mining_run(self) -> "Run":
        """The run whose encoder finds the hard negatives that GPL trains on."""
        return Run("base", ("source",), self.profile, domain="target")

    def config(self) -> TrainingConfig:
        """The TrainingConfig of the last stage."""
        names = ("steps", "batch_size", "learning_rate", "schedule", "warmup_ratio")
        return TrainingConfig(seed=self.seed, **{name: getattr(self.recipe, name) for name in names})

    def objective(self, encoder: SentenceEncoder | None = None, progress: bool = True) -> Objective:
        """The last stage's objective.

        encoder: what it trains, by default the encoder of the stages before; it takes over the recipe's pooling.
        """
        encoder = encoder or self.before.encoder(progress)
        encoder.pooling = self.recipe.pooling
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)  # weights that no checkpoint carries start random
            return self.stage.objective(encoder, **self.recipe.options)

    def examples(self, progress: bool = True) -> list:
        """What the last stage trains on: texts or tuples of texts, of the training split alone."""
        examples = self.stage.examples(self, progress)
        count = self.recipe.texts
        return examples if count is None else random.Random(self.seed).sample(examples, min(count, len(examples)))

    # ------------------------------------------------------------------ training

    @property
    def folder(self) -> Path:
        """Where the run is kept: the same settings, texts and starting weights lead to the same folder."""
        trained = replace(self, search="")
        return runs_folder() / f"{trained.name}-{self.seed}-{self.training_key}"

    @property
    def training_key(self) -> str:
        """What the training is known by, chained from the key of the training that it starts from."""
        if not self.stages:
            return fingerprint([self.start, start_weights(self.start, self.profile)])
        made_by = [labelling_weights(model, self.profile) for model in self.stage.models]
        if "cross_encoder" in self.stage.models and "dense" in self.profile.pseudo_labelling.retrievers:
            made_by.append(self.mining_run.training_key)
        corpus = [self.domain, load_docs().text_fingerprint]
        return fingerprint([self.before.training_key, self._settings()[-1], made_by, corpus, self.seed, _numerics()])

    def _settings(self):
        """Of every stage, in their order."""
        if not self.stages:
            return []
        last = {"stage": self.stages[-1], "recipe": self.recipe.settings(), **self.stage.settings(self.profile)}
        return [*self.before._settings(), last]

    def load_trained(self) -> tuple[SentenceEncoder, TrainingRecord] | None:
        """The encoder and the TrainingRecord of the last stage if it was trained to its end; else None."""
        if not self.is_trained():
            return None
        return self._loaded(self.folder / "encoder"), TrainingRecord.load(self.folder / "training.json")

    def is_trained(self) -> bool:
        """Whether the last stage has been trained to its end."""
        files = ("training.json", "encoder/config.json")  # the first is written last
        return bool(self.stages) and all((self.folder / name).is_file() for name in files)

    def train(self, refresh: bool = False, progress: bool = True) -> tuple[SentenceEncoder, TrainingRecord]:
        """Train the last stage, and those before as far as they have not been; or load what was trained.

        refresh: train the last stage again in any case.
        Returns the encoder and the TrainingRecord of the last stage.
        Raises KeyboardInterrupt where the training is interrupted; the next call continues from its checkpoint.
        """
        if not refresh and (found := self.load_trained()) is not None:
            return found
        (self.folder / "training.json").unlink(missing_ok=True)
        objective = self.objective(progress=progress)
        examples = objective.prepare(self.examples(progress), self.recipe.max_length)
        config = self.config()
        config = replace(config, checkpoint_every=max(10, config.steps // 5))  # a few steps are sooner repeated
        done = train(objective, examples, config, self.folder / "encoder", resume=not refresh, progress=progress)
        if done.outcome == "interrupted":
            raise KeyboardInterrupt
        done.save(self.folder / "training.json")
        return objective.encoder, TrainingRecord.load(self.folder / "training.json")  # as every later call gives it

    def encoder(self, progress: bool = True) -> SentenceEncoder:
        """The encoder that the stages lead to, trained as far as it has not been."""
        if self.stages:
            return self.train(progress=progress)[0]
        if self.start == "bm25":
            raise ValueError("BM25 has no encoder")
        if self.start in BASELINES:
            return make_baseline(self.start, replace(self, start="base").encoder(), DOMAINS[self.domain].sentences())
        return self._loaded(start_folder(self.start, self.profile), "cls" if self.start == "base_cls" else "mean")

    def _loaded(self, folder, pooling=None):
        encoder = SentenceEncoder.from_pretrained(folder, pooling=pooling)
        # stages keep no language-model head: MLM and TSDAE take that of the start, or a new one
        encoder.source = start_folder(self.start, self.profile)
        return encoder

    # ------------------------------------------------------------------ what a record of it is known by

    def configuration(self, split: str = "test") -> dict:
        """The settings in its record: with `data`, everything that its results depend on."""
        return {
            "start": self.start,
            "stages": self._settings(),
            "domain": self.domain,
            "search": self.search,
            "depth": DEPTH if self.search == "reranked" else None,
            "queries": self.profile.queries,
            "split": split,
        }

    def data(self) -> dict:
        """Fingerprints of the corpus and of every model that it used."""
        models = [m for stage in self.stages for m in STAGES[stage].models]
        models += ["cross_encoder"] if self.search == "reranked" else []
        found = {"texts": load_docs().fingerprint, "start": start_weights(self.start, self.profile)}
        return found | {model: labelling_weights(model, self.profile) for model in models}


def _short(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_run(
    row: str | Iterable[str], profile: Profile, seed: int = 0, domain: str = "python", changes: dict | None = None
) -> Run:
    """A Run from names in their order, such as "simcse", ("minilm", "cropping_gentle") or ("hybrid", "source", "gpl").

    row: a key of SEARCHES or none, a key of STARTS or none (then "base"), and stages.
    profile, seed, domain, changes: of the Run.
    """
    names = [row] if isinstance(row, str) else list(row)
    search = names.pop(0) if names and names[0] in SEARCHES else ""
    start = names.pop(0) if names and names[0] in STARTS else "base"
    return Run(start, tuple(names), profile, seed, domain, search, changes or {})


@cache
def _numerics():
    return [metadata.version(name).partition("+")[0] for name in TOUCH_TRAINING]


# --------------------------------------------------------------------------- measuring


def load_or_run(run: Run, split: str = "test", refresh: bool = False, progress: bool = True) -> RunRecord:
    """The record of a run; it is trained and measured where it has not been.

    run: what trains nothing is taken from the records that ship with the course, where one was made with the same
        settings, weights and texts.
    split: of the documents that it is measured on: "test", or "validation" for choices.
    refresh: train and measure again in any case.
    Raises KeyboardInterrupt where the training is interrupted; the next call continues from its checkpoint.
    """
    path = run.folder / f"record-{_measurement_key(run, split)}.json"
    record = RunRecord.load(path) if path.is_file() and not refresh else None
    if record is None and not run.stages and not refresh and (shipped := shipped_records(run, split, same_texts=True)):
        return replace(shipped[0], profile=run.profile.name)  # two profiles may have the same base encoder
    domain = DOMAINS[run.domain]
    tasks = [] if record else domain.tasks(split).values()
    record = record or _new_record(run, split)
    embeds = run.start != "bm25" and not run.search
    sts = domain.sts and embeds and STS not in record.results and hub.available(hub.STSB)
    if not tasks and not sts:
        return record
    ranker, training = _ranker(run, refresh, progress)
    began = time.perf_counter()
    record.results |= measure(ranker, tasks, hub.load_sts(split=split) if sts else None, run.profile.queries)
    record.evaluation_seconds += round(time.perf_counter() - began, 1)
    if training is not None:
        record.training = asdict(training)
        record.seconds, record.texts_per_second = training.seconds, training.texts_per_second
    record.peak_memory = training.peak_memory if training else memory_in_use("cpu")
    record.save(path)
    return record


def _measurement_key(run, split):
    """What a measurement is known by, beside the training: whether STS-B was at hand is not part of it."""
    return fingerprint([run.training_key, run.search, run.profile.queries, split, run.domain, run.data()])


def _new_record(run, split):
    """The record of a run before it was measured."""
    seed = run.seed if run.stages else 0
    known_by = run.configuration(split), run.data()
    return RunRecord(run.name, run.title, run.profile.name, seed, *known_by, versions(), machine())


def _ranker(run, refresh, progress):
    """What ranks, for `measure`, and the TrainingRecord of the last stage, None without one."""
    encoder, training = None, None
    if run.stages:
        encoder, training = run.train(refresh, progress)
    elif run.start != "bm25":
        encoder = run.encoder()
    if not run.search:
        return encoder or rank_bm25, training

    def search(corpus):
        own = BM25Search(corpus) if encoder is None else ExactSearch(encoder, corpus)
        if run.search == "hybrid":
            return HybridSearch([BM25Search(corpus), own])
        return Reranked(own, load_cross_encoder(run.profile.pseudo_labelling.cross_encoder), depth=DEPTH)

    return (rank_with(search, DEPTH) if run.search == "reranked" else rank_with(search)), training
