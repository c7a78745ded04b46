"""A training that can be watched and stopped."""

import signal
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import contextmanager

import ipywidgets
import numpy as np
from matplotlib.figure import Figure
from torch import nn

from course_lib.notebook import plots
from course_lib.notebook.widgets.panel import Panel, as_html, as_text
from course_lib.training import TrainingConfig, TrainingRecord, train

DRAWING_SHARE = 0.05  # of the time; the training waits while the curves are drawn
DRAWING_PAUSE = 1.0  # seconds between two drawings, at least
FIRST_ERROR = 1.0  # seconds in which a wrong argument is reported where the training was started
TRAINED = weakref.WeakKeyDictionary()  # {objective: steps that dashboards have trained it}


def training_dashboard(
    objective: nn.Module, examples: list, config: TrainingConfig | None = None, evaluate: Callable | None = None
) -> "Dashboard":
    """Train in the background, with live curves and a button that stops.

    In the next cell, `record = dashboard.result()` waits for the end, so that no later cell uses an encoder that is
    still in training. Stopping keeps the best weights evaluated so far, as Ctrl-C does in `train`. An objective that a
    dashboard has trained before goes on from there, and the dashboard says so.

    objective, examples, config, evaluate: as `course_lib.training.train` takes them.
    Returns a Dashboard, which is shown when it is the value of a cell.
    Raises what `train` raises for wrong arguments.
    """
    return Dashboard(objective, examples, config or TrainingConfig(), evaluate)


