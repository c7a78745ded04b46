"""The loop: repeatable, resumable, interruptible; its schedule, its batches, its errors."""

import json
import math
import os
import random
import signal
import stat
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

from course_lib import functional, training
from course_lib.models import CrossEncoder, QueryGenerator
from course_lib.models.encoder import SentenceEncoder
from course_lib.objectives import (
    MarginMSE,
    MaskedLanguageModel,
    MultipleNegativesRanking,
    QueryGeneration,
    Relevance,
    SimCSE,
)
from course_lib.training import Batches, TrainingConfig, choose_precision, share_of_peak, train

CONFIG = TrainingConfig(
    steps=8,
    batch_size=4,
    learning_rate=1e-3,
    gradient_accumulation_steps=2,
    evaluate_every=2,
    checkpoint_every=3,
    precision="fp32",
)


@pytest.fixture(scope="module")
def sentences(docs):
    return docs.train.sentences[:100]


@pytest.fixture(scope="module")
def fresh(shallow):
    """A function that gives an objective around the same untrained one-layer encoder."""

    def make(kind=SimCSE, **options):
        torch.manual_seed(1)
        return kind(shallow(max_length=16), **options)

    return make


@pytest.fixture(scope="module")
def spread(sentences):
    """How far apart an encoder puts 8 sentences, for evaluation during training: a number that training changes."""
    return lambda encoder: {"spread": -float(functional.uniformity(torch.tensor(encoder.encode(sentences[:8]))))}


def run(objective, texts, config=CONFIG, **options):
    return train(objective, texts, config, progress=False, **options)


def weights(objective):
    return {k: v.detach().clone() for k, v in objective.named_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def curve(record):
    """All of a record's steps that does not depend on the clock."""
    return [{k: v for k, v in step.items() if k not in ("seconds", "memory")} for step in record.steps]


def scores(record):
    return [(e["step"], e["spread"]) for e in record.evaluations]


# --------------------------------------------------------------------------- repeatable


@pytest.mark.parametrize("kind", [SimCSE, MaskedLanguageModel])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_curve_bit_for_bit(fresh, sentences, kind, precision):
    config = replace(CONFIG, steps=3, precision=precision)
    objectives = [fresh(kind) for _ in range(3)]
    torch.manual_seed(4)
    one = run(objectives[0], sentences, config)
    torch.manual_seed(5)  # whatever was drawn before must not matter
    again, other = run(objectives[1], sentences, config), run(objectives[2], sentences, replace(config, seed=1))
    assert curve(one) == curve(again) and same(weights(objectives[0]), weights(objectives[1]))
    assert one.losses != other.losses
    assert one.precision == precision and all(math.isfinite(x) for x in one.losses)
    assert all(p.dtype == torch.float32 for p in objectives[0].parameters())


def test_training_lowers_the_loss(fresh, sentences):
    """With dropout alone between two views the task is soon solved; the masked words take longer."""
    record = run(fresh(), sentences, replace(CONFIG, steps=40, gradient_accumulation_steps=1, batch_size=16))
    assert sum(record.losses[-8:]) < 0.6 * sum(record.losses[:8])


def test_training_leaves_the_generators_of_the_caller_alone(fresh, sentences, spread):
    objective = fresh()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    run(objective, sentences, replace(CONFIG, steps=2), evaluate=spread)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1]) and random.getstate() == before[2]


def test_precisions_can_follow_one_another_in_one_process(fresh, sentences):
    config = replace(CONFIG, steps=2)
    fp32 = run(fresh(), sentences, config)
    bf16 = run(fresh(), sentences, replace(config, precision="bf16"))
    assert bf16.losses != fp32.losses and bf16.losses == pytest.approx(fp32.losses, abs=0.05)
    assert run(fresh(), sentences, replace(config, precision="auto")).precision in ("fp32", "bf16")
    with pytest.raises(ValueError, match="'fp16', which needs a GPU"):
        run(fresh(), sentences, replace(config, precision="fp16"))


