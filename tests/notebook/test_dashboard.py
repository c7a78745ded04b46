"""The training dashboard without a front end."""

import _thread
import html
import re
import signal
import threading
from dataclasses import replace

import matplotlib
import pytest
import torch

from course_lib.notebook import plots, widgets
from course_lib.notebook.widgets import dashboard as module
from course_lib.objectives import MaskedLanguageModel, SimCSE
from course_lib.training import TrainingConfig, train

SENTENCES = ["Sort the array in place.", "Return the indices that sort a tensor.", "Merge two tables.", "Cost: $x$"]
CONFIG = TrainingConfig(steps=6, batch_size=4, evaluate_every=2, learning_rate=1e-3, gradient_accumulation_steps=2)
LONG = TrainingConfig(steps=1000, batch_size=4, evaluate_every=3, learning_rate=1e-3)


def status(dashboard):
    return html.unescape(re.sub(r"<[^>]+>", "", dashboard.status.value))


def weights(objective):
    return {name: tensor.clone() for name, tensor in objective.state_dict().items()}


def same(weights, others):
    return all(torch.equal(a, b) for a, b in zip(weights.values(), others.values()))


def spread(encoder):
    """How far the embeddings of the sentences are from one another; grows as SimCSE trains."""
    x = encoder.encode(SENTENCES, normalize=True)
    return {"spread": 1 - float((x @ x.T).mean()), "other": 0.5}


@pytest.fixture
def started():
    """A function that starts a dashboard whose `evaluate` also gets the dashboard: evaluate(encoder, dashboard)."""

    def start(objective, texts, config, evaluate):
        made, known = [], threading.Event()

        def evaluate_when_known(encoder):
            known.wait()
            return evaluate(encoder, made[0])

        made.append(widgets.training_dashboard(objective, texts, config, evaluate_when_known))
        known.set()
        return made[0]

    return start


def press_the_button(dashboard):
    dashboard.button.click()


def interrupt_the_kernel(dashboard):
    _thread.interrupt_main()
    while "stopping" not in dashboard.status.value:  # the main thread has to hear of it
        pass


STOPS = pytest.mark.parametrize("stop", [press_the_button, interrupt_the_kernel])


# --------------------------------------------------------------------------- what it trains and shows


