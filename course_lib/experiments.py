"""The runs behind the comparison: each method trained and measured once, kept in the cache, never repeated."""

import hashlib
import json
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as safetensors_bytes

from course_lib.encoder import SentenceEncoder
from course_lib.evaluation import comparison
from course_lib.evaluation.comparison import RunRecord
from course_lib.objectives import MaskedLanguageModel, SimCSE
from course_lib.search import BM25Search, ExactSearch, rank_bm25
from course_lib.texts import hub, python_docs
from course_lib.texts.store import cache_folder, write_atomically
from course_lib.training import TrainingConfig, memory_in_use, train

METHODS = {  # in the order of the table
    "bm25": "BM25",
    "base": "Base encoder",
    "mlm": "MLM",
    "simcse": "SimCSE",
    "minilm": "all-MiniLM-L6-v2 (supervised)",
}
SIMCSE_MIN_WORDS = 4  # shorter sentences say too little to be told from their neighbours


def runs_folder():
    """Where run records and trained encoders are kept."""
    return cache_folder() / "runs"


def training_texts(method):
    """What a method trains on, from the training split alone: sentences for SimCSE, passages for MLM."""
    docs = load_docs().train
    if method == "mlm":
        return docs.passages
    return [s for s in docs.sentences if len(s.split()) >= SIMCSE_MIN_WORDS]


@cache
def load_docs():
    """The embedded corpus, read once a process."""
    return python_docs.load()


def training_config(method, profile, seed=0):
    """The settings of a method in a profile."""
    steps, rate = {"mlm": (profile.mlm_steps, profile.mlm_learning_rate),
                   "simcse": (profile.simcse_steps, profile.simcse_learning_rate)}[method]
    return TrainingConfig(steps=steps, batch_size=profile.batch_size, learning_rate=rate, seed=seed)


def make_objective(method, profile, seed=0):
    """A method's objective around a fresh base encoder."""
    encoder = SentenceEncoder.from_pretrained(profile.base_encoder, pooling=profile.pooling, max_length=profile.max_length)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # a head that no checkpoint carries starts random
        return {"mlm": MaskedLanguageModel, "simcse": lambda e: SimCSE(e, profile.simcse_temperature)}[method](encoder)


