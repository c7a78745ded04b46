"""Checkpoints: a run that was stopped goes on as if it had not been."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from course_lib.storage import CHECKPOINT, replacing
from course_lib.training.record import TrainingRecord

FORMAT = 2  # of the file; 1 had no number, and other names for some settings
MAY_CHANGE = (
    "precision",
    "checkpoint_every",
    "compile",
    "gradient_cache",
)  # precision is compared after "auto" has been resolved


class Checkpoint:
    """The state of a run in one file: weights, best weights, optimizer, scaler and record.

    folder: where the file is kept; None keeps nothing.
    objective, optimizer, scaler, record: of the run; `restore` changes them in place.
    best: the Best weights so far.
    """

    def __init__(self, folder, objective, optimizer, scaler, record: TrainingRecord, best):
        self.path = None if folder is None else Path(folder) / CHECKPOINT
        self.objective, self.optimizer, self.scaler = objective, optimizer, scaler
        self.record, self.best = record, best

    def save(self):
        """Write the file, whole or not at all."""
        if self.path is None:
            return
        tensors = {f"model.{k}": v for k, v in weights_of(self.objective).items()}
        tensors |= {f"best.{k}": v for k, v in (self.best.weights or {}).items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        about = {"format": FORMAT, "record": asdict(self.record), "best_score": self.best.score}
        about["scaler"] = self.scaler.state_dict()
        tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        with replacing(self.path) as temporary:
            save_file(tensors, temporary, {"about": json.dumps(about)})

    def remove(self):
        """Delete the file: the run has finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def restore(self):
        """Continue from the file, where there is one.

        Raises ValueError where it is damaged or of another run; then nothing has changed.
        """
        if not self.path.is_file():
            return
        about, tensors = self._read()
        weights = _strip_prefix("model", tensors)
        self._check_same_run(about["record"], weights)
        load_weights(self.objective, weights)
        state = self.optimizer.state_dict()
        for name, tensor in _strip_prefix("optimizer", tensors).items():
            index, key = name.split(".", 1)
            state["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(state)
        self.scaler.load_state_dict(about["scaler"])
        self.best.score, self.best.weights = about["best_score"], _strip_prefix("best", tensors) or None
        for name in ("metric", "steps", "evaluations"):
            setattr(self.record, name, about["record"][name])

    def _read(self):
        try:
            with safe_open(self.path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                tensors = {k: file.get_tensor(k) for k in file.keys()}
        except (SafetensorError, TypeError, KeyError, ValueError) as error:
            raise ValueError(f"the checkpoint {self.path} is damaged ({error}); delete it to start again") from error
        if about.get("format") != FORMAT:
            raise ValueError(f"{self.path} was written by another version of the course; delete it to start again")
        return about, tensors

    def _check_same_run(self, saved, weights):
        """Raise ValueError, naming every difference, unless a checkpoint's record and weights are of this run."""
        now = json.loads(json.dumps(asdict(self.record)))  # tuples are lists in a file
        changed = _changes(*map(_settings, (saved, now))) + _changes(saved["objective"], now["objective"])
        if saved["precision"] != now["precision"]:
            changed.append(f"precision was {saved['precision']!r} and is {now['precision']!r}")
        if saved["data"] != now["data"] and saved["texts"] == now["texts"]:
            changed.append("the texts, or how they are cut into tokens, are others")
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in weights_of(self.objective).items()}:
            changed.append("the model has other layers or sizes")
        if changed:
            advice = "Train with the old settings, or pass resume=False to start again"
            raise ValueError(f"the checkpoint in {self.path.parent} is of another run: {'; '.join(changed)}. {advice}")


def _settings(record):
    """What a run was made with. How many processes share a batch may change, its texts may not."""
    shared = {"batch_size": record["config"]["batch_size"] * record["processes"]}
    return record["config"] | shared | {"texts": record["texts"]}


def _changes(saved, now):
    """What differs between two dicts of settings, in words; a setting that only one of them has differs too."""
    names = [name for name in {**saved, **now} if name not in MAY_CHANGE]
    said = {name: [repr(each[name]) if name in each else "not set" for each in (saved, now)] for name in names}
    return [f"{name} was {was} and is {new}" for name, (was, new) in said.items() if was != new]


def _strip_prefix(prefix, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Every weight and buffer once, by name; shared ones (tied embeddings) under their first name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@torch.no_grad()
def load_weights(module: nn.Module, weights: Mapping[str, Tensor]):
    """Copy weights and buffers, as `weights_of` returns them, into a module."""
    for name, own in weights_of(module).items():
        own.copy_(weights[name])