def test_training_is_silent_without_progress_and_shows_a_bar_with_it(fresh, sentences, capfd):
    config = replace(CONFIG, steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(fresh(), sentences, config)
        assert capfd.readouterr() == ("", "")
        train(fresh(), sentences, config)
    shown = capfd.readouterr()
    assert "Training" in shown.err and "loss=" in shown.err and shown.out == ""


def test_a_record_tells_what_happened(fresh, sentences, spread):
    record = run(fresh(), sentences, replace(CONFIG, steps=3), evaluate=spread)
    assert record.outcome == "finished" and record.device == "cpu" and record.texts == 100
    assert record.config["batch_size"] == 4 and record.objective["name"] == "SimCSE"
    assert [s["step"] for s in record.steps] == [1, 2, 3] and [s["texts"] for s in record.steps] == [8, 8, 8]
    seconds = [s["seconds"] for s in record.steps]
    assert 0 < seconds[0] < seconds[1] < seconds[2] == record.seconds
    assert record.texts_per_second == pytest.approx(24 / record.seconds)
    assert record.tokens_per_second == pytest.approx(sum(s["tokens"] for s in record.steps) / record.seconds)
    assert record.peak_memory > 10**8
    assert [e["step"] for e in record.evaluations] == [0, 2, 3]  # at the start, every two steps, and at the end
    assert record.metric == "spread" and len(repr(record).split("\n")) == 3


# --------------------------------------------------------------------------- stopped and resumed


@pytest.fixture(scope="module")
def uncut(fresh, sentences, spread):
    """Runs that were never stopped: {kind of objective: (record, weights)}."""
    objectives = {kind: fresh(kind) for kind in (SimCSE, MaskedLanguageModel)}
    return {kind: (run(o, sentences, evaluate=spread), weights(o)) for kind, o in objectives.items()}


def assert_never_stopped(resumed, objective, uncut):
    record, final = uncut[type(objective)]
    assert curve(resumed) == curve(record) and scores(resumed) == scores(record)
    assert same(weights(objective), final)


def stops(objective, call, error):
    """Let the objective raise at its n-th batch; a step takes two."""
    calls, collate = [], objective.collate

    def wrapped(texts, generator):
        calls.append(1)
        if len(calls) == call:
            raise error
        return collate(texts, generator)

    objective.collate = wrapped
    return objective


@pytest.mark.parametrize("kind", [SimCSE, MaskedLanguageModel])
@pytest.mark.parametrize("call", [1, 6, 11, 16])
def test_stopped_and_resumed_is_never_stopped(uncut, fresh, sentences, spread, tmp_path, kind, call):
    """Ctrl-C at the first step, within a step, between steps and in the last one."""
    record = run(stops(fresh(kind), call, KeyboardInterrupt), sentences, output=tmp_path, evaluate=spread)
    assert record.outcome == "interrupted" and len(record.steps) == (call - 1) // 2
    objective = fresh(kind)
    resumed = run(objective, sentences, output=tmp_path, resume=True, evaluate=spread)
    assert_never_stopped(resumed, objective, uncut)
    assert not (tmp_path / training.CHECKPOINT).exists()  # finished: nothing left to resume
    saved = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    assert np.array_equal(saved.encode(sentences[:8]), objective.encoder.encode(sentences[:8]))


@pytest.mark.parametrize("kind", [SimCSE, MaskedLanguageModel])
@pytest.mark.parametrize("call, kept", [(3, 0), (15, 6)])
def test_killed_and_resumed_is_never_stopped(uncut, fresh, sentences, spread, tmp_path, kind, call, kept):
    """Without a chance to clean up, the last periodic checkpoint is what there is, and all of it is used."""
    with pytest.raises(RuntimeError, match="power cut"):
        run(stops(fresh(kind), call, RuntimeError("power cut")), sentences, output=tmp_path, evaluate=spread)
    objective = stops(fresh(kind), 17 - 2 * kept, AssertionError("a batch too many"))
    resumed = run(objective, sentences, output=tmp_path, resume=True, evaluate=spread)
    assert_never_stopped(resumed, objective, uncut)


@pytest.mark.parametrize("at", [1, 2, 5])
def test_stopped_while_evaluating(uncut, fresh, sentences, spread, tmp_path, at):
    """The evaluation that was cut short, at the start, in the run or at its end, is made up for."""
    calls = []

    def evaluate(encoder):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return spread(encoder)

    assert run(fresh(), sentences, output=tmp_path, evaluate=evaluate).outcome == "interrupted"
    objective = fresh()
    resumed = run(objective, sentences, output=tmp_path, resume=True, evaluate=spread)
    assert_never_stopped(resumed, objective, uncut)


def test_the_interrupted_objective_itself_can_go_on(uncut, fresh, sentences, spread, tmp_path):
    """As in a notebook: the same object, which holds half a step's gradients and the best weights so far."""
    objective = fresh()
    run(stops(objective, 12, KeyboardInterrupt), sentences, output=tmp_path, evaluate=spread)
    assert all(p.grad is None for p in objective.parameters())
    resumed = run(objective, sentences, output=tmp_path, resume=True, evaluate=spread)
    assert_never_stopped(resumed, objective, uncut)


def test_ctrl_c_within_an_optimiser_step_waits(uncut, fresh, sentences, spread, tmp_path, monkeypatch, capsys):
    """A real signal between the change of the weights and the record of the step."""
    calls, step = [], torch.optim.AdamW.step

    def pressed(self, *args, **kwargs):
        calls.append(1)
        done = step(self, *args, **kwargs)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return done

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", pressed)
        handler = signal.getsignal(signal.SIGINT)
        stopped = run(fresh(), sentences, output=tmp_path)
    assert stopped.outcome == "interrupted" and len(stopped.steps) == 5
    assert signal.getsignal(signal.SIGINT) is handler
    said = capsys.readouterr().out
    assert "Stopped after 5 of 8 steps; the encoder has its latest weights; resume=True continues" in said
    objective = fresh()
    resumed = run(objective, sentences, output=tmp_path, resume=True, evaluate=spread)
    record, final = uncut[SimCSE]
    assert curve(resumed) == curve(record) and same(weights(objective), final)


def test_resume_without_a_checkpoint_starts(fresh, sentences, tmp_path):
    assert len(run(fresh(), sentences, replace(CONFIG, steps=2), output=tmp_path, resume=True).steps) == 2


@pytest.mark.parametrize(
    "change, message",
    [
        ({"learning_rate": 2e-3}, "learning_rate was 0.001 and is 0.002"),
        ({"seed": 3}, "seed was 0 and is 3"),
        ({"precision": "bf16"}, "precision was 'fp32' and is 'bf16'"),
        ({"steps": 9}, "steps was 8 and is 9"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(fresh, sentences, tmp_path, change, message):
    run(stops(fresh(), 3, KeyboardInterrupt), sentences, output=tmp_path)
    before = (tmp_path / training.CHECKPOINT).read_bytes()
    with pytest.raises(ValueError, match=f"of another run: {message}. Train with the old settings, or pass resume"):
        run(fresh(), sentences, replace(CONFIG, **change), output=tmp_path, resume=True)
    assert (tmp_path / training.CHECKPOINT).read_bytes() == before


def test_a_checkpoint_of_another_objective_or_other_texts_is_refused(fresh, shallow, sentences, tmp_path):
    run(stops(fresh(), 3, KeyboardInterrupt), sentences, output=tmp_path)
    for objective, texts, message in (
        (fresh(temperature=0.1), sentences, "temperature was 0.05 and is 0.1"),
        (fresh(MaskedLanguageModel), sentences, "name was 'SimCSE' and is 'MaskedLanguageModel'"),
        (fresh(), sentences[:90], "texts was 100 and is 90"),
        (fresh(), [*sentences[1:], "another"], "the texts, or how they are cut into tokens, are others"),
        (SimCSE(shallow(2, max_length=16)), sentences, "the model has other layers or sizes"),
    ):
        with pytest.raises(ValueError, match=message):
            run(objective, texts, output=tmp_path, resume=True)


@pytest.mark.parametrize("was, now", [(4.47, None), (None, 4.47)])
def test_a_setting_that_was_or_is_none_counts(shallow, sentences, tmp_path, was, now):
    examples = [(*texts, 1.0) for texts in zip(sentences[:20], sentences[20:40], sentences[40:60])]
    stopped = stops(MarginMSE(shallow(max_length=16), length=was), 3, KeyboardInterrupt)
    run(stopped, examples, output=tmp_path)
    with pytest.raises(ValueError, match=f"length was {was} and is {now}"):
        run(MarginMSE(shallow(max_length=16), length=now), examples, output=tmp_path, resume=True)


def test_a_setting_that_one_side_does_not_know_counts(fresh, sentences, tmp_path):
    run(stops(fresh(), 3, KeyboardInterrupt), sentences, output=tmp_path)
    objective = fresh()
    objective.margin = None
    with pytest.raises(ValueError, match="margin was not set and is None"):
        run(objective, sentences, output=tmp_path, resume=True)


def test_settings_of_a_learner_s_own_count_whatever_their_kind(fresh, sentences, tmp_path):
    def weighted(weights, temperature=0.1):
        objective = fresh(temperature=temperature)
        objective.weights = weights
        return objective

    run(stops(weighted((1, 2), np.float32(0.5)), 3, KeyboardInterrupt), sentences, output=tmp_path)
    with pytest.raises(ValueError, match=r"weights was \[1, 2\] and is \[9, 2\]"):
        run(weighted((9, 2), 0.5), sentences, output=tmp_path, resume=True)
    assert run(weighted([1, 2], 0.5), sentences, output=tmp_path, resume=True).outcome == "finished"


def test_another_metric_than_before_is_refused(fresh, sentences, tmp_path):
    run(stops(fresh(), 7, KeyboardInterrupt), sentences, output=tmp_path, evaluate=lambda encoder: {"loss": 98.0})
    with pytest.raises(ValueError, match="metric is 'loss'; evaluate returned score"):
        run(fresh(), sentences, output=tmp_path, resume=True, evaluate=lambda encoder: {"score": 0.4})


def test_how_often_checkpoints_are_written_may_change(uncut, fresh, sentences, spread, tmp_path):
    run(stops(fresh(), 11, KeyboardInterrupt), sentences, output=tmp_path, evaluate=spread)
    objective = fresh()
    config = replace(CONFIG, checkpoint_every=1)
    resumed = run(objective, sentences, config, output=tmp_path, resume=True, evaluate=spread)
    assert_never_stopped(resumed, objective, uncut)


def test_a_checkpoint_of_an_earlier_version_is_set_aside_with_a_word(fresh, sentences, tmp_path):
    run(stops(fresh(), 3, KeyboardInterrupt), sentences, output=tmp_path)
    path = tmp_path / training.CHECKPOINT
    with safe_open(path, framework="pt") as file:
        about, tensors = json.loads(file.metadata()["about"]), {k: file.get_tensor(k) for k in file.keys()}
    del about["format"]
    save_file(tensors, path, {"about": json.dumps(about)})
    with pytest.raises(ValueError, match="written by another version of the course.*delete it to start again"):
        run(fresh(), sentences, output=tmp_path, resume=True)


def test_files_have_the_permissions_of_the_user(fresh, sentences, tmp_path):
    before = os.umask(0o022)
    try:
        run(stops(fresh(), 3, KeyboardInterrupt), sentences, output=tmp_path / "encoder")
    finally:
        os.umask(before)
    found = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "encoder").iterdir() if p.is_file()}
    assert training.CHECKPOINT in found and set(found.values()) == {0o644}, found


def test_asking_for_the_precision_that_auto_chose_is_no_change(fresh, sentences, tmp_path):
    stopped = run(stops(fresh(), 3, KeyboardInterrupt), sentences, replace(CONFIG, precision="auto"), output=tmp_path)
    config = replace(CONFIG, precision=stopped.precision)
    assert run(fresh(), sentences, config, output=tmp_path, resume=True).outcome == "finished"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9999])
