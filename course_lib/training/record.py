"""What a training run did, step by step."""

import json
import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import torch

from course_lib.storage import write_atomically


@dataclass(repr=False)
class TrainingRecord:
    """What a training run did; with several processes, the numbers of the first. It prints as three lines.

    config: the TrainingConfig as a dict.
    precision: what the run was computed in.
    device: where.
    texts: how many examples there were.
    objective: the settings of the objective.
    data: a fingerprint of the prepared examples; "" for a run without an output folder.
    processes: how many trained together.
    metric: which number of the evaluations is maximised; "" before the first evaluation.
    steps: one dict per step: step, loss, gradient_norm (before clipping; None where fp16 overflowed and the step was
        skipped), learning_rate, tokens (without padding), texts, seconds (of training since the start), memory (bytes).
    evaluations: one dict each: step, seconds, and what `evaluate` returned.
    outcome: "running", "finished" or "interrupted".
    """

    config: dict
    precision: str
    device: str
    texts: int
    objective: dict
    data: str = ""
    processes: int = 1
    metric: str = ""
    steps: list[dict] = field(default_factory=list)
    evaluations: list[dict] = field(default_factory=list)
    outcome: str = "running"

    def __repr__(self):
        rate = f"{self.texts_per_second:,.0f} texts/s, {self.tokens_per_second:,.0f} tokens/s"
        done = f"{self.outcome}: {len(self.steps):,} steps in {self.seconds:,.0f} s"
        loss = f"{self.losses[0]:.3f} → {self.losses[-1]:.3f}" if self.steps else "no step yet"
        scores = [f"{e[self.metric]:.3f} at step {e['step']:,}" for e in self.evaluations]
        path = " → ".join(dict.fromkeys(scores[:1] + scores[-1:])) if scores else "none"
        metric = self.metric or "evaluation"
        return f"{done} ({rate}), {self.precision} on {self.device}\nloss: {loss}\n{metric}: {path}"

    def add_step(self, loss: float, norm: float, rate: float, tokens: int, texts: int, seconds: float):
        """Record one step; `seconds` is what it took, the other numbers as in `steps`."""
        norm = norm if math.isfinite(norm) else None
        step = {"step": len(self.steps) + 1, "loss": loss, "gradient_norm": norm, "learning_rate": rate}
        step |= {"tokens": tokens, "texts": texts, "seconds": self.seconds + seconds}
        self.steps.append(step | {"memory": memory_in_use(self.device)})

    def add_evaluation(self, scores: dict[str, float]):
        """Record what an evaluation after the present step gave; the first metric is the one that is maximised."""
        self.metric = self.metric or self.config["metric"] or next(iter(scores))
        numbers = {name: float(score) for name, score in scores.items()}
        self.evaluations.append({"step": len(self.steps), "seconds": self.seconds, **numbers})

    @property
    def is_measured(self) -> bool:
        """Whether there is an evaluation after the start, and so one of the weights that the encoder has."""
        return any(e["step"] for e in self.evaluations)

    def save(self, path: str | Path):
        """Write the record as JSON, the numbers of its steps rounded."""
        rounded = [{k: round(v, 6) if isinstance(v, float) else v for k, v in step.items()} for step in self.steps]
        write_atomically(path, json.dumps(asdict(self) | {"steps": rounded}))

    @classmethod
    def load(cls, path: str | Path) -> "TrainingRecord":
        """Read what `save` wrote."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))

    @property
    def losses(self) -> list[float]:
        """The loss of every step."""
        return [s["loss"] for s in self.steps]

    @property
    def seconds(self) -> float:
        """Time spent in training steps, evaluations left out."""
        return self.steps[-1]["seconds"] if self.steps else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of training, padding not counted."""
        return sum(s["tokens"] for s in self.steps) / max(self.seconds, 1e-9)

    @property
    def texts_per_second(self) -> float:
        """Texts per second of training."""
        return sum(s["texts"] for s in self.steps) / max(self.seconds, 1e-9)

    @property
    def peak_memory(self) -> int:
        """The most bytes in use at the end of a step: of the process on a CPU, of the allocator on a GPU."""
        return max((s["memory"] for s in self.steps), default=0)


def memory_in_use(device: str | torch.device) -> int:
    """Bytes: the allocator's peak on CUDA, the process's resident set elsewhere."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def peak_of_process() -> int:
    """The most bytes that this process has held so far (Linux counts in KiB, macOS in bytes); not on Windows."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
