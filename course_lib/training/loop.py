"""The one training loop, for every objective: batches in, loss out, and a record of how it went."""

import hashlib
import json
import math
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from course_lib import functional
from course_lib.storage import write_atomically

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class TrainingConfig:
    """How to train; the defaults are those of Sentence Transformers' `fit` (AdamW, 10 % warm-up, linear decay, clip 1).

    steps: optimiser steps; None means `epochs` passes over the texts. batch_size: texts a batch; a step takes
    `accumulate` batches in each process. learning_rate: the peak. warmup: share of the steps. schedule: "linear",
    "cosine", "constant" or "stepwise" (that of Contrastive Tension's authors) after the warm-up. precision: "auto" (bf16 where the processor multiplies it in hardware,
    else fp16 on CUDA, else fp32), or one of these. evaluate_every, checkpoint_every: in steps; 0 means only at the end,
    and never. keep_best: end with the weights that scored best rather than with the last.
    Raises ValueError for values out of range.
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
        for name in ("batch_size", "accumulate", "epochs", "learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("weight_decay", "evaluate_every", "checkpoint_every"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1, or None for `epochs` passes")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup is {self.warmup}; it is a share of the steps, between 0 and 1")
        for name, choices in (
            ("schedule", ("linear", "cosine", "constant", "stepwise")),
            ("precision", ("auto", "fp32", "bf16", "fp16")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")


@dataclass
class TrainingRecord:
    """What a run did.

    steps: a dict a step: step, loss, gradient_norm (before clipping), learning_rate, tokens, texts, seconds (of
    training since the start) and memory (bytes in use). evaluations: a dict each: step, seconds, and what `evaluate`
    returned. objective: its settings. data: a fingerprint of the prepared texts. With several processes, the numbers of
    the first.
    """

    config: dict
    precision: str
    device: str
    texts: int
    objective: dict
    data: str = ""
    processes: int = 1
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
    Returns a TrainingRecord. Raises TypeError or ValueError for texts that cannot be trained on and for a checkpoint of
    another run, FloatingPointError where the loss is no number any more.
    """
    config = config or TrainingConfig()
    _check(objective, texts, config, output, resume, evaluate)
    run = _Run(objective, texts, config, output, evaluate)
    if resume:
        run.restore()
    record, steps = run.record, run.batches.steps
    hidden = not (progress and run.is_main)
    bar = tqdm(total=steps, initial=len(record.steps), desc="Training", unit="step", disable=hidden)
    objective.train()
    try:
        # every step seeds torch's global generators anew; afterwards they are as the caller left them
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            run.evaluate_if_due()  # a resumed run may have been stopped just before
            while len(record.steps) < steps:
                loss = run.step()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
                run.evaluate_if_due()
                run.checkpoint_if_due()
        record.outcome = "finished"
    except KeyboardInterrupt:
        record.outcome = "interrupted"
        run.checkpoint()
    finally:
        bar.close()
        run.optimizer.zero_grad()
        objective.eval()
    run.finish()
    return record