def test_a_truncated_checkpoint_is_named(fresh, sentences, tmp_path, share):
    run(stops(fresh(), 3, KeyboardInterrupt), sentences, output=tmp_path)
    path = tmp_path / training.CHECKPOINT
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ValueError, match="checkpoint.safetensors is damaged .*delete it to start again"):
        run(fresh(), sentences, output=tmp_path, resume=True)


def test_another_file_in_the_checkpoint_s_place_is_named(fresh, sentences, tmp_path):
    fresh().encoder.save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / training.CHECKPOINT)
    with pytest.raises(ValueError, match="is damaged"):
        run(fresh(), sentences, output=tmp_path, resume=True)


# --------------------------------------------------------------------------- the best weights


def scripted(values, seen):
    """An evaluation whose scores are known; it notes the weights that it saw."""
    values = iter(values)

    def evaluate(encoder):
        assert not encoder.training
        seen.append({k: v.clone() for k, v in encoder.state_dict().items()})
        return {"score": next(values), "other": 1.0}

    return evaluate


@pytest.mark.parametrize("keep_best, expected", [(True, 2), (False, 4)])
def test_keep_best(fresh, sentences, keep_best, expected):
    """The start is measured too, but the best weights are those of a step."""
    objective, seen = fresh(), []
    run(objective, sentences, replace(CONFIG, keep_best=keep_best), evaluate=scripted([9, 1, 3, 2, math.nan], seen))
    assert same(objective.encoder.state_dict(), seen[expected])
    assert not same(seen[2], seen[4]) and not objective.training