def test_a_watched_training_is_the_same_training(shallow, docs):
    texts = docs.train.sentences[:100]
    plain, watched = SimCSE(shallow(1)), SimCSE(shallow(1))
    expected = train(plain, texts, CONFIG, evaluate=spread, progress=False)
    dashboard = widgets.training_dashboard(watched, texts, CONFIG, spread)
    record = dashboard.result()
    assert record.outcome == "finished" and record.losses == expected.losses
    measured = [(e["step"], e["spread"]) for e in record.evaluations]
    assert measured == [(e["step"], e["spread"]) for e in expected.evaluations]
    assert same(plain.state_dict(), watched.state_dict())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in watched.modules())
    assert "finished: 6 steps" in status(dashboard) and 'alt="Training, 6 steps.' in dashboard.curves.value
    assert dashboard.button.disabled


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn after every step: (losses, evaluations, alt text)."""
    found, live = [], module._live

    def watched(losses, evaluations):
        picture = live(losses, evaluations)
        found.append((list(losses), list(evaluations), picture.alt))
        return picture

    monkeypatch.setattr(module, "DRAWING_PAUSE", 0)
    monkeypatch.setattr(module, "DRAWING_SHARE", float("inf"))
    monkeypatch.setattr(module, "_live", watched)
    return found


def test_the_curves_are_live(shallow, docs, drawn):
    """Every step draws; what is drawn last are the losses and evaluations of the record."""
    record = widgets.training_dashboard(SimCSE(shallow(1)), docs.train.sentences[:100], CONFIG, spread).result()
    assert [len(losses) for losses, _, _ in drawn] == [1, 2, 3, 4, 5, 6]
    losses, evaluations, alt = drawn[-1]
    assert evaluations[0][0] == 0  # before the first step
    assert losses == pytest.approx(record.losses, rel=1e-6)
    assert evaluations == [
        (e["step"], {"spread": e["spread"], "other": 0.5}) for e in record.evaluations if e["step"] < 6
    ]
    assert f"Loss from {losses[0]:.3f} at step 1 to {losses[-1]:.3f} at step 6" in alt
    (first, scores), (last, latest) = evaluations[0], evaluations[-1]
    assert f"spread from {scores['spread']:.3f} at step {first} to {latest['spread']:.3f} at step {last}" in alt


def test_losses_computed_in_an_evaluation_are_no_steps(shallow, docs, drawn):
    objective = MaskedLanguageModel(shallow(1))
    texts = docs.train.sentences[:100]

    def held_out(encoder):
        with torch.no_grad():
            return {"loss": -float(objective(objective.collate(texts[:4], torch.Generator().manual_seed(0))))}

    record = widgets.training_dashboard(objective, texts, CONFIG, held_out).result()
    assert drawn[-1][0] == pytest.approx(record.losses, rel=1e-6)


# --------------------------------------------------------------------------- stopping


@STOPS
def test_stopping_keeps_the_best_weights(shallow, docs, started, stop):
    objective, kept = SimCSE(shallow(1)), {}
    start = weights(objective)

    def falling(encoder, dashboard):
        """The first evaluation of trained weights is the best; the next one stops the training."""
        if same(start, objective.state_dict()):
            return {"score": 0.1}
        if not kept:
            kept.update(weights(objective))
            return {"score": 1.0}
        stop(dashboard)
        return {"score": 0.5}

    dashboard = started(objective, docs.train.sentences[:100], LONG, falling)
    record = dashboard.result()
    assert record.outcome == "interrupted" and 6 <= len(record.steps) < 1000
    assert same(kept, objective.state_dict())
    assert "weights of step 3, which scored best (score 1.000)" in status(dashboard)


def test_the_start_is_measured_but_the_best_weights_are_those_of_a_step(shallow, docs, started):
    objective = SimCSE(shallow(1))
    start = weights(objective)

    def worse(encoder, dashboard):
        if same(start, objective.state_dict()):
            return {"score": 1.0}
        dashboard.stop()
        return {"score": 0.5}

    dashboard = started(objective, docs.train.sentences[:100], LONG, worse)
    record = dashboard.result()
    assert record.evaluations[0]["step"] == 0 and not same(start, objective.state_dict())
    assert f"the weights of step {record.evaluations[1]['step']}, which scored best (score 0.500)" in status(dashboard)


def encode(objective, encoder):
    encoder.encode(SENTENCES)


def loss(objective, encoder):
    objective(objective.collate(SENTENCES, torch.Generator().manual_seed(0)))


@STOPS
@pytest.mark.parametrize("work", [encode, loss])
def test_stopping_ends_an_evaluation(shallow, docs, started, stop, work):
    """Nothing is computed any more with the model whose training was stopped: neither embeddings nor losses."""
    objective, went_on = MaskedLanguageModel(shallow(1)), []

    def stopped(encoder, dashboard):
        work(objective, encoder)
        stop(dashboard)
        work(objective, encoder)
        went_on.append(True)
        return {"score": 1.0}

    dashboard = started(objective, docs.train.sentences[:100], LONG, stopped)
    with pytest.raises(KeyboardInterrupt):  # nothing was trained
        dashboard.result()
    assert not went_on and "stopped before its first step" in status(dashboard)


def test_a_training_that_was_stopped_early_is_measured(shallow, docs, started):
    """Between the start and the first evaluation; what comes after it reads the last one."""
    objective, dashboards = SimCSE(shallow(1)), []

    def stop_at_the_second_batch(module, batch, loss):
        if module.training and len(dashboards[0]._losses) == 1:
            threading.Thread(target=dashboards[0].stop).start()

    handle = objective.register_forward_hook(stop_at_the_second_batch)
    start = lambda encoder, dashboard: dashboards.append(dashboard) or spread(encoder)  # noqa: E731
    record = started(objective, docs.train.sentences[:100], replace(LONG, evaluate_every=900), start).result()
    handle.remove()
    assert record.outcome == "interrupted" and 1 < len(record.steps) < 900
    assert record.evaluations[-1] == {"step": len(record.steps), "seconds": record.seconds, **spread(objective.encoder)}


def test_a_second_training_of_an_objective_says_so(shallow, docs):
    objective = SimCSE(shallow(1))
    widgets.training_dashboard(objective, docs.train.sentences[:100], CONFIG).result()
    again = widgets.training_dashboard(objective, docs.train.sentences[:100], CONFIG)
    again.result()
    assert "after 6 steps of an earlier run" in status(again)


def test_a_second_interrupt_changes_nothing(shallow, docs, started):
    """It arrives while the first one is answered; the training still ends, and `result` still returns its record."""
    before = signal.getsignal(signal.SIGINT)

    def interrupted(encoder, dashboard):
        dashboard.status.observe(lambda change: "stopping" in change["new"] and _thread.interrupt_main(), "value")
        interrupt_the_kernel(dashboard)
        encoder.encode(SENTENCES)

    dashboard = started(SimCSE(shallow(1)), docs.train.sentences[:100], LONG, interrupted)
    with pytest.raises(KeyboardInterrupt):
        dashboard.result()
    assert "stopped before its first step" in status(dashboard)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_while_the_training_starts_stops_it(shallow, docs):
    class Interrupted(SimCSE):
        def prepare(self, texts):
            _thread.interrupt_main()
            return super().prepare(texts)

    with pytest.raises(KeyboardInterrupt):
        widgets.training_dashboard(Interrupted(shallow(1)), docs.train.sentences[:100], LONG).result()


# --------------------------------------------------------------------------- errors


def test_a_wrong_argument_is_raised_at_once(shallow):
    with pytest.raises(ValueError, match="the number of examples is 1"):
        widgets.training_dashboard(SimCSE(shallow(1)), ["one text"], CONFIG)


def test_an_error_in_an_evaluation_is_raised_and_told(shallow):
    def failing(encoder):
        raise RuntimeError("the <b> metric is undefined")

    dashboard = widgets.training_dashboard(SimCSE(shallow(1)), SENTENCES * 8, CONFIG, failing)
    with pytest.raises(RuntimeError, match="metric is undefined"):
        dashboard.result()
    assert "RuntimeError: the <b> metric is undefined" in status(dashboard)


# --------------------------------------------------------------------------- two threads that draw


def test_drawing_in_two_threads_leaves_the_style_as_it_was():
    """The thread enters the style while the main thread is in it, where it can, and leaves it later."""
    before, inside, leave = dict(matplotlib.rcParams), threading.Event(), threading.Event()

    def draw():
        with plots.style():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=draw)
    with plots.style():
        thread.start()
        inside.wait(0.2)
    leave.set()
    thread.join()
    assert dict(matplotlib.rcParams) == before
