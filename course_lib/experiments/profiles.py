"""One switch for everything that depends on the machine: `COURSE_PROFILE`, or what the hardware suggests."""

import os
from dataclasses import asdict, dataclass, field, replace

import torch

from course_lib.models.checks import check_choice
from course_lib.models.encoder import POOLING
from course_lib.storage import DATA


@dataclass(frozen=True)
class Recipe:
    """How a stage is trained.

    steps, batch_size, learning_rate, schedule, warmup_ratio: as in TrainingConfig.
    max_length: tokens of a training text; the encoder itself keeps its own length and is measured on whole texts.
    pooling: of the encoder.
    options: arguments of the objective, by name.
    texts: how many of the texts are trained on, drawn anew for every seed; None for all.
    """

    steps: int
    batch_size: int
    learning_rate: float
    max_length: int = 48
    pooling: str = "mean"
    schedule: str = "linear"
    warmup_ratio: float = 0.1
    options: dict = field(default_factory=dict)
    texts: int | None = None

    def __post_init__(self):
        check_choice(POOLING, pooling=self.pooling)

    def settings(self) -> dict:
        """What a training is known by: all values but those that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def changed(self, changes: dict) -> "Recipe":
        """The recipe with other values.

        changes: {name: value}; a name that is no field of Recipe is an argument of the objective.
        """
        of_recipe = {name: value for name, value in changes.items() if name in vars(self)}
        options = {name: value for name, value in changes.items() if name not in of_recipe}
        return replace(self, **of_recipe, options=self.options | options) if changes else self


# of queries, for the generator that ships; GPL's 0.95 and 1.0 are for a T5; chosen by reading
SAMPLING = {"top_p": 0.9, "temperature": 0.6}


@dataclass(frozen=True)
class PseudoLabelling:
    """How GenQ and GPL make training data of text without labels.

    query_generator, cross_encoder: a folder, or a hub name; by default those that ship.
    sampling: of queries: arguments of `QueryGenerator.generate`, by name.
    total_queries: so many queries are written for all passages together, and never fewer than three per passage.
    retrievers: find the hard negatives: "bm25", "dense" (the encoder of the stage "source"), or an encoder's hub name.
    per_retriever: negatives that each of them finds per query; 50 as in GPL (Wang et al., 2022).
    negatives: drawn per query.
    random_negatives: whether those of every second query are drawn from all passages. GPL mines all of them, and on the
        course's target that was better on one task of three (notebook 09).
    """

    query_generator: str = str(DATA / "query-generator")
    cross_encoder: str = str(DATA / "cross-encoder")
    sampling: dict = field(default_factory=lambda: SAMPLING)
    total_queries: int = 0
    retrievers: tuple[str, ...] = ("bm25", "dense")
    per_retriever: int = 50
    negatives: int = 1
    random_negatives: bool = True

    def settings(self, scored: bool) -> dict:
        """What pseudo labels depend on beside the two models, which a run knows by their weights.

        scored: whether a cross-encoder scores negatives, as for GPL, or the queries are all there is, as for GenQ.
        """
        settings = {"sampling": self.sampling, "total_queries": self.total_queries}
        if scored:
            settings |= {"retrievers": list(self.retrievers), "per_retriever": self.per_retriever}
            settings |= {"negatives": self.negatives, "random_negatives": self.random_negatives}
        return settings


@dataclass(frozen=True)
class Profile:
    """What a machine can afford. Read it, copy it with `dataclasses.replace`, and train with other numbers.

    name: as COURSE_PROFILE takes it.
    purpose: the machine that it is for.
    notebook_minutes: what one notebook takes there.
    base_encoder: a folder, or a hub name.
    recipes: {stage: Recipe}; the stages are in `experiments.STAGES`.
    queries: how many of each labelled task are measured; None for all.
    target_passages: how many passages queries are generated for (GenQ, GPL); None for all.
    seeds: which seeds `course compare` trains.
    trains: what `course compare` trains unasked, in this order; the other methods are shown as recorded. None for all.
    pseudo_labelling: how GenQ and GPL make their training data.
    """

    name: str
    purpose: str
    notebook_minutes: str
    base_encoder: str
    recipes: dict[str, Recipe]
    queries: int | None = None
    target_passages: int | None = None
    seeds: tuple[int, ...] = (0,)
    trains: tuple[str, ...] | None = None
    pseudo_labelling: PseudoLabelling = PseudoLabelling()

    def at_sentences(self, sentences: int) -> "Profile":
        """The same profile with every stage trained on so many sentences; it and its runs have a name of their own.

        Raises ValueError where that is less than one batch.
        """
        if sentences < max(r.batch_size for r in self.recipes.values()):
            raise ValueError(f"sentences is {sentences}; one batch already takes more")
        recipes = {name: replace(r, steps=sentences // r.batch_size) for name, r in self.recipes.items()}
        return replace(self, name=f"{self.name}-{sentences}-sentences", recipes=recipes)


def _recipes(mlm, simcse, tsdae, ct, ct_in_batch, cropping, source, genq, gpl):
    """Every stage's recipe: those that are variations of another one follow it."""
    return {
        "mlm": mlm,
        "simcse": simcse,
        "simcse_cls": replace(simcse, pooling="cls"),
        "simcse_long": replace(simcse, steps=5 * simcse.steps),
        "tsdae": tsdae,
        "tsdae_mean": replace(tsdae, pooling="mean"),
        "tsdae_long": replace(tsdae, steps=5 * tsdae.steps),
        "ct": ct,
        "ct_in_batch": ct_in_batch,
        "cropping": cropping,
        "cropping_long": replace(cropping, steps=5 * cropping.steps),
        "cropping_gentle": replace(cropping, learning_rate=5e-5),  # for an encoder that is finished already
        "source": source,
        "target": genq,
        "genq": genq,
        "genq_long": replace(genq, steps=4 * genq.steps),
        "gpl": gpl,
        "gpl_bm25": gpl,
        "gpl_bm25_long": replace(gpl, steps=4 * gpl.steps),
    }


