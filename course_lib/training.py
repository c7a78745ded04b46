"""The one training loop, for every objective: batches in, loss out, and a record of how it went."""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from tqdm.auto import tqdm

from course_lib.texts.store import write_atomically

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class TrainingConfig:
    """How to train; the defaults are those of Sentence Transformers' `fit` (AdamW, 10 % warm-up, linear decay, clip 1).

    steps: optimiser steps; None means `epochs` passes over the texts. batch_size: texts a step and process.
    learning_rate: the peak. warmup: share of the steps. schedule: "linear", "cosine" or "constant" after the warm-up.
    precision: "auto" (bf16 where the processor multiplies it in hardware, else fp16 on CUDA, else fp32), or one of these.
    evaluate_every, checkpoint_every: in steps; 0 means only at the end, and never. keep_best: end with the weights that
    scored best rather than with the last.
    """

    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 64
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup: float = 0.1
    schedule: str = "linear"
    max_gradient_norm: float = 1.0
    accumulate: int = 1
    precision: str = "auto"
    seed: int = 0
    evaluate_every: int = 0
    checkpoint_every: int = 0
    keep_best: bool = False

    def __post_init__(self):
        for name in ("batch_size", "accumulate", "learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1, or None for `epochs` passes")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup is {self.warmup}; it is a share of the steps, between 0 and 1")
        for name, choices in (("schedule", ("linear", "cosine", "constant")), ("precision", ("auto", "fp32", "bf16", "fp16"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")


@dataclass
class TrainingRecord:
    """What a run did. `steps` holds a dict a step: step, loss, gradient_norm, learning_rate, tokens, seconds (since the
    start), memory (bytes in use). `evaluations` holds a dict each: step, seconds, and what `evaluate` returned."""

    config: dict
    precision: str
    device: str
    texts: int
    steps: list[dict] = field(default_factory=list)
    evaluations: list[dict] = field(default_factory=list)
    outcome: str = "running"  # then "finished" or "interrupted"

    @property
    def losses(self):
        """The loss of every step."""
        return [s["loss"] for s in self.steps]

    @property
    def seconds(self):
        """Time spent in training steps, evaluations left out."""
        return self.steps[-1]["seconds"] if self.steps else 0.0

    @property
    def tokens_per_second(self):
        """Tokens, padding not counted, by second of training."""
        return sum(s["tokens"] for s in self.steps) / max(self.seconds, 1e-9)

    @property
    def texts_per_second(self):
        """Texts by second of training."""
        return sum(s["texts"] for s in self.steps) / max(self.seconds, 1e-9)

    @property
    def peak_memory(self):
        """The most bytes in use at the end of a step: of the process on a CPU, of the allocator on a GPU."""
        return max((s["memory"] for s in self.steps), default=0)


# --------------------------------------------------------------------------- the loop


def train(objective, texts, config=None, output=None, resume=False, evaluate=None, progress=True):
    """Train an objective's encoder on texts.

    objective: see `course_lib.objectives`. texts: a list, one item an example. config: a TrainingConfig.
    output: a folder for checkpoints and the finished encoder. resume: go on from the checkpoint in `output`, exactly as
    if never stopped; without one, start. evaluate: a function of the encoder that returns {name: number}, the first of
    which says how good it is. Ctrl-C ends the run early, with the best weights evaluated so far.
    Returns a TrainingRecord. Raises ValueError for texts that are too few, or a checkpoint of another run.
    """
    config = config or TrainingConfig()
    _check(objective, texts, config, output, resume)
    precision = choose_precision(config.precision, objective.encoder.device)
    accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision,
                              cpu=objective.encoder.device.type == "cpu")
    examples = objective.prepare(texts)
    batches = Batches([len(e) for e in examples], config, objective.smallest_batch, accelerator.num_processes)
    optimizer = make_optimizer(objective, config)
    model, optimizer = accelerator.prepare(objective, optimizer)
    record = TrainingRecord(asdict(config), precision, str(accelerator.device), len(examples))
    run = _Run(objective, optimizer, accelerator, record, output, evaluate, config)
    if resume:
        run.restore()
    model.train()
    started = time.perf_counter() - record.seconds
    bar = tqdm(total=batches.steps, initial=len(record.steps), desc="Training", unit="step",
               disable=not (progress and accelerator.is_main_process))
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else ()):
            for step in range(len(record.steps), batches.steps):
                rate = config.learning_rate * schedule(step, batches.steps, config)
                loss, norm, tokens, count = _step(model, optimizer, accelerator, examples, batches, step, rate, config)
                record.steps.append({"step": step + 1, "loss": loss, "gradient_norm": norm, "learning_rate": rate,
                                     "tokens": tokens, "texts": count, "seconds": time.perf_counter() - started,
                                     "memory": memory_in_use(accelerator.device)})
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
                started += run.after_step(step + 1, batches.steps)
        record.outcome = "finished"
    except KeyboardInterrupt:
        record.outcome = "interrupted"
        run.checkpoint()
        tqdm.write(f"Stopped after {len(record.steps)} of {batches.steps} steps; " + run.what_is_kept())
    finally:
        bar.close()
        objective.eval()
    run.finish()
    return record


def _step(model, optimizer, accelerator, examples, batches, step, rate, config):
    """One optimiser step: loss, gradient norm, tokens and texts. All chance comes from the seed and the step's number,
    so a resumed run needs no saved generator."""
    torch.manual_seed(_mix(config.seed, step, accelerator.process_index))
    generator = torch.Generator().manual_seed(_mix(config.seed, step, accelerator.process_index) + 1)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate", 1.0)  # an objective may ask for a rate of its own for new weights
    total, tokens, count = 0.0, 0, 0
    for part in batches.of_step(step, accelerator.process_index):
        batch = model_of(model).collate([examples[i] for i in part], generator)
        tokens += int(batch["attention_mask"].sum())
        count += len(part)
        batch = {k: v.to(accelerator.device, non_blocking=True) for k, v in batch.items()}
        with accelerator.autocast():
            loss = model(batch) / config.accumulate
        accelerator.backward(loss)
        total += loss.detach().float()
    norm = accelerator.clip_grad_norm_(model.parameters(), config.max_gradient_norm)
    optimizer.step()
    optimizer.zero_grad()
    return float(total), float(norm), tokens, count


class _Run:
    """What happens around the steps: evaluation, checkpoints, the best weights so far."""

    def __init__(self, objective, optimizer, accelerator, record, output, evaluate, config):
        self.objective, self.optimizer, self.accelerator, self.record = objective, optimizer, accelerator, record
        self.output, self.evaluate, self.config = Path(output) if output else None, evaluate, config
        self.best_score, self.best = -math.inf, None

    def after_step(self, step, steps):
        """Evaluate and save when it is time; the seconds that took, which are not training."""
        began = time.perf_counter()
        every = self.config.evaluate_every
        if self.evaluate and (step == steps or (every and step % every == 0)):
            self.objective.eval()
            scores = self.evaluate(self.objective.encoder)
            self.objective.train()
            self.record.evaluations.append({"step": step, "seconds": self.record.seconds, **scores})
            score = next(iter(scores.values()))
            if score > self.best_score:
                self.best_score, self.best = score, {k: v.detach().clone() for k, v in _tensors(self.objective).items()}
        every = self.config.checkpoint_every
        if every and step % every == 0 and step < steps:
            self.checkpoint()
        return time.perf_counter() - began

    def checkpoint(self):
        """Write weights, optimiser and record to the output folder, in one file, whole or not at all."""
        if self.output is None or not self.accelerator.is_main_process:
            return
        tensors = {f"model.{k}": v for k, v in _tensors(self.objective).items()}
        tensors |= {f"best.{k}": v for k, v in (self.best or {}).items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items() if torch.is_tensor(v)}
        scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler else {}
        about = {"record": asdict(self.record), "best_score": self.best_score, "scaler": scaler}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        write_atomically(self.output / CHECKPOINT, safetensors_bytes(tensors, {"about": json.dumps(about)}))

    def restore(self):
        """Continue from the checkpoint, where there is one."""
        path = self.output / CHECKPOINT
        if not path.is_file():
            return
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                tensors = {k: file.get_tensor(k) for k in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"the checkpoint {path} is damaged ({error}); delete it to start again") from error
        saved, now = about["record"], asdict(self.record)
        changed = [f"{k} was {saved['config'][k]!r} and is {v!r}" for k, v in now["config"].items() if saved["config"][k] != v]
        changed += [f"{k} was {saved[k]!r} and is {now[k]!r}" for k in ("precision", "texts") if saved[k] != now[k]]
        if changed:
            raise ValueError(f"the checkpoint in {self.output} is of another run: {'; '.join(changed)}. "
                             "Train with the old settings, or pass resume=False to start again")
        with torch.no_grad():
            for name, own in _tensors(self.objective).items():
                own.copy_(tensors[f"model.{name}"])
        state = self.optimizer.state_dict()
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                state["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(state)
        if self.accelerator.scaler and about["scaler"]:
            self.accelerator.scaler.load_state_dict(about["scaler"])
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        self.best_score, self.best = about["best_score"], best or None
        self.record.steps, self.record.evaluations = saved["steps"], saved["evaluations"]

    def finish(self):
        """Take the best weights where they were asked for or the run was cut short; save the encoder."""
        if self.best is not None and (self.config.keep_best or self.record.outcome == "interrupted"):
            with torch.no_grad():
                for name, own in _tensors(self.objective).items():
                    own.copy_(self.best[name])
        if self.output is not None and self.accelerator.is_main_process:
            self.objective.encoder.save(self.output)
            if self.record.outcome == "finished":
                (self.output / CHECKPOINT).unlink(missing_ok=True)

    def what_is_kept(self):
        """One sentence for the person who stopped the run."""
        kept = "the encoder has its latest weights" if self.best is None else f"the encoder has the weights that scored {self.best_score:.4g}"
        return kept + (f"; resume=True goes on from {self.output}." if self.output else ".")


# --------------------------------------------------------------------------- its parts


class Batches:
    """Which texts each step sees: shuffled, then grouped by length so that little is padding.

    Within a pool of 50 batches texts are sorted by length and cut into batches, whose order is shuffled again. A pass is a
    pure function of the seed and its number, so that any step can be found without running those before it.
    """

    def __init__(self, lengths, config, smallest_batch=1, processes=1):
        self.lengths = torch.tensor(lengths)
        self.config, self.smallest_batch, self.processes = config, smallest_batch, processes
        self.a_step = config.accumulate * processes
        self.a_pass = max(1, len(self._pass(0)) // self.a_step)
        self.steps = config.steps or max(1, round(self.a_pass * config.epochs))
        self._made = {}

    def of_step(self, step, process=0):
        """The batches of one step and process: `accumulate` lists of indices."""
        number, position = divmod(step, self.a_pass)
        if number not in self._made:
            self._made = {number: self._pass(number)}
        batches = self._made[number]
        mine = range(position * self.a_step + process, (position + 1) * self.a_step, self.processes)
        return [batches[i % len(batches)] for i in mine]

    def _pass(self, number):
        generator = torch.Generator().manual_seed(_mix(self.config.seed, number, 0) + 2)
        order = torch.randperm(len(self.lengths), generator=generator)
        size = self.config.batch_size
        batches = []
        for pool in order.split(50 * size):
            pool = pool[self.lengths[pool].argsort(stable=True)]
            batches += [b.tolist() for b in pool.split(size) if len(b) >= self.smallest_batch]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def schedule(step, steps, config):
    """The share of the peak learning rate at a step (from 0): a linear rise, then what the configuration says."""
    warmup = math.ceil(steps * config.warmup)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(objective, config):
    """AdamW, without weight decay on biases and norms (as in BERT); an objective's own `make_optimizer` goes first."""
    if hasattr(objective, "make_optimizer"):
        return objective.make_optimizer(config)
    weights = [p for p in objective.parameters() if p.requires_grad]
    groups = [{"params": [p for p in weights if p.ndim > 1], "weight_decay": config.weight_decay},
              {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0}]
    fused = objective.encoder.device.type in ("cpu", "cuda")
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=fused)


def choose_precision(asked, device):
    """What "auto" means here: bf16 where the hardware multiplies it, else fp16 on CUDA, else fp32."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    # torch has no public question for this yet; a build without the private one counts as a processor without bf16
    if device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        return "bf16"
    return "fp32"  # bf16 without hardware for it is slower than fp32 (measured: about eight times)


def memory_in_use(device):
    """Bytes: the allocator's peak on CUDA, the process's resident set elsewhere."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def model_of(model):
    """The objective inside whatever multi-process training wraps around it."""
    return getattr(model, "module", model)


def _mix(*numbers):
    """One seed from several numbers, different for each combination."""
    seed = 0
    for n in numbers:
        seed = (seed * 1_000_003 + n + 12_345) % (2**61 - 1)
    return seed * 4


def _tensors(objective):
    """Every weight and buffer once, by name; shared ones (tied embeddings) under their first name."""
    return {**dict(objective.named_parameters()), **dict(objective.named_buffers())}


def _check(objective, texts, config, output, resume):
    """Say what is wrong before anything is spent."""
    if isinstance(texts, str):
        raise TypeError("texts is one string; put the texts in a list")
    if len(texts) == 0:
        raise ValueError("texts is empty; there is nothing to train on")
    few = min(len(texts), config.batch_size)
    if few < objective.smallest_batch:
        culprit = f"texts holds {len(texts)}" if len(texts) < objective.smallest_batch else f"batch_size is {config.batch_size}"
        raise ValueError(f"{culprit}; {type(objective).__name__} compares each text with the others in its batch and needs "
                         f"at least {objective.smallest_batch}. Pass more texts, or raise batch_size")
    if resume and output is None:
        raise ValueError("resume=True needs output, the folder that holds the checkpoint")
    if output is not None and Path(output).is_file():
        raise ValueError(f"output {str(output)!r} is a file; name a folder")