def test_the_metric_that_is_maximised_can_be_named(fresh, sentences):
    objective, values = fresh(), iter([{"loss": 1.0, "score": x} for x in (0, 1, 3, 2, 0)])
    seen = []

    def evaluate(encoder):
        seen.append({k: v.clone() for k, v in encoder.state_dict().items()})
        return next(values)

    record = run(objective, sentences, replace(CONFIG, keep_best=True, metric="score"), evaluate=evaluate)
    assert record.metric == "score" and same(objective.encoder.state_dict(), seen[2])
    with pytest.raises(ValueError, match="metric is 'ndcg'; evaluate returned loss"):
        run(fresh(), sentences, replace(CONFIG, metric="ndcg"), evaluate=lambda encoder: {"loss": 1.0})


def test_ctrl_c_keeps_the_best_so_far(fresh, sentences, tmp_path, capsys):
    objective, seen = fresh(), []
    evaluate = scripted([9, 0.5, 0.25], seen)
    record = run(stops(objective, 11, KeyboardInterrupt), sentences, output=tmp_path, evaluate=evaluate)
    assert record.outcome == "interrupted" and len(record.steps) == 5
    assert same(objective.encoder.state_dict(), seen[1])
    assert "Stopped after 5 of 8 steps; the encoder has the weights that scored 0.5" in capsys.readouterr().out
    saved = SentenceEncoder.from_pretrained(tmp_path, device="cpu")
    assert np.array_equal(saved.encode(sentences[:4]), objective.encoder.encode(sentences[:4]))