def run(method, profile, seed=0, refresh=False, progress=True):
    """The run record of a method, made if it is not there yet; its encoder is kept next to it.

    method: a key of METHODS. profile: a Profile. refresh: run in any case. An interrupted training goes on where it was.
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; choose one of {', '.join(METHODS)}")
    record = _blank(method, profile, seed)
    folder = run_folder(record)
    path = folder / "record.json"
    if path.is_file() and not refresh:
        return RunRecord.load(path)
    if method == "bm25":
        ranker = rank_bm25
    elif method in ("mlm", "simcse"):
        ranker = _train(record, folder, profile, resume=not refresh, progress=progress)
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


def _train(record, folder, profile, resume, progress):
    objective = make_objective(record.method, profile, record.seed)
    config = training_config(record.method, profile, record.seed)
    config.checkpoint_every = max(1, config.steps // 5)
    done = train(objective, training_texts(record.method), config, output=folder / "encoder", resume=resume, progress=progress)
    # trained on texts that are cut short to save time, but judged, like the base encoder, on whole ones
    objective.encoder.max_length = load_encoder("base", profile).max_length
    objective.encoder.save(folder / "encoder")
    record.training = asdict(done)
    for step in record.training["steps"]:
        step |= {k: round(step[k], 6) for k in ("loss", "gradient_norm", "learning_rate", "seconds")}
    record.seconds, record.texts_per_second, record.peak_memory = done.seconds, done.texts_per_second, done.peak_memory
    return objective.encoder


def load_encoder(method, profile, seed=0):
    """The encoder of a method: the base as shipped, the supervised reference, or what `run` trained."""
    if method == "base":
        return SentenceEncoder.from_pretrained(profile.base_encoder, pooling=profile.pooling)
    if method == "minilm":
        return SentenceEncoder.from_pretrained(reference_folder())
    folder = run_folder(_blank(method, profile, seed)) / "encoder"
    if not (folder / "modules.json").is_file():
        raise FileNotFoundError(f"{METHODS[method]} has not been trained in the {profile.name} profile yet; "
                                "run: course compare")
    return SentenceEncoder.from_pretrained(folder)


def reference_folder():
    """The folder of all-MiniLM-L6-v2 where its weights are present, else None."""
    from course_lib.base_encoder import ancestor_folder

    try:
        return ancestor_folder()
    except (OSError, ValueError):
        return None


def _sts():
    """STS-B's test split where it is present: in COURSE_DATA, or in the hub's cache; else None."""
    return hub.load_sts(split="test") if hub.available(hub.STSB) else None


# --------------------------------------------------------------------------- search with what was trained


def searcher(method, texts, profile, progress=True):
    """A search over texts, (id → text) or a list, by BM25, a method's encoder, or the model in a folder.

    Embeddings of large corpora are kept in the cache, by the weights and the texts.
    """
    if method == "bm25":
        return BM25Search(texts)
    encoder = load_encoder(method, profile) if method in METHODS else SentenceEncoder.from_pretrained(method)
    return ExactSearch(CachedEncoder(encoder), texts, progress=progress)


def best_trained(profile):
    """The method to search with when nobody chose: SimCSE where it has been trained, else the base encoder."""
    trained = run_folder(_blank("simcse", profile, profile.seeds[0])) / "encoder" / "modules.json"
    return "simcse" if trained.is_file() else "base"


class CachedEncoder:
    """An encoder whose embeddings of large sets of texts are written to the cache and read from there."""

    def __init__(self, encoder, smallest=500):
        self.encoder, self.smallest = encoder, smallest

    def encode(self, texts, batch_size=64, normalize=False, progress=False):
        """As SentenceEncoder.encode."""
        if len(texts) < self.smallest:
            return self.encoder.encode(texts, batch_size, normalize, progress)
        key = hashlib.sha256(json.dumps([self._fingerprint, self.encoder.pooling, self.encoder.max_length, normalize, *texts])
                             .encode()).hexdigest()[:20]
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
    trained = method in ("mlm", "simcse")
    settings = asdict(profile) if method not in ("bm25", "minilm") else {"queries": profile.queries}
    if "base_encoder" in settings and Path(profile.base_encoder).is_dir():
        settings["base_encoder"] = Path(profile.base_encoder).name  # a record tells nobody's folders; the weights are in `data`
    configuration = {"profile": settings}
    if trained:
        configuration["training"] = asdict(training_config(method, profile, seed))
    data = {"texts": python_docs.fingerprint_of_labels(), "base_encoder": _weights_fingerprint(profile.base_encoder),
            "stsb": hub.available(hub.STSB)}
    return RunRecord(method, METHODS[method], profile.name, seed, configuration, data, comparison.versions(), comparison.machine())


@cache
def _weights_fingerprint(name):
    path = Path(name) / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else name


def run_folder(record):
    """The folder of a run: the same settings, texts and starting weights lead to the same one."""
    key = json.dumps([record.configuration, record.data, record.versions, record.seed], sort_keys=True)
    return runs_folder() / f"{record.profile}-{record.method}-{record.seed}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


# --------------------------------------------------------------------------- the whole comparison


def compare(profile, methods=None, seeds=None, progress=True, say=print):
    """Run what has not been run, and write the comparison as a picture and a page.

    Returns (records, {"picture": path, "page": path}). say: called with a line before each run.
    """
    records = []
    for method in methods or METHODS:
        if method == "minilm" and reference_folder() is None:
            say("all-MiniLM-L6-v2's weights are not on this machine: its row is left out.")
            continue
        for seed in (seeds or profile.seeds) if method in ("mlm", "simcse") else (0,):
            known = (run_folder(_blank(method, profile, seed)) / "record.json").is_file()
            say(f"{METHODS[method]}: " + ("taken from its run record" if known else "running"))
            records.append(run(method, profile, seed, progress=progress))
    return records, write_comparison(records, runs_folder())


def write_comparison(records, folder):
    """Write comparison-<profile>.png and .html into a folder: {"picture": path, "page": path}."""
    from course_lib.notebook.plots import comparison_picture

    stem = Path(folder) / f"comparison-{records[0].profile}"
    picture = comparison_picture(records)
    write_atomically(stem.with_suffix(".png"), picture)
    write_atomically(stem.with_suffix(".html"), comparison.as_html(records, picture))
    return {"picture": stem.with_suffix(".png"), "page": stem.with_suffix(".html")}