class Dashboard(Panel):
    """A running training; `.result()` waits for its TrainingRecord.

    An older front end passes a button's click on only between two cells. While a cell waits, interrupting the kernel
    does the same.

    objective, examples, config, evaluate: as `course_lib.training.train` takes them.
    """

    def __init__(self, objective: nn.Module, examples: list, config: TrainingConfig, evaluate: Callable | None):
        self.button = ipywidgets.Button(
            description="Stop",
            icon="stop",
            style={"button_color": "#A33200", "text_color": "white"},  # a contrast of 7:1
            tooltip="End the training now and keep the best weights so far",
        )
        self.status, self.curves = ipywidgets.HTML(), ipywidgets.HTML()
        super().__init__(
            "Training dashboard",
            [ipywidgets.HBox([self.button, self.status]), self.curves],
            lambda: f"<p>{self.status.value}</p>{self.curves.value}",
        )
        self._record, self._error, self._refused = None, None, False
        self._objective, self._evaluate_with = objective, evaluate
        earlier = TRAINED.get(objective, 0)
        self._before = f", after {earlier} steps of an earlier run" if earlier else ""
        self._config, self._losses, self._evaluations, self._unfinished = config, [], [], []
        self._hint = ""
        self._began = self._said = time.monotonic()
        self._next_drawing = self._began + DRAWING_PAUSE
        self._running, self._stopping, self._over = threading.Event(), threading.Event(), threading.Event()
        self.button.on_click(lambda _: self.stop())
        self._say(f"preparing {len(examples):,} texts …{self._before}")
        # a thread, so that the kernel stays free for the button; a daemon, so that it dies with the kernel
        thread = threading.Thread(target=self._train, args=(objective, examples, evaluate), daemon=True)
        with _on_interrupt(self.stop):
            thread.start()
            self._running.wait(FIRST_ERROR)
        if self._refused:
            raise self._error

    def stop(self) -> None:
        """End the training, also in the middle of an evaluation; its record then has the outcome "interrupted"."""
        if not self._over.is_set() and not self._stopping.is_set():
            self._stopping.set()
            self.button.disabled = True
            self._say("stopping …")

    def result(self) -> TrainingRecord:
        """Wait for the end of the training; an interrupt of the kernel stops it.

        A training that was stopped before it was measured is measured now, so that its record always ends with an
        evaluation of the weights that the encoder has.

        Returns the TrainingRecord. Raises what the training raised, KeyboardInterrupt where it was stopped before its
        first step.
        """
        # not `await`: ipykernel 7.4 leaves a widget that is moved while a cell awaits without an answer for good
        self._hint = " · if Stop does not answer, interrupt the kernel (■)"
        with _on_interrupt(self.stop):
            while not self._over.wait(0.2):  # without a limit, Windows would not interrupt it
                pass
        if self._error:
            raise self._error
        if self._evaluate_with and not self._record.is_measured:
            self._record.add_evaluation(self._evaluate_with(self._objective.encoder))
        return self._record

    def save_still(self) -> None:
        """Nothing while it trains: the curves change every second."""

    # ------------------------------------------------------------------ in the thread

    def _train(self, objective, examples, evaluate):
        # every module, because an evaluation may call any of them: `encode`, the objective itself, a decoder
        hooks = [module.register_forward_pre_hook(self._end_if_stopped) for module in objective.modules()]
        hooks.append(objective.register_forward_hook(self._after_batch))
        try:
            self._record = train(
                objective,
                examples,
                self._config,
                progress=False,
                evaluate=evaluate and (lambda encoder: self._evaluate(evaluate, encoder)),
            )
            TRAINED[objective] = TRAINED.get(objective, 0) + len(self._record.steps)
            self._show_end()
        except BaseException as error:  # nobody would see it in a thread; `result` raises it
            self._error, self._refused = error, not self._running.is_set()
            early = "stopped before its first step"
            self._say(early if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}")
        finally:
            for hook in hooks:
                hook.remove()
            self.button.disabled = True
            Panel.save_still(self)  # the saved notebook should keep the last state, not that of the beginning
            self._running.set()
            self._over.set()

    def _end_if_stopped(self, module, inputs):
        if self._stopping.is_set():
            raise KeyboardInterrupt  # `train` then ends as it does on Ctrl-C

    def _after_batch(self, module, batch, loss):
        """Note a batch's loss; the loop knows nothing of a dashboard, so this is a hook of the objective."""
        self._running.set()
        if not module.training:  # `evaluate` computed a loss
            return
        self._unfinished.append(float(loss.detach()))
        if len(self._unfinished) == self._config.gradient_accumulation_steps:
            self._losses.append(sum(self._unfinished) / len(self._unfinished))
            self._unfinished.clear()
            self._show_step()

    def _evaluate(self, evaluate, encoder):
        self._running.set()
        self._say(f"{self._step()} · evaluating …")
        scores = evaluate(encoder)
        if isinstance(scores, dict):  # else `train` says what is wrong
            self._evaluations.append((len(self._losses), {k: float(v) for k, v in scores.items()}))
        return scores

    # ------------------------------------------------------------------ what it shows

    def _say(self, text):
        self._said = time.monotonic()
        self.status.value = f"<b>Training</b> · {as_text(text)}"

    def _step(self):
        return f"step {len(self._losses)}" + (f" of {self._config.steps}" if self._config.steps else "")

    def _show_step(self):
        now = time.monotonic()
        if now - self._said > 0.3:
            left, done = (self._config.steps or 0) - len(self._losses), now - self._began
            to_go = f", about {done / len(self._losses) * left:.0f} s to go" if left > 0 else ""
            self._say(f"{self._step()} · loss {self._losses[-1]:.3f} · {done:.0f} s{to_go}{self._hint}")
        if now > self._next_drawing:
            self.curves.value = as_html(_live(self._losses, self._evaluations))
            self._next_drawing = time.monotonic() + max(DRAWING_PAUSE, (time.monotonic() - now) / DRAWING_SHARE)

    def _show_end(self):
        record = self._record
        if record.steps:
            self.curves.value = as_html(plots.training_curves(record))
        took = (
            f"{len(record.steps)} steps in {record.seconds:.0f} s, {record.texts_per_second:.0f} texts/s{self._before}"
        )
        if record.outcome == "finished":
            self._say(f"finished: {took}")
        else:
            measured = [e for e in record.evaluations if e["step"] and np.isfinite(e[record.metric])]
            kept = max(measured, key=lambda e: e[record.metric], default=None)
            weights = "its latest weights"
            if kept:
                best = f"{record.metric} {kept[record.metric]:.3f}"
                weights = f"the weights of step {kept['step']}, which scored best ({best})"
            self._say(f"stopped after {took}; the encoder has {weights}")


def _live(losses, evaluations):
    """The losses and each metric so far, in panels side by side; a metric may have a point before the first step."""
    panels = {"Loss": list(enumerate(losses, 1))}
    for name in evaluations[0][1] if evaluations else ():
        panels[name] = [(step, scores[name]) for step, scores in evaluations]
    with plots.style():
        figure = Figure(figsize=(1 + 3.2 * len(panels), 3))
        for axes, (name, points) in zip(np.ravel(figure.subplots(1, len(panels))), panels.items()):
            axes.plot(*zip(*points), "o-" if len(points) < 20 else "-")
            axes.set(title=name, xlabel="Step")
            axes.locator_params(axis="x", integer=True, nbins=5)
    at = lambda point: f"{point[1]:.3f} at step {point[0]}"  # noqa: E731
    told = "; ".join(f"{name} from {at(points[0])} to {at(points[-1])}" for name, points in panels.items())
    return plots.show(figure, f"Curves of a training that is running: {told}.")


@contextmanager
def _on_interrupt(action):
    """Call action() whenever the kernel is interrupted, in place of raising KeyboardInterrupt."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is None:  # nothing interrupts here, or not by Python's means
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