def test_the_best_survives_a_stop(fresh, sentences, tmp_path):
    """Scored before the stop, kept after it."""
    config, seen = replace(CONFIG, keep_best=True), []
    run(stops(fresh(), 11, KeyboardInterrupt), sentences, config, output=tmp_path, evaluate=scripted([5, 9, 1], seen))
    objective = fresh()
    record = run(objective, sentences, config, output=tmp_path, resume=True, evaluate=scripted([2, 3], seen))
    assert [e["score"] for e in record.evaluations] == [5, 9, 1, 2, 3]
    assert same(objective.encoder.state_dict(), seen[1])


# --------------------------------------------------------------------------- one step


class Plain(MultipleNegativesRanking):
    """Ranking stepped by plain gradient descent, so that a step is the gradient itself."""

    optimizer = "sgd"

    def learning_rate_factors(self):
        return dict.fromkeys(self.encoder.transformer.embeddings.parameters(), 0.5)


@pytest.fixture(scope="module")
def pairs(sentences):
    return list(zip(sentences[:50], sentences[50:]))


def moved(before, after):
    return {k: before[k] - after[k] for k in before}


def test_a_step_is_the_mean_gradient_of_its_batches(fresh, pairs):
    config = TrainingConfig(
        steps=1,
        batch_size=4,
        gradient_accumulation_steps=3,
        learning_rate=0.1,
        warmup_ratio=0,
        schedule="constant",
        max_gradient_norm=1e9,
        precision="fp32",
    )
    objective, reference = (without_dropout(fresh(Plain)) for _ in range(2))
    before = weights(objective)
    record = run(objective, pairs, config)
    batches = Batches([len(e) for e in reference.prepare(pairs)], config, 2).batches_for(0)
    losses = [reference.train()(reference.collate([pairs[i] for i in b], None)) for b in batches]
    (sum(losses) / 3).backward()
    assert len(batches) == 3 and record.losses[0] == pytest.approx(float(sum(losses).detach()) / 3, abs=1e-5)
    step = moved(before, weights(objective))
    for name, parameter in reference.named_parameters():
        rate = 0.1 * (0.5 if ".embeddings." in name else 1)  # a group may ask for a rate of its own
        torch.testing.assert_close(step[name], rate * parameter.grad, atol=1e-6, rtol=1e-3)
    norm = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in reference.parameters()))
    assert record.steps[0]["gradient_norm"] == pytest.approx(norm, rel=1e-4)


def without_dropout(objective):
    for module in objective.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return objective


def test_gradients_are_clipped_to_a_total_length(fresh, pairs):
    config = TrainingConfig(
        steps=1,
        batch_size=8,
        learning_rate=1.0,
        warmup_ratio=0,
        schedule="constant",
        precision="fp32",
        max_gradient_norm=0.01,
    )
    objective = fresh(Plain)
    before = weights(objective)
    record = run(objective, pairs, config)
    assert record.steps[0]["gradient_norm"] > 0.02  # before clipping
    step = moved(before, weights(objective))
    gradient = [v.double() / (0.5 if ".embeddings." in k else 1) for k, v in step.items()]
    assert math.sqrt(sum(float(g.pow(2).sum()) for g in gradient)) == pytest.approx(0.01, rel=1e-3)


def test_weight_decay_spares_biases_and_norms(fresh, sentences):
    config = TrainingConfig(learning_rate=0.1, weight_decay=0.5)
    objective = fresh(MaskedLanguageModel)
    optimizer = training.make_optimizer(objective, config)
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] == 0.5 for p in g["params"]}
    spared = {id(p) for g in optimizer.param_groups if g["weight_decay"] == 0 for p in g["params"]}
    for name, parameter in objective.named_parameters():
        small = name.endswith("bias") or "LayerNorm" in name or ".norm." in name
        assert (id(parameter) in spared) == small and (id(parameter) in decayed) != small
    assert len(decayed) + len(spared) == len(list(objective.parameters()))


