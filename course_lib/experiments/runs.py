"""The runs behind the comparison: each method trained and measured once, kept in the cache, never repeated."""

import hashlib
import json
import time
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as safetensors_bytes

from course_lib import objectives
from course_lib.experiments import comparison
from course_lib.experiments.comparison import RunRecord
from course_lib.models.encoder import SentenceEncoder
from course_lib.models.minilm import reference_folder
from course_lib.search import BM25Search, ExactSearch, HybridSearch, rank_bm25
from course_lib.storage import DATA, cache_folder, write_atomically
from course_lib.texts import hub, python_docs
from course_lib.training import TrainingConfig, TrainingRecord, memory_in_use, train

METHODS = {  # in the order of the table
    "bm25": "BM25",
    "base": "Base encoder",
    "base_cls": "Base encoder, CLS",
    "mlm": "MLM",
    "simcse": "SimCSE",
    "simcse_cls": "SimCSE, CLS",
    "tsdae": "TSDAE, CLS",
    "ct": "Contrastive Tension",
    "ct_in_batch": "CT, in-batch negatives",
    "minilm": "all-MiniLM-L6-v2 (supervised)",
}
OBJECTIVES = {  # what is trained, each by its recipe
    "mlm": objectives.MaskedLanguageModel,
    "simcse": objectives.SimCSE,
    "simcse_cls": objectives.SimCSE,
    "tsdae": objectives.DenoisingAutoEncoder,
    "ct": objectives.ContrastiveTension,
    "ct_in_batch": objectives.InBatchContrastiveTension,
}
RECORDED = DATA / "recorded-runs"
SHORTEST_SENTENCE = 4  # words; shorter ones say too little to be told from their neighbours


def runs_folder():
    """Where run records and trained encoders are kept."""
    return cache_folder() / "runs"


def training_texts(method):
    """What a method trains on, from the training split alone: passages for MLM, sentences for the others."""
    docs = load_docs().train
    if method == "mlm":
        return docs.passages
    return [s for s in docs.sentences if len(s.split()) >= SHORTEST_SENTENCE]


def training_examples(method, profile, objective):
    """A method's training texts as `train` takes them: tokenised once, and cut at the recipe's length.

    The encoder itself keeps its own length: it learns from short texts, to save time, and is judged on whole ones.
    """
    return objective.encoder.token_ids(training_texts(method), profile.recipes[method].max_length)


@cache
def load_docs():
    """The embedded corpus, read once a process."""
    return python_docs.load()


def training_config(method, profile, seed=0):
    """The TrainingConfig of a method in a profile."""
    recipe = profile.recipes[method]
    return TrainingConfig(
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        schedule=recipe.schedule,
        warmup=recipe.warmup,
        seed=seed,
    )


def make_objective(method, profile, seed=0):
    """A method's objective around a fresh base encoder."""
    recipe = profile.recipes[method]
    encoder = SentenceEncoder.from_pretrained(profile.base_encoder, pooling=recipe.pooling)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # weights that no checkpoint carries start random
        return OBJECTIVES[method](encoder, **recipe.options)


def run(method, profile, seed=0, refresh=False, progress=True):
    """The run record of a method, made if it is not there yet; its encoder is kept next to it.

    method: a key of METHODS. profile: a Profile. refresh: run in any case. An interrupted training goes on where it was.
    """
    check_methods([method])
    record = _blank(method, profile, seed)
    folder = run_folder(record)
    path = folder / "record.json"
    if path.is_file() and not refresh:
        return RunRecord.load(path)
    if method == "bm25":
        ranker = rank_bm25
    elif method in OBJECTIVES:
        ranker = _trained(record, folder, profile, refresh, progress)
    else:
        ranker = load_encoder(method, profile)
    began = time.perf_counter()
    tasks = load_docs().test.tasks.values()
    record.results = comparison.measure(ranker, tasks, _sts(), profile.queries)
    record.evaluation_seconds = round(time.perf_counter() - began, 1)
    record.peak_memory = record.peak_memory or memory_in_use("cpu")
    if record.training and record.training["outcome"] == "interrupted":
        return record  # shown, but not kept: the next call goes on with the training
    record.save(path)
    return record


def check_methods(methods):
    """Raise ValueError where a name is no method's."""
    for method in methods or ():
        if method not in METHODS:
            raise ValueError(f"there is no method {method!r}; choose one of {', '.join(METHODS)}")


def _trained(record, folder, profile, refresh, progress):
    """The encoder of a run, trained unless it was already; what is known of the training goes into its record."""
    found = None if refresh else kept(folder)
    if found is None:
        objective = make_objective(record.method, profile, record.seed)
        found = train_and_keep(
            objective,
            training_examples(record.method, profile, objective),
            training_config(record.method, profile, record.seed),
            folder,
            not refresh,
            progress,
        )
    encoder, done = found
    record.training = asdict(done)
    record.seconds, record.texts_per_second, record.peak_memory = done.seconds, done.texts_per_second, done.peak_memory
    return encoder


