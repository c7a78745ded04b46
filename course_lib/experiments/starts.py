"""What runs start from: the table of encoders that no stage of the course has trained."""

import hashlib
from functools import cache
from pathlib import Path

from course_lib.experiments.profiles import Profile
from course_lib.models.minilm import MINILM_SHA256, minilm_folder

STARTS = {
    "bm25": "BM25",  # no encoder at all: it can be measured, not trained
    "base": "Base encoder",
    "base_cls": "Base encoder, CLS",
    "minilm": "all-MiniLM-L6-v2 (supervised)",
    "static": "Static vectors",
    "whitened": "Base encoder, whitened",
}
BASELINES = ("static", "whitened")  # made of the base encoder; like BM25 they cannot be trained


def start_folder(start: str, profile: Profile) -> str:
    """The folder or hub name of the encoder that a run starts from."""
    return str(minilm_folder()) if start == "minilm" else profile.base_encoder


def start_weights(start: str, profile: Profile) -> str:
    """The first 16 digits of the SHA-256 of the weights that a run starts from; "" for BM25."""
    if start == "bm25":
        return ""
    return MINILM_SHA256[:16] if start == "minilm" else weights_digest(profile.base_encoder)


def labelling_weights(model: str, profile: Profile) -> str:
    """The same for a model that makes pseudo labels: "query_generator" or "cross_encoder"."""
    return weights_digest(getattr(profile.pseudo_labelling, model))


@cache
def weights_digest(name: str) -> str:
    """The first 16 digits of the SHA-256 of a model folder's weights; a hub name stands for itself."""
    path = Path(name) / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else name