def test_a_loss_that_is_no_number_stops_the_run_before_it_spoils_the_weights(fresh, sentences):
    objective = fresh()
    objective.temperature = math.nan
    before = weights(objective)
    with pytest.raises(FloatingPointError, match="the loss of step 1 is nan; .*Lower learning_rate"):
        run(objective, sentences)
    assert same(weights(objective), before)


class InfiniteSlope(SimCSE):
    """A finite loss whose gradient is not a number, as of the square root of 0."""

    def forward(self, batch):
        weight = next(self.encoder.parameters())
        return super().forward(batch) + (weight * 0).sum().sqrt()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gradient_that_is_no_number_stops_the_run_before_it_spoils_the_weights(fresh, sentences, precision):
    objective = fresh(InfiniteSlope)
    before = weights(objective)
    with pytest.raises(FloatingPointError, match="gradient norm of step 1 is nan; the weights are those before this"):
        run(objective, sentences, replace(CONFIG, precision=precision))
    assert same(weights(objective), before)


def test_what_an_objective_trains_is_what_is_saved(shallow, sentences, tmp_path):
    """A cross-encoder or a query generator is kept whole, and loads again."""
    config = TrainingConfig(steps=1, batch_size=4, precision="fp32")
    pairs = list(zip(sentences[:20], sentences[20:40]))
    cross_encoder, generator = CrossEncoder(shallow(max_length=16)), QueryGenerator(shallow(max_length=16))
    run(Relevance(cross_encoder), [(*p, n) for p, n in zip(pairs, sentences[40:])], config, output=tmp_path / "cross")
    run(QueryGeneration(generator), pairs, config, output=tmp_path / "generator")
    loaded = CrossEncoder.from_pretrained(tmp_path / "cross", device="cpu")
    assert np.allclose(loaded.predict(pairs), cross_encoder.predict(pairs), atol=1e-5)
    written = [
        g.generate(sentences[:3], 1, temperature=0)
        for g in (generator, QueryGenerator.from_pretrained(tmp_path / "generator", device="cpu"))
    ]
    assert written[0] == written[1]


def test_an_objective_built_to_measure_changes_nothing(shallow, sentences, tmp_path):
    """An evaluation may build an objective of another similarity around the encoder, which is in evaluation mode."""
    objective = MarginMSE(shallow(max_length=16))

    def evaluate(encoder):
        other = SimCSE(encoder)
        return {"loss": float(other(other.collate(sentences[:8], None)))}

    examples = [(*texts, 1.0) for texts in zip(sentences[:20], sentences[20:40], sentences[40:60])]
    run(objective, examples, TrainingConfig(steps=1, batch_size=4), output=tmp_path, evaluate=evaluate)
    assert SentenceEncoder.from_pretrained(tmp_path, device="cpu").similarity == "dot"


def test_a_model_without_an_objective_is_named(shallow, sentences):
    with pytest.raises(TypeError, match=r"`objective` is a CrossEncoder; pass one around it, such as .*Relevance"):
        run(CrossEncoder(shallow()), sentences)


def test_texts_are_tokenised_once(fresh, sentences, monkeypatch):
    objective, calls = fresh(), []
    kind = type(objective.encoder.tokenizer)
    real = kind.__call__
    monkeypatch.setattr(kind, "__call__", lambda self, texts, **k: calls.append(len(texts)) or real(self, texts, **k))
    run(objective, sentences, replace(CONFIG, steps=None, epochs=3))
    assert calls == [100]


# --------------------------------------------------------------------------- schedule


def test_the_schedule_rises_and_falls_as_transformers_does():
    for name, theirs in (
        ("linear", transformers.get_linear_schedule_with_warmup),
        ("cosine", transformers.get_cosine_schedule_with_warmup),
        ("constant", lambda o, w, _: transformers.get_constant_schedule_with_warmup(o, w)),
    ):
        config = TrainingConfig(schedule=name, warmup_ratio=0.1)
        ours = [share_of_peak(step, 50, config) for step in range(50)]
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        reference = theirs(optimizer, 5, 50).lr_lambdas[0]
        assert ours[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])  # theirs wastes the first step: 0, 0.2 …
        assert ours[5:] == pytest.approx([reference(step) for step in range(5, 50)])
    assert [share_of_peak(s, 4, TrainingConfig(warmup_ratio=0)) for s in range(4)] == [1, 0.75, 0.5, 0.25]
    assert [share_of_peak(s, 4, TrainingConfig(warmup_ratio=1)) for s in range(4)] == [0.25, 0.5, 0.75, 1]