class _Run:
    """One training run: its steps, its evaluations, its checkpoints and the best weights so far."""

    def __init__(self, objective, texts, config, output, evaluate):
        state = PartialState(cpu=objective.encoder.device.type == "cpu")
        if state.num_processes > 1:
            objective.to(state.device)
        self.device = objective.encoder.device
        self.process, self.is_main = state.process_index, state.is_main_process
        self.precision = choose_precision(config.precision, self.device)
        self.objective, self.config, self.evaluate = objective, config, evaluate
        self.model = DistributedDataParallel(objective) if state.num_processes > 1 else objective
        self.optimizer = make_optimizer(objective, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.examples = objective.prepare(texts)
        self.batches = Batches([len(e) for e in self.examples], config, objective.smallest_batch, state.num_processes)
        self.output = None if output is None else Path(output)
        self.best_score, self.best = -math.inf, None
        self.record = TrainingRecord(
            asdict(config),
            self.precision,
            str(self.device),
            len(self.examples),
            objective.settings(),
            "" if output is None else fingerprint(self.examples),
            state.num_processes,
        )
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def step(self):
        """One optimiser step; returns its loss. All chance comes from the seed and the step's number, so that a resumed
        run needs no saved generator."""
        began = time.perf_counter()
        number, config = len(self.record.steps), self.config
        seed = _mix(config.seed, number, self.process)
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed + 1)
        loss, tokens, texts = 0.0, 0, 0
        self.optimizer.zero_grad()  # an interrupted step may have left some
        for batch in self.batches.of_step(number, self.process):
            inputs = self.objective.collate([self.examples[i] for i in batch], generator)
            tokens, texts = tokens + int(inputs["attention_mask"].sum()), texts + len(batch)
            loss += self._backward({k: v.to(self.device, non_blocking=True) for k, v in inputs.items()})
        rate = config.learning_rate * schedule(number, self.batches.steps, config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)  # an objective may ask for a rate of its own for new weights
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), config.max_gradient_norm)
        loss = float(loss)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss of step {number + 1} is {loss}; lower learning_rate (now {rate:.2g})")
        with _undivided():
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.record.steps.append(
                {
                    "step": number + 1,
                    "loss": loss,
                    "gradient_norm": float(norm),
                    "learning_rate": rate,
                    "tokens": tokens,
                    "texts": texts,
                    "seconds": self.record.seconds + time.perf_counter() - began,
                    "memory": memory_in_use(self.device),
                }
            )
        return loss

    def _backward(self, inputs):
        """Add the gradients of one batch; returns its share of the step's loss."""
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        with torch.autocast(self.device.type, kind, enabled=kind is not None):
            loss = self.model(inputs) / self.config.accumulate
        self.scaler.scale(loss).backward()
        return loss.detach().float()

    def evaluate_if_due(self):
        """Evaluate after every `evaluate_every` steps and after the last, once; remember the best weights."""
        step, every = len(self.record.steps), self.config.evaluate_every
        if self.evaluate is None or not (step == self.batches.steps or (every and step and step % every == 0)):
            return
        if self.record.evaluations and self.record.evaluations[-1]["step"] == step:
            return
        self.objective.eval()
        scores = self.evaluate(self.objective.encoder)
        self.objective.train()
        if not isinstance(scores, dict) or not scores:
            raise TypeError(f"evaluate returned {scores!r:.60}; it must return {{name: number}}, what counts first")
        scores = {k: float(v) for k, v in scores.items()}
        score = next(iter(scores.values()))
        with _undivided():
            self.record.evaluations.append({"step": step, "seconds": self.record.seconds, **scores})
            if score > self.best_score:
                self.best_score, self.best = score, {k: v.detach().clone() for k, v in _tensors(self.objective).items()}

    def checkpoint_if_due(self):
        """A checkpoint after every `checkpoint_every` steps but the last."""
        step, every = len(self.record.steps), self.config.checkpoint_every
        if every and step % every == 0 and step < self.batches.steps:
            self.checkpoint()

    def checkpoint(self):
        """Write weights, optimiser and record to the output folder, in one file, whole or not at all."""
        if self.output is None or not self.is_main:
            return
        tensors = {f"model.{k}": v for k, v in _tensors(self.objective).items()}
        tensors |= {f"best.{k}": v for k, v in (self.best or {}).items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        about = {"record": asdict(self.record), "best_score": self.best_score, "scaler": self.scaler.state_dict()}
        tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
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
        except (SafetensorError, TypeError, KeyError) as error:
            raise ValueError(f"the checkpoint {path} is damaged ({error}); delete it to start again") from error
        weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        self._check_same_run(about["record"], weights)
        self._take(weights)
        state = self.optimizer.state_dict()
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                state["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(state)
        self.scaler.load_state_dict(about["scaler"])
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        self.best_score, self.best = about["best_score"], best or None
        self.record.steps, self.record.evaluations = about["record"]["steps"], about["record"]["evaluations"]

    def _check_same_run(self, saved, weights):
        """Raise ValueError, naming every difference, unless a checkpoint's record and weights are of this run."""
        now = asdict(self.record)
        changed = [
            f"{k} was {saved[part].get(k)!r} and is {v!r}"
            for part in ("config", "objective")
            for k, v in now[part].items()
            if saved[part].get(k) != v and k != "precision"
        ]
        changed += [
            f"{k} was {saved[k]!r} and is {now[k]!r}" for k in ("precision", "texts", "processes") if saved[k] != now[k]
        ]
        if saved["data"] != now["data"] and saved["texts"] == now["texts"]:
            changed.append("the texts, or how they are cut into tokens, are others")
        if {k: v.shape for k, v in weights.items()} != {k: v.shape for k, v in _tensors(self.objective).items()}:
            changed.append("the model has other layers or sizes")
        if changed:
            raise ValueError(
                f"the checkpoint in {self.output} is of another run: {'; '.join(changed)}. "
                "Train with the old settings, or pass resume=False to start again"
            )

    def _take(self, weights):
        with torch.no_grad():
            for name, own in _tensors(self.objective).items():
                own.copy_(weights[name])

    def finish(self):
        """Take the best weights where they were asked for or the run was cut short; save the encoder."""
        stopped = self.record.outcome == "interrupted"
        if self.best is not None and (self.config.keep_best or stopped):
            self._take(self.best)
        if self.output is not None and self.is_main:
            self.objective.encoder.save(self.output)
            if not stopped:
                (self.output / CHECKPOINT).unlink(missing_ok=True)
        if stopped and self.is_main:
            weights = "its latest weights" if self.best is None else f"the weights that scored {self.best_score:.4g}"
            later = f"; resume=True goes on from {self.output}." if self.output else "."
            done = f"{len(self.record.steps)} of {self.batches.steps} steps"
            tqdm.write(f"Stopped after {done}; the encoder has {weights}{later}")


# --------------------------------------------------------------------------- its parts


class Batches:
    """Which texts each step sees: shuffled, then grouped by length so that little is padding.

    Within a pool of 50 batches texts are sorted by length and cut into batches, whose order is shuffled again. A pass
    shows no text twice, unless there are too few for one step. It is a pure function of the seed and its number, so
    that any step can be found without running those before it.
    """

    def __init__(self, lengths, config, smallest_batch=1, processes=1):
        self.lengths = torch.tensor(lengths)
        self.config, self.smallest_batch, self.processes = config, smallest_batch, processes
        self.a_step = config.accumulate * processes  # batches that all processes together take in a step
        self._number, self._batches = 0, self._pass(0)
        self.a_pass = max(1, len(self._batches) // self.a_step)  # steps in a pass; what is left over waits for the next
        self.steps = config.steps or max(1, round(self.a_pass * config.epochs))

    def of_step(self, step, process=0):
        """The batches of one step and process: `accumulate` lists of indices."""
        number, position = divmod(step, self.a_pass)
        if number != self._number:
            self._number, self._batches = number, self._pass(number)
        mine = range(position * self.a_step + process, (position + 1) * self.a_step, self.processes)
        return [self._batches[i % len(self._batches)] for i in mine]

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
    if config.schedule == "stepwise":
        return functional.stepwise_decay(step - warmup, steps - warmup)
    done = (step - warmup) / max(1, steps - warmup)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(objective, config):
    """AdamW, without weight decay on biases and norms (as in BERT); an objective's own `make_optimizer` goes first."""
    if hasattr(objective, "make_optimizer"):
        return objective.make_optimizer(config)
    if objective.optimizer == "rmsprop":
        return torch.optim.RMSprop(objective.parameters(), lr=config.learning_rate)
    factors, groups = objective.learning_rate_factors(), {}
    for weight in objective.parameters():
        if weight.requires_grad:
            decay = config.weight_decay if weight.ndim > 1 else 0.0
            groups.setdefault((decay, factors.get(weight, 1.0)), []).append(weight)
    groups = [{"params": weights, "weight_decay": decay, "rate": rate} for (decay, rate), weights in groups.items()]
    fused = objective.encoder.device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)


def choose_precision(asked, device):
    """What "auto" means here: bf16 where the hardware multiplies it, else fp16 on CUDA, else fp32."""
    if asked == "fp16" and device.type == "cpu":
        raise ValueError("precision is 'fp16', which needs a GPU; on a CPU choose 'bf16', 'fp32' or 'auto'")
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


def fingerprint(examples):
    """A short digest of prepared texts, to tell whether two runs trained on the same."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()[:16]


@contextmanager
def _undivided():
    """Hold Ctrl-C back until the block is done, so that weights, optimiser and record belong to the same step."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is None:  # nothing interrupts here, or not by Python's means
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *signal_and_frame: pressed.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed and callable(before):
            before(*pressed[0])


def _mix(*numbers):
    """One seed from several numbers, different for each combination."""
    seed = 0
    for n in numbers:
        seed = (seed * 1_000_003 + n + 12_345) % (2**61 - 1)
    return seed * 4


def _tensors(objective):
    """Every weight and buffer once, by name; shared ones (tied embeddings) under their first name."""
    return {**dict(objective.named_parameters()), **dict(objective.named_buffers())}


def _check(objective, texts, config, output, resume, evaluate):
    """Say what is wrong before anything is spent."""
    if isinstance(texts, (str, bytes)) or not hasattr(texts, "__len__"):
        raise TypeError(f"`texts` is a {type(texts).__name__}; pass a list, one item an example")
    if len(texts) == 0:
        raise ValueError("`texts` is empty; there is nothing to train on")
    for what, count in (("the number of texts", len(texts)), ("batch_size", config.batch_size)):
        if count < objective.smallest_batch:
            raise ValueError(
                f"{what} is {count}; {type(objective).__name__} compares each text with the others in its "
                f"batch and needs at least {objective.smallest_batch}"
            )
    if resume and output is None:
        raise ValueError("resume=True needs output, the folder that holds the checkpoint")
    if config.keep_best and evaluate is None:
        raise ValueError("keep_best=True needs evaluate, a function that says how good an encoder is")
    if output is not None and Path(output).is_file():
        raise ValueError(f"output {str(output)!r} is a file; name a folder")