def kept(folder):
    """(encoder, TrainingRecord) of a training that ended in this folder, whether or not it was measured; None without one."""
    path = folder / "training.json"  # written last
    if not path.is_file():
        return None
    return SentenceEncoder.from_pretrained(folder / "encoder"), TrainingRecord(
        **json.loads(path.read_text(encoding="utf-8"))
    )


def train_and_keep(objective, examples, config, folder, resume=True, progress=True):
    """Train, and keep encoder and TrainingRecord for `kept`; returns both. Where the training was interrupted, its checkpoint
    is kept, and the next call goes on from it."""
    config = replace(
        config, checkpoint_every=max(10, config.steps // 5)
    )  # a few steps are sooner repeated than written down
    done = train(objective, examples, config, output=folder / "encoder", resume=resume, progress=progress)
    keep_training(done, folder / "training.json")
    return objective.encoder, done


def keep_training(done, path):
    """Round the numbers of a TrainingRecord's steps, and write it to a file if the training has ended."""
    for step in done.steps:
        step |= {k: round(step[k], 6) for k in ("loss", "gradient_norm", "learning_rate", "seconds")}
    if done.outcome == "finished":
        write_atomically(path, json.dumps(asdict(done)))


def load_encoder(method, profile, seed=0):
    """The encoder of a method: the base as shipped, the supervised reference, or what `run` trained."""
    if method in ("base", "base_cls"):
        return SentenceEncoder.from_pretrained(profile.base_encoder, pooling="mean" if method == "base" else "cls")
    if method == "minilm":
        return SentenceEncoder.from_pretrained(reference_folder())
    if not is_trained(method, profile, seed):
        raise FileNotFoundError(
            f"{METHODS[method]} has not been trained in the {profile.name} profile yet; run: course compare"
        )
    return SentenceEncoder.from_pretrained(run_folder(_blank(method, profile, seed)) / "encoder")


def is_trained(method, profile, seed=0):
    """Whether `run` has finished training a method."""
    return method in OBJECTIVES and (run_folder(_blank(method, profile, seed)) / "training.json").is_file()


def _sts():
    """STS-B's test split where it is present: in COURSE_DATA, or in the hub's cache; else None."""
    return hub.load_sts(split="test") if hub.available(hub.STSB) else None


# --------------------------------------------------------------------------- search with what was trained


def searcher(method, texts, profile, progress=True):
    """A search over texts, (id → text) or a list, by BM25, a method's encoder, the model in a folder, or "hybrid": BM25
    and the best trained encoder, merged by rank.

    method: a key of METHODS, "hybrid", a path or hub name, or "source", "genq", "gpl", once notebooks 08 and 09 have trained
    these. Embeddings of large corpora are kept in the cache, by the weights and the texts.
    """
    if method == "bm25":
        return BM25Search(texts)
    if method == "hybrid":
        return HybridSearch([searcher(m, texts, profile, progress) for m in (best_trained(profile), "bm25")])
    from course_lib.experiments import adaptation_runs  # which builds on this module

    if (stages := adaptation_runs.ADAPTED.get(method)) is not None:
        if not adaptation_runs.is_trained(stages, profile):
            raise FileNotFoundError(
                f"{method!r} has not been trained in the {profile.name} profile yet; notebooks 08 and 09 do"
            )
        encoder, similarity = (
            adaptation_runs.load_encoder(stages, profile),
            adaptation_runs.similarity_of(stages, profile),
        )
    else:
        encoder = load_encoder(method, profile) if method in METHODS else SentenceEncoder.from_pretrained(method)
        similarity = "cosine"
    return ExactSearch(CachedEncoder(encoder), texts, progress=progress, similarity=similarity)


def trained_searchers(texts, profile):
    """Every search that needs no further training here: {name: a function that makes it}, for `widgets.search_box`.

    BM25 and the base encoder come first, "hybrid" last.
    """
    from course_lib.experiments import adaptation_runs

    names = {m: METHODS[m] for m in METHODS if m in ("bm25", "base") or is_trained(m, profile, profile.seeds[0])}
    names |= {
        m: adaptation_runs.title(stages)
        for m, stages in adaptation_runs.ADAPTED.items()
        if adaptation_runs.is_trained(stages, profile)
    }
    names["hybrid"] = f"BM25 and {METHODS[best_trained(profile)]}, merged"
    return {title: lambda m=m: searcher(m, texts, profile) for m, title in names.items()}


def best_trained(profile):
    """The method to search with when nobody chose: SimCSE where it has been trained, else the base encoder."""
    return "simcse" if is_trained("simcse", profile, profile.seeds[0]) else "base"


class CachedEncoder:
    """An encoder whose embeddings of large sets of texts are written to the cache and read from there."""

    def __init__(self, encoder, smallest=500):
        self.encoder, self.smallest = encoder, smallest

    def encode(self, texts, batch_size=64, normalize=False, progress=False):
        """As SentenceEncoder.encode."""
        if len(texts) < self.smallest:
            return self.encoder.encode(texts, batch_size, normalize, progress)
        key = hashlib.sha256(
            json.dumps([self._fingerprint, self.encoder.pooling, self.encoder.max_length, normalize, *texts]).encode()
        ).hexdigest()[:20]
        path = cache_folder() / "embeddings" / f"{key}.safetensors"
        if path.is_file():
            try:
                return load_file(path)["embeddings"]
            except SafetensorError:
                pass  # damaged: made again below
        embeddings = self.encoder.encode(texts, batch_size, normalize, progress)
        write_atomically(path, safetensors_bytes({"embeddings": embeddings}))
        return embeddings

    @property
    def _fingerprint(self):
        digest = hashlib.sha256()
        for name, weights in self.encoder.named_parameters():
            digest.update(name.encode() + weights.detach().cpu().numpy().tobytes())
        return digest.hexdigest()


# --------------------------------------------------------------------------- what a run is known by


def _blank(method, profile, seed):
    configuration = {"queries": profile.queries}
    if method not in ("bm25", "minilm"):  # a record tells nobody's folders; the weights are in `data`
        folder = Path(profile.base_encoder)
        configuration["base_encoder"] = folder.name if folder.is_dir() else profile.base_encoder
    if method in OBJECTIVES:
        configuration |= {
            "recipe": asdict(profile.recipes[method]),
            "training": asdict(training_config(method, profile, seed)),
        }
    data = {
        "texts": load_docs().fingerprint,
        "base_encoder": weights_fingerprint(profile.base_encoder),
        "stsb": hub.available(hub.STSB),
    }
    return RunRecord(
        method, METHODS[method], profile.name, seed, configuration, data, comparison.versions(), comparison.machine()
    )


@cache
def weights_fingerprint(name):
    path = Path(name) / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else name


def run_folder(record):
    """The folder of a run: the same settings, texts and starting weights lead to the same one."""
    key = json.dumps([record.configuration, record.data, record.versions, record.seed], sort_keys=True)
    return (
        runs_folder()
        / f"{record.profile}-{record.method}-{record.seed}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    )


# --------------------------------------------------------------------------- the whole comparison


def compare(profile, methods=None, seeds=None, progress=True, say=print):
    """Run what has not been run, and write the comparison as a picture and a page.

    methods: keys of METHODS; by default all, of which those that `profile.trains` leaves out are shown as recorded, unless
    they have been run here. Returns (records, {"picture": path, "page": path}). say: called with a line before each run.
    """
    records = []
    for method in methods or METHODS:
        if method == "minilm" and reference_folder() is None:
            say("all-MiniLM-L6-v2's weights are not on this machine: its row is left out.")
            continue
        spared = not methods and method in OBJECTIVES and method not in (profile.trains or OBJECTIVES)
        if spared and not is_trained(method, profile, profile.seeds[0]) and (shown := recorded_runs(method, profile)):
            say(f"{METHODS[method]}: as recorded in data/recorded-runs; to train it here: course compare {method}")
            records += shown
            continue
        for seed in (seeds or profile.seeds) if method in OBJECTIVES else (0,):
            known = (run_folder(_blank(method, profile, seed)) / "record.json").is_file()
            say(f"{METHODS[method]}: " + ("taken from its run record" if known else "running"))
            records.append(run(method, profile, seed, progress=progress))
    return records, write_comparison(records, runs_folder())


def load_recorded(*methods):
    """The run records of methods that ship with the course, whatever they were made with: method by method, by file name."""
    found = (
        (method, RunRecord.load(path)) for method in methods for path in sorted(RECORDED.glob(f"*{method}-[0-9]*.json"))
    )
    return [
        record for method, record in found if record.method == method
    ]  # "tsdae" also names runs of domain adaptation


def recorded_runs(method, profile):
    """The run records of a method that ship with the course and were made with the profile's recipe, by seed; [] without."""
    found = load_recorded(method)
    now = _blank(method, profile, 0).configuration.get("recipe")
    for record in found:
        record.note = "recorded"
    return [record for record in found if record.configuration.get("recipe") == json.loads(json.dumps(now))]


def measured(method, profile):
    """The run record of a method that trains nothing: the one that ships, where it was made with the same settings, texts and
    weights; else `run` makes it here."""
    return next(iter(recorded_alike(_blank(method, profile, 0))), None) or run(method, profile)


def recorded_alike(now, *but):
    """The run records that ship of `now`'s method, made with its configuration and its data, parts named in `but` left out."""

    def known_by(record):
        return record.configuration, {part: value for part, value in record.data.items() if part not in but}

    same = tuple(json.loads(json.dumps(known_by(now))))  # tuples are lists in a file
    return [record for record in load_recorded(now.method) if known_by(record) == same]


def write_comparison(records, folder):
    """Write comparison-<profile>.png and .html into a folder: {"picture": path, "page": path}."""
    from course_lib.notebook.plots import comparison_picture

    stem = Path(folder) / f"comparison-{records[0].profile}"
    picture = comparison_picture(records)
    write_atomically(stem.with_suffix(".png"), picture)
    write_atomically(stem.with_suffix(".html"), comparison.as_html(records, picture))
    return {"picture": stem.with_suffix(".png"), "page": stem.with_suffix(".html")}
