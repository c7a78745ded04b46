"""Model folders: what loading and saving share."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from course_lib.models.layout import POOLING_FLAGS, read_settings
from course_lib.storage import replacing

StrPath = str | os.PathLike
Device = str | torch.device | None

# What tells one kind of model folder from another: no such file of an earlier model may describe a new one.
_DESCRIPTIONS = ("config", "modules", "sentence_bert_config", "config_sentence_transformers", "query_generator")


def best_device() -> torch.device:
    """CUDA where there is a GPU, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


# --------------------------------------------------------------------------- reading


def check_folder(path: str | Path) -> None:
    """Check that a path, where it exists, is a model folder.

    Raises FileNotFoundError for a file and for a folder without config.json and safetensors weights.
    """
    path = Path(path)
    if path.is_file():
        raise FileNotFoundError(f"{path} is a file; name the folder that holds the model")
    if path.is_dir() and not ((path / "config.json").is_file() and any(path.glob("model*.safetensors"))):
        held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        needs = "it needs config.json, a tokenizer and model.safetensors"
        raise FileNotFoundError(f"{path} is not a model folder: {needs}, and holds {held}")


def load(auto_class: type, source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[str]]:
    """Load a model and its tokenizer with Transformers.

    auto_class: of Transformers, such as AutoModel.
    source: a folder or a hub name.
    Returns the model in float32, its fast tokenizer, and the names of the weights that were not found, sorted.
    Raises FileNotFoundError where there is no such model, ValueError where it is damaged.
    """
    options = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False}
    with quiet(), explained(source):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, report = auto_class.from_pretrained(source, output_loading_info=True, **options)
    return model, tokenizer, sorted(report["missing_keys"])


def saved_file(source: str | Path, name: str) -> Path | None:
    """Find one file of a model, in its folder or in the hub's cache, and download it if it is not there.

    source: a folder or a hub name.
    name: the file's path inside the model.
    Returns None where the model has no such file.
    Raises OSError where the hub cannot be asked, for example without a network.
    """
    if Path(source).exists():
        path = Path(source) / name
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(str(source), name))
    except LocalEntryNotFoundError:  # not in the cache and no network; a subclass of the next one
        raise
    except EntryNotFoundError:
        return None


def saved_json(source: str | Path, name: str) -> dict | list | None:
    """Read one JSON file of a model; arguments, None and OSError as for `saved_file`.

    Raises ValueError for a damaged file.
    """
    path = saved_file(source, name)
    try:
        return None if path is None else json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); copy or download the model again") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Switch off the loading report and the progress bars of Transformers."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def explained(source: str) -> Iterator[None]:
    """Turn what can go wrong while loading `source` into an error that says what to do."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        if Path(source).is_dir():
            raise ValueError(f"{source} is damaged or no known model ({reason}); copy or download it again") from error
        what = f"there is no folder {source!r}, and the hub gave no model of that name ({reason})"
        advice = "check the name, or, without a network, give the path of a local copy, such as data/base-encoder"
        raise FileNotFoundError(f"{what}; {advice}") from error


# --------------------------------------------------------------------------- writing


@contextmanager
def model_folder(path: str | Path) -> Iterator[Path]:
    """Write a model: yields an empty temporary folder whose files replace those in `path` at the end.

    path: the model's folder, created if absent. If the writing fails, an earlier model in it stays as it was. Its
    config.json is removed before any file is replaced and the new one is put in last, so that an interruption in
    between leaves a folder that no `from_pretrained` loads, never a mixture of two models. Files get the permissions
    of the user's umask.
    Raises ValueError where `path` is a file.
    """
    path = Path(path)
    if path.is_file():
        raise ValueError(f"path {str(path)!r} is a file; name a folder")
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path, prefix=".saving-") as temporary:
        unfinished = Path(temporary)
        yield unfinished
        files = [file for file in sorted(unfinished.rglob("*")) if file.is_file()]
        files.sort(key=lambda file: file == unfinished / "config.json")
        for name in _DESCRIPTIONS:
            (path / f"{name}.json").unlink(missing_ok=True)
        for file in files:
            # with the permissions of a new file: safetensors and tempfile create files that only their owner can read
            with replacing(path / file.relative_to(unfinished)) as target:
                os.replace(file, target)


# --------------------------------------------------------------------------- the Sentence Transformers layout


def read_sentence_transformers(source: str | Path) -> dict[str, object]:
    """Read how a Sentence Transformers model makes vectors from token vectors.

    source: a folder or a hub name.
    Returns and raises as `layout.read_settings`; OSError as `saved_file`.
    """
    return read_settings(source, lambda name: saved_json(source, name))


def write_sentence_transformers(
    folder: Path, dimension: int, max_length: int, pooling: str, normalize: bool, similarity: str
) -> None:
    """Write the files that make a Transformers folder a Sentence Transformers folder, as `SentenceEncoder` has them."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * normalize
    flags = {flag: name == pooling for name, flag in POOLING_FLAGS.items()}
    contents = {
        "1_Pooling/config.json": {"word_embedding_dimension": dimension, **flags},
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "similarity_fn_name": similarity},
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