def test_the_learning_rate_of_a_run_follows_the_schedule(fresh, sentences):
    record = run(fresh(), sentences, replace(CONFIG, warmup_ratio=0.5))
    assert [s["learning_rate"] for s in record.steps] == pytest.approx(
        [0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3]
    )


# --------------------------------------------------------------------------- batches


@pytest.fixture(scope="module")
def lengths(docs, base_encoder_folder):
    encoder = SentenceEncoder.from_pretrained(base_encoder_folder, pooling="mean", max_length=64, device="cpu")
    return [len(r) for r in encoder.token_ids(docs.train.sentences[:5000])]


def padding(batches, lengths):
    """The share of a batch's cells that is padding."""
    used = sum(lengths[i] for b in batches for i in b)
    return 1 - used / sum(len(b) * max(lengths[i] for i in b) for b in batches)


def test_batches_of_like_lengths_waste_little(lengths):
    config = TrainingConfig(batch_size=64)
    batches = Batches(lengths, config)
    ours = [b for step in range(batches.steps_per_epoch) for b in batches.batches_for(step)]
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = [order[i : i + 64] for i in range(0, 5000, 64)]
    assert padding(ours, lengths) < 0.05 < 0.4 < padding(shuffled, lengths)


def test_the_batches_of_a_pass_come_in_no_order_of_length(lengths):
    batches = Batches(lengths, TrainingConfig(batch_size=64))
    means = torch.tensor(
        [float(np.mean([lengths[i] for i in batches.batches_for(s)[0]])) for s in range(batches.steps_per_epoch)]
    )
    assert abs(torch.corrcoef(torch.stack([means, torch.arange(len(means)).float()]))[0, 1]) < 0.4


@pytest.mark.parametrize("size, gradient_accumulation_steps, processes", [(64, 1, 1), (7, 3, 2), (100, 2, 4)])
def test_a_pass_shows_no_text_twice_and_misses_few(lengths, size, gradient_accumulation_steps, processes):
    batches = Batches(
        lengths,
        TrainingConfig(batch_size=size, gradient_accumulation_steps=gradient_accumulation_steps, epochs=2),
        2,
        processes,
    )
    assert batches.steps == 2 * batches.steps_per_epoch
    passes = []
    for number in range(2):
        steps = range(number * batches.steps_per_epoch, (number + 1) * batches.steps_per_epoch)
        seen = [i for s in steps for p in range(processes) for b in batches.batches_for(s, p) for i in b]
        assert len(set(seen)) == len(seen) > 5000 - size * gradient_accumulation_steps * processes - 2 * size
        passes.append(seen)
    assert passes[0] != passes[1]


def test_processes_share_the_batches_of_one(lengths):
    whole = Batches(lengths, TrainingConfig(batch_size=32, gradient_accumulation_steps=2))
    shared = Batches(lengths, TrainingConfig(batch_size=16, gradient_accumulation_steps=2), processes=2)
    assert shared.steps == whole.steps
    for step in (0, 3, whole.steps_per_epoch + 1):
        parts = zip(shared.batches_for(step, 0), shared.batches_for(step, 1), strict=True)
        assert [sorted(one + other) for one, other in parts] == [sorted(batch) for batch in whole.batches_for(step)]


def test_any_step_is_found_without_those_before_it(lengths):
    config = TrainingConfig(batch_size=64)
    one, other = Batches(lengths, config), Batches(lengths, config)
    later = 3 * one.steps_per_epoch + 5
    in_turn = [one.batches_for(s) for s in range(later + 1)]
    assert other.batches_for(later) == in_turn[later] and other.batches_for(0) == in_turn[0]


def test_batches_can_be_drawn_at_random(lengths):
    batches = Batches(lengths, TrainingConfig(batch_size=64, group_by_length=False))
    ours = [b for step in range(batches.steps_per_epoch) for b in batches.batches_for(step)]
    assert padding(ours, lengths) > 0.4 and len({i for b in ours for i in b}) == sum(map(len, ours)) > 4900


