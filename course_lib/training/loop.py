"""The one training loop, for every objective: batches in, loss out, and a record of how it went."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

from course_lib.models.precision import autocast, choose_precision
from course_lib.objectives import Objective
from course_lib.objectives.in_batch import InBatchObjective
from course_lib.storage import fingerprint
from course_lib.training.ahead import AHEAD, Collated, StepsAhead, ready_for_gpu, runs_ahead
from course_lib.training.batches import Batches, mix_seeds
from course_lib.training.checkpoint import Checkpoint
from course_lib.training.config import TrainingConfig
from course_lib.training.dropout import cheaper_dropout
from course_lib.training.evaluation import Best, Evaluation
from course_lib.training.interrupts import defer_interrupt
from course_lib.training.losses import READ_EVERY, Losses
from course_lib.training.optimizer import Schedule, make_optimizer
from course_lib.training.record import TrainingRecord

# steps: compilation takes half a minute on an H100 (measured), and afterwards a step is some milliseconds shorter
COMPILE_FROM = 5000


def train(
    objective: Objective,
    examples: list,
    config: TrainingConfig | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    evaluate: Callable | None = None,
    progress: bool = True,
) -> TrainingRecord:
    """Train an objective's encoder. Ctrl-C ends the run early, with the best weights evaluated so far.

    objective: see `course_lib.objectives`.
    examples: a list of what the objective takes: texts, or tuples of texts.
    config: a TrainingConfig.
    output: a folder for checkpoints and for what the objective saves at the end.
    resume: continue from the checkpoint in `output` as if the run had never stopped; without a checkpoint, start.
    evaluate: a function of the encoder that returns {name: number}; `config.metric` says which is maximised.
    progress: whether to show a bar.
    Returns a TrainingRecord. Of a run that was stopped before `evaluate` was called, it has one evaluation, of the end.
    Raises KeyboardInterrupt for a run without output that was stopped before its first step,
    TypeError or ValueError for examples that cannot be trained on and for a checkpoint of another run,
    FloatingPointError where the loss or the gradient is not a finite number; the weights then are as before the step.
    """
    config = config or TrainingConfig()
    _check(objective, examples, config, output, resume, evaluate)
    state = TrainingState(objective, examples, config, output, evaluate)
    if resume:
        state.checkpoint.restore()
    objective.train()
    try:
        # every step seeds torch's global generators; afterwards they are as the caller left them
        generators = torch.random.fork_rng(devices=range(torch.cuda.device_count()))
        with generators, cheaper_dropout(objective, state.device), state.bar(progress) as bar:
            train_steps(state, bar)
        state.record.outcome = "finished"
    except KeyboardInterrupt:
        state.losses.read()
        if output is None and not state.record.steps:
            raise  # nothing is left of such a run
        state.record.outcome = "interrupted"
        state.save_checkpoint()
    finally:
        state.optimizer.zero_grad()
        objective.eval()
    state.finish()
    return state.record


def train_steps(state: "TrainingState", bar: tqdm):
    """Every step that is left of a run: this is the training loop."""
    config, objective, optimizer, scaler = state.config, state.objective, state.optimizer, state.scaler
    schedule = Schedule(optimizer, config, state.batches.steps, done=len(state.record.steps))
    state.evaluation.run_if_due()
    state.losses.restart_clock()
    with state.steps_ahead() as batches_of:
        for step in range(len(state.record.steps), state.batches.steps):
            torch.manual_seed(state.seed_of(step))
            optimizer.zero_grad()  # an interrupted step may have left some gradients
            loss, batches = 0.0, batches_of(step)
            for number, batch in enumerate(batches, 1):
                with state.exchange(gradients=number == len(batches)):
                    with autocast(state.device, state.precision):
                        part = state.model(batch.to(state.device)) / config.gradient_accumulation_steps
                    scaler.scale(part).backward()
                loss += part.detach().float().reshape(())  # a learner's loss may have the shape (1,)
            loss = state.average(loss)
            scaler.unscale_(optimizer)
            norm = clip_grad_norm_(objective.parameters(), config.max_gradient_norm)
            state.losses.check(loss, norm, schedule.rate)
            with defer_interrupt():  # weights, optimizer, schedule and losses change together
                scaler.step(optimizer)
                scaler.update()
                state.losses.add(loss, norm, schedule.step(), batches)
            if state.losses_are_due(step + 1):
                state.losses.read()
                bar.set_postfix(loss=f"{state.record.losses[-1]:.3f}", refresh=False)
                state.evaluation.run_if_due()
                state.save_checkpoint_if_due()
                state.losses.restart_clock()
            bar.update()


def compiled(model: nn.Module, wanted: bool | str, device: torch.device, steps: int) -> nn.Module:
    """The model, compiled where that is wanted; with "auto" only for long runs on a GPU that supports it.

    model: shares its weights with the compiled one.
    wanted: as `TrainingConfig.compile`.
    device, steps: of the run.
    """
    if wanted == "auto":
        can = device.type == "cuda" and find_spec("triton") and torch.cuda.get_device_capability(device) >= (7, 0)
        if not can or steps < COMPILE_FROM:
            return model
    return torch.compile(model) if wanted else model


class TrainingState:
    """Everything that one training run works with; `train` makes it, `train_steps` uses it."""

    def __init__(self, objective, examples, config, output, evaluate):
        processes = PartialState(cpu=objective.encoder.device.type == "cpu")
        if processes.num_processes > 1:
            objective.to(processes.device)
        self.process, self.is_main = processes.process_index, processes.is_main_process
        self.objective, self.config, self.output = objective, config, output
        self.device = objective.encoder.device
        objective.mark_similarity()
        if isinstance(objective, InBatchObjective):
            objective.in_pieces_of(config.gradient_cache)
        self.precision = choose_precision(config.precision, self.device)
        self.optimizer = make_optimizer(objective, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.examples = objective.prepare(examples)
        lengths, keys = [len(e) for e in self.examples], [objective.exclusive(e) for e in self.examples]
        self.batches = Batches(lengths, config, objective.smallest_batch, processes.num_processes, keys)
        data = "" if output is None else fingerprint([repr(e) for e in self.examples])
        known = (asdict(config), self.precision, str(self.device), len(self.examples), objective.settings(), data)
        self.record = TrainingRecord(*known, processes=processes.num_processes)
        self.losses = Losses(self.record, self.optimizer, self.scaler, self._defers_losses())
        self.shared = DistributedDataParallel(objective) if processes.num_processes > 1 else None
        model = self.shared or objective
        self.model = compiled(model, config.compile, self.device, self.batches.steps)
        best = Best()
        self.evaluation = Evaluation(evaluate, objective, self.record, best, self.batches.steps)
        self.checkpoint = Checkpoint(output, objective, self.optimizer, self.scaler, self.record, best)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def exchange(self, gradients):
        """The context of one batch; only the last one of a step has its gradients averaged over the processes."""
        return nullcontext() if self.shared is None or gradients else self.shared.no_sync()

    def average(self, loss):
        """A loss, averaged over the processes: one that is no number is then seen by all of them."""
        if self.shared is not None:
            dist.all_reduce(loss)
            loss /= self.record.processes
        return loss

    def _defers_losses(self):
        """Whether losses stay on the device for a while: on a GPU, with an optimizer that can skip a step by itself."""
        return runs_ahead(self.device) and self.precision != "fp16" and self.objective.optimizer == "adamw"

    def losses_are_due(self, done):
        """Whether the losses are read after so many steps: always, or before somebody looks at them."""
        config = self.config
        every = (READ_EVERY if self.losses.deferred else 1, config.evaluate_every, config.checkpoint_every)
        return done == self.batches.steps or any(n and done % n == 0 for n in every)

    def seed_of(self, step):
        """The seed of a step: all random numbers come from it, so that a resumed run needs no saved generator."""
        return mix_seeds(self.config.seed, step, self.process)

    def steps_ahead(self):
        """The batches of each step, on a GPU made ahead of it."""
        return StepsAhead(self.collate, self.batches.steps, AHEAD if runs_ahead(self.device) else 0)

    def collate(self, step):
        """Make the batches of one step, a list of Collated."""
        generator, made = torch.Generator().manual_seed(self.seed_of(step) + 1), []
        for positions in self.batches.batches_for(step, self.process):
            tensors = self.objective.collate([self.examples[i] for i in positions], generator)
            tokens = sum(int(mask.sum()) for name, mask in tensors.items() if name.endswith("attention_mask"))
            if runs_ahead(self.device):
                tensors = ready_for_gpu(tensors, self.objective.encoder)
            made.append(Collated(tensors, len(positions), tokens))
        return made

    def bar(self, progress):
        """The progress bar, shown by the first process only."""
        done, hidden = len(self.record.steps), not (progress and self.is_main)
        return tqdm(total=self.batches.steps, initial=done, desc="Training", unit="step", disable=hidden)

    def save_checkpoint_if_due(self):
        """A checkpoint after every `checkpoint_every` steps but the last."""
        step, every = len(self.record.steps), self.config.checkpoint_every
        if every and step % every == 0 and step < self.batches.steps:
            self.save_checkpoint()

    def save_checkpoint(self):
        """A checkpoint, written by the first process only."""
        if self.is_main:
            self.checkpoint.save()

    def finish(self):
        """Take the best weights where they were asked for or the run was cut short; save what the objective keeps."""
        stopped = self.record.outcome == "interrupted"
        if self.config.keep_best or stopped:
            self.evaluation.take_best()
        if stopped:
            with suppress(KeyboardInterrupt):  # somebody in a hurry
                self.evaluation.run_if_unmeasured()
        if not self.is_main:
            return
        if self.output is not None:
            self.objective.save(self.output)
        if not stopped:
            self.checkpoint.remove()
            return
        best = self.evaluation.best
        weights = "its latest weights" if best.weights is None else f"the weights that scored {best.score:.4g}"
        later = f"; resume=True continues from {self.output}." if self.output else "."
        done = f"{len(self.record.steps)} of {self.batches.steps} steps"
        tqdm.write(f"Stopped after {done}; the encoder has {weights}{later}")


def _check(objective, examples, config, output, resume, evaluate):
    """Say what is wrong before anything is spent."""
    kind = type(objective).__name__
    if not isinstance(objective, Objective):
        raise TypeError(
            f"`objective` is a {kind}; pass one around it, such as SimCSE(encoder), Relevance(cross_encoder)"
        )
    if isinstance(examples, str | bytes) or not hasattr(examples, "__len__"):
        raise TypeError(f"`examples` is a {type(examples).__name__}; pass a list")
    if len(examples) == 0:
        raise ValueError("`examples` is empty; there is nothing to train on")
    if config.gradient_cache is not None and not isinstance(objective, InBatchObjective):
        raise ValueError(
            f"gradient_cache is {config.gradient_cache}; {kind} does not compare the texts of a batch with each other: "
            "a smaller batch_size with more gradient_accumulation_steps gives the same and needs no cache"
        )
    for what, count in (("the number of examples", len(examples)), ("batch_size", config.batch_size)):
        if count < objective.smallest_batch:
            needs = f"compares each text with the others in its batch and needs at least {objective.smallest_batch}"
            raise ValueError(f"{what} is {count}; {kind} {needs}")
    if resume and output is None:
        raise ValueError("resume=True needs output, the folder that holds the checkpoint")
    if config.keep_best and evaluate is None:
        raise ValueError("keep_best=True needs evaluate, a function that says how good an encoder is")
    if output is not None and Path(output).is_file():
        raise ValueError(f"output {str(output)!r} is a file; name a folder")
