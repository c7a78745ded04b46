"""What a run does beside training: it measures the encoder now and then, and remembers the best weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from course_lib.objectives import Objective
from course_lib.training.checkpoint import load_weights, weights_of
from course_lib.training.interrupts import defer_interrupt
from course_lib.training.record import TrainingRecord


@dataclass
class Best:
    """The best score after the start, and the weights that had it, on the CPU; None before the first such score."""

    score: float = -math.inf
    weights: dict[str, Tensor] | None = None


class Evaluation:
    """Calls `evaluate` at the start, every `evaluate_every` steps and at the end, and notes the scores.

    evaluate: a function of the encoder that returns {name: number}; None measures nothing.
    objective: whose encoder is measured.
    record: of the run; its config says when, and which metric is maximised.
    best: where the best weights are kept.
    steps: of the whole run.
    """

    def __init__(self, evaluate: Callable | None, objective: Objective, record: TrainingRecord, best: Best, steps: int):
        self.evaluate, self.objective, self.record, self.best, self.steps = evaluate, objective, record, best, steps

    def run_if_unmeasured(self):
        """Measure a run that was stopped before its first evaluation, so that its record says what the encoder is."""
        if self.evaluate is not None and self.record.steps and not self.record.is_measured:
            self.record.add_evaluation(self._checked(self.evaluate(self.objective.encoder)))

    def run_if_due(self):
        """Measure, if it is time and this step was not measured before (a resumed run may have been)."""
        step, every = len(self.record.steps), self.record.config["evaluate_every"]
        due = step in (0, self.steps) or (every and step % every == 0)
        if self.evaluate is None or not due or any(e["step"] == step for e in self.record.evaluations):
            return
        self.objective.eval()
        scores = self._checked(self.evaluate(self.objective.encoder))
        self.objective.train()
        with defer_interrupt():
            self.record.add_evaluation(scores)
            score = scores[self.record.metric]
            if step and score > self.best.score:
                weights = weights_of(self.objective)
                self.best.weights = {k: v.detach().to("cpu", copy=True) for k, v in weights.items()}
                self.best.score = score

    def _checked(self, scores):
        if not isinstance(scores, dict) or not scores:
            raise TypeError(f"evaluate returned {scores!r:.60}; it must return {{name: number}}")
        self.record.metric = self.record.metric or self.record.config["metric"] or next(iter(scores))
        if self.record.metric not in scores:
            raise ValueError(f"metric is {self.record.metric!r}; evaluate returned {', '.join(scores)}")
        return {k: float(v) for k, v in scores.items()}

    def take_best(self):
        """Put the best weights back into the objective, where there are any."""
        if self.best.weights is not None:
            load_weights(self.objective, self.best.weights)