@pytest.mark.parametrize("grouped", [True, False])
def test_equal_texts_are_kept_apart(lengths, grouped):
    """Three examples have one key each, as the three queries that GenQ writes for a passage have its passage."""
    keys = [[("passage", i // 3), ("query", i)] for i in range(len(lengths))]
    config = TrainingConfig(batch_size=64, group_by_length=grouped)
    batches = Batches(lengths, config, 2, keys=keys)
    ours = [b for step in range(batches.steps_per_epoch) for b in batches.batches_for(step)]
    assert all(len({i // 3 for i in b}) == len(b) for b in ours)
    seen = [i for b in ours for i in b]
    assert len(seen) == len(set(seen)) > 4900
    alone = Batches(lengths, config, 2)  # without keys some do meet
    assert any(len({i // 3 for i in b}) < len(b) for s in range(alone.steps_per_epoch) for b in alone.batches_for(s))


def test_keys_that_occur_once_change_nothing(lengths):
    config = TrainingConfig(batch_size=64)
    one, other = Batches(lengths, config), Batches(lengths, config, keys=[[i] for i in range(len(lengths))])
    assert [one.batches_for(s) for s in range(90)] == [other.batches_for(s) for s in range(90)]


def test_texts_that_are_all_equal_are_named(fresh):
    with pytest.raises(ValueError, match="no batch of 2 different examples can be made"):
        run(fresh(), ["one and the same"] * 8)


def test_in_batch_negatives_never_meet_their_own_passage(shallow, sentences):
    examples = [(query, passage) for passage in sentences[:20] for query in (f"{passage} a", f"{passage} b")]
    objective, batches = MultipleNegativesRanking(shallow(max_length=16)), []
    collate = objective.collate
    objective.collate = lambda examples, generator: batches.append(examples) or collate(examples, generator)
    run(objective, examples, TrainingConfig(epochs=2, batch_size=8, precision="fp32"))
    passages = [[tuple(example.texts[1]) for example in batch] for batch in batches]
    assert len(passages) >= 10 and all(len(set(batch)) == len(batch) for batch in passages)


def test_a_batch_that_is_too_small_is_left_out():
    batches = Batches([5, 6, 7, 8, 9], TrainingConfig(batch_size=2), smallest_batch=2)
    assert sorted(len(batches.batches_for(s)[0]) for s in range(batches.steps_per_epoch)) == [2, 2]
    few = Batches(
        [5, 6], TrainingConfig(batch_size=4, gradient_accumulation_steps=3)
    )  # too few for one step: seen again
    assert few.steps_per_epoch == 1 and [sorted(b) for b in few.batches_for(0)] == [[0, 1]] * 3


# --------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "texts, error, message",
    [
        ([], ValueError, "`examples` is empty; there is nothing to train on"),
        (["alone"], ValueError, "the number of examples is 1; SimCSE compares .* at least 2"),
        ("a text", TypeError, "`examples` is a str; pass a list"),
        (None, TypeError, "`examples` is a NoneType"),
        (["a", None, "b"], TypeError, r"`texts`\[1\] is None"),
    ],
)
def test_texts_that_cannot_be_trained_on(fresh, texts, error, message):
    with pytest.raises(error, match=message):
        run(fresh(), texts)


def test_a_batch_of_one_where_negatives_are_needed(fresh, sentences):
    with pytest.raises(ValueError, match="batch_size is 1; SimCSE compares each text with the others in its batch"):
        run(fresh(), sentences, replace(CONFIG, batch_size=1))
    assert len(run(fresh(MaskedLanguageModel), ["one sentence"], replace(CONFIG, batch_size=1, steps=2)).steps) == 2


def test_two_texts_and_an_empty_one_are_enough(fresh):
    assert all(math.isfinite(x) for x in run(fresh(), ["", "array"], replace(CONFIG, steps=2)).losses)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"resume": True}, "resume=True needs output"),
        ({"config": replace(CONFIG, keep_best=True)}, "keep_best=True needs evaluate"),
        ({"evaluate": lambda encoder: 0.5}, r"evaluate returned 0.5; it must return \{name: number\}"),
        ({"evaluate": lambda encoder: {}}, r"evaluate returned \{\}"),
    ],
)
def test_options_that_do_not_fit(fresh, sentences, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run(fresh(), sentences, **options)


def test_a_file_as_output(fresh, sentences, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file' is a file; name a folder"):
        run(fresh(), sentences, output=tmp_path / "file")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch_size is 0; it must be above 0"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"warmup_ratio": 10}, "warmup_ratio is 10"),
        ({"max_gradient_norm": 0}, "max_gradient_norm is 0"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be at least 0"),
        ({"evaluate_every": -1}, "evaluate_every is -1"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"learning_rate": math.inf}, "learning_rate is inf; it must be above 0"),
        ({"schedule": "step"}, "schedule is 'step'; choose one of linear, cosine, constant"),
        ({"precision": "float16"}, "precision is 'float16'; choose one of auto, fp32, bf16, fp16"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**options)


def test_the_precision_of_a_device(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for supported, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
        assert choose_precision("auto", cpu) == expected
    for capability, expected in (((9, 0), "bf16"), ((7, 5), "fp16")):  # an H100, a T4
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        assert choose_precision("auto", cuda) == expected
    assert choose_precision("fp32", cuda) == "fp32" and choose_precision("auto", torch.device("mps")) == "fp32"