# Tuned on the validation split with one seed; data/recorded-runs/README.md shows what was tried. Of domain
# adaptation, "source", "genq" and "gpl" keep what was chosen on an earlier base encoder.
_CPU = _recipes(
    mlm=Recipe(steps=240, batch_size=64, learning_rate=1e-4),
    simcse=Recipe(steps=240, batch_size=64, learning_rate=3e-4, options={"temperature": 0.05}),
    tsdae=Recipe(steps=280, batch_size=32, learning_rate=5e-4, pooling="cls"),
    ct=Recipe(steps=100, batch_size=64, learning_rate=1e-4),
    ct_in_batch=Recipe(steps=240, batch_size=64, learning_rate=3e-4),
    cropping=Recipe(steps=240, batch_size=64, learning_rate=3e-4, max_length=96),
    source=Recipe(steps=94, batch_size=64, learning_rate=3e-4, max_length=64),
    genq=Recipe(steps=75, batch_size=64, learning_rate=2e-4, max_length=64),
    gpl=Recipe(steps=150, batch_size=32, learning_rate=5e-5, max_length=64, options={"length": 20**0.5}),
)
_GPU = {name: replace(recipe, steps=10 * recipe.steps) for name, recipe in _CPU.items()}
_STEPWISE = {"schedule": "stepwise", "warmup_ratio": 0.0}  # Contrastive Tension's authors
_FULL = _recipes(
    mlm=Recipe(steps=10_000, batch_size=64, learning_rate=5e-5, max_length=100),
    simcse=Recipe(steps=15_625, batch_size=64, learning_rate=3e-5, max_length=32, options={"temperature": 0.05}),
    tsdae=Recipe(100_000, 8, learning_rate=3e-5, max_length=75, pooling="cls", schedule="constant"),
    ct=Recipe(5000, 16, learning_rate=1e-5, max_length=75, options={"reduction": "mean"}, **_STEPWISE),
    ct_in_batch=Recipe(steps=7800, batch_size=128, learning_rate=5e-5, max_length=75),
    cropping=Recipe(steps=15_625, batch_size=64, learning_rate=5e-5, max_length=256),
    source=Recipe(steps=1000, batch_size=64, learning_rate=2e-5, max_length=350),
    genq=Recipe(steps=3334, batch_size=75, learning_rate=2e-5, max_length=350),  # all queries once
    gpl=Recipe(steps=140_000, batch_size=32, learning_rate=2e-5, max_length=350, warmup_ratio=1000 / 140_000),
)
# GPL's paper and its authors' code; every step draws negatives anew, and in 140,000 steps of 32 each of the 250,000
# queries comes 18 times
_PAPER = PseudoLabelling(
    query_generator="BeIR/query-gen-msmarco-t5-base-v1",
    cross_encoder="cross-encoder/ms-marco-MiniLM-L6-v2",
    sampling={"top_p": 0.95, "top_k": 25, "temperature": 1.0, "max_new_tokens": 64},
    total_queries=250_000,
    retrievers=(
        "sentence-transformers/msmarco-distilbert-base-v3",
        "sentence-transformers/msmarco-MiniLM-L-6-v3",
    ),
    negatives=18,
    random_negatives=False,
)
_SMOKE = {name: replace(recipe, steps=4, batch_size=32, max_length=32, texts=2000) for name, recipe in _CPU.items()}
_BASE, _HUB = str(DATA / "base-encoder"), "bert-base-uncased"
_FOR_CPU = "a laptop: real learning on the embedded texts", "minutes on two cores"
_FOR_GPU = (
    "Colab's T4 and up: the same texts and base encoder, ten times the steps",
    "at most 15 minutes on a T4 (estimated from an H100)",
)
_PROFILES = (
    Profile("smoke", "tests: every cell, few steps", "a minute", _BASE, _SMOKE, queries=12, target_passages=12),
    Profile("cpu", *_FOR_CPU, _BASE, _CPU, target_passages=1600, trains=("cropping", "simcse")),
    Profile("gpu", *_FOR_GPU, _BASE, _GPU),
    Profile("full", "the papers' models, from the hub", "hours", _HUB, _FULL, seeds=(0, 1, 2), pseudo_labelling=_PAPER),
)
PROFILES = {profile.name: profile for profile in _PROFILES}


def current_profile(name: str | None = None) -> Profile:
    """The profile of that name, else that of COURSE_PROFILE, else gpu where there is CUDA and cpu elsewhere.

    Raises ValueError for a name that is not in PROFILES.
    """
    name = name or os.environ.get("COURSE_PROFILE") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in PROFILES:
        raise ValueError(f"there is no profile {name!r}; COURSE_PROFILE takes {', '.join(PROFILES)}")
    return PROFILES[name]
