"""The fast path of a GPU: batches made ahead, losses read late, compiled; it trains what the plain path trains.

A CPU computes while the program waits; told that it is like a GPU, it takes the same path.
"""

import signal
import threading
from dataclasses import replace
from functools import partial

import pytest
import torch

from course_lib import objectives
from course_lib.models import CrossEncoder, QueryGenerator
from course_lib.models.encoder import square_mask, takes_square_mask
from course_lib.training import TrainingConfig, ahead, loop, train

CONFIG = TrainingConfig(steps=8, batch_size=8, learning_rate=1e-3, precision="fp32")
KINDS = (
    "SimCSE",
    "MaskedLanguageModel",
    "DenoisingAutoEncoder",
    "ContrastiveTension",
    "InBatchContrastiveTension",
    "Cropping",
    "MultipleNegativesRanking",
    "MarginMSE",
    "Relevance",
    "QueryGeneration",
)


@pytest.fixture(scope="module")
def sentences(docs):
    return docs.train.sentences[:120]


@pytest.fixture
def like_a_gpu(monkeypatch):
    monkeypatch.setattr(loop, "runs_ahead", lambda device: True)


@pytest.fixture(scope="module")
def fresh(shallow):
    """A function that gives an objective around the same untrained one-layer encoder, without dropout."""

    def make(kind="SimCSE", dropout=0.0, max_length=40):
        torch.manual_seed(1)
        wrap = {"Relevance": CrossEncoder, "QueryGeneration": QueryGenerator}.get(kind, lambda encoder: encoder)
        objective = getattr(objectives, kind)(wrap(shallow(max_length=max_length)))
        for part in objective.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = dropout
        objective._views_differ = True  # SimCSE would ask for dropout
        return objective

    return make


def run(objective, texts, config=CONFIG, **options):
    return train(objective, texts, config, progress=False, **options)


def weights(objective):
    return torch.cat([p.detach().flatten() for p in objective.parameters()])


def assert_same_weights(found, expected):
    """As a whole: where a gradient is nothing but rounding, AdamW makes a step of its sign."""
    assert (weights(found) - weights(expected)).norm() < 1e-5 * weights(expected).norm()


# --------------------------------------------------------------------------- the same training


@pytest.mark.parametrize("kind", KINDS)
def test_the_fast_path_trains_what_the_plain_one_trains(fresh, examples, kind, monkeypatch):
    """Without dropout, so that nothing differs but the order of work and the padding."""
    config, texts = replace(CONFIG, steps=5, evaluate_every=3), examples(kind)
    plain, fast = fresh(kind), fresh(kind)
    expected = run(plain, texts, config)
    monkeypatch.setattr(loop, "runs_ahead", lambda device: True)
    found = run(fast, texts, config)
    assert found.losses == pytest.approx(expected.losses, rel=5e-5)
    for name in ("gradient_norm", "learning_rate", "tokens", "texts"):
        assert [s[name] for s in found.steps] == pytest.approx([s[name] for s in expected.steps], rel=1e-4), name
    assert_same_weights(fast, plain)


def test_where_nothing_is_padded_it_is_the_same_bit_for_bit(fresh, sentences, like_a_gpu, monkeypatch):
    monkeypatch.setattr(ahead, "MULTIPLE", 1)
    fast = run(fresh(dropout=0.1), sentences)
    monkeypatch.undo()
    assert fast.losses == run(fresh(dropout=0.1), sentences).losses


def test_tokens_come_in_multiples_of_eight_and_labels_with_their_places(fresh, sentences):
    objective = fresh("MaskedLanguageModel")
    batch = objective.collate(sentences[:8], torch.Generator().manual_seed(0))
    ready = ahead.ready_for_gpu(batch, objective.encoder)
    width = batch["input_ids"].shape[1]
    assert {ready[k].shape[1] for k in batch} == {width + -width % 8}
    for name, filler in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
        assert ready[name][:, :width].equal(batch[name]) and (ready[name][:, width:] == filler).all()
    assert ready["answers"].equal((batch["labels"] != -100).nonzero())


def test_tensors_of_a_learner_s_own_still_fit(fresh, sentences):
    batch = fresh().collate(sentences[:8], None)
    width = batch["input_ids"].shape[1]
    assert width % 8, "this test needs a batch that would be padded"
    for own in (torch.ones(8, width), torch.ones(8, width, dtype=torch.bool), torch.ones(8, width, 3)):
        assert ahead.fill_up({**batch, "depth": own}, 0)["input_ids"].shape[1] == width
    filled = ahead.fill_up({**batch, "labels": torch.ones(8, 3, dtype=torch.long)}, 0)  # three labels per text
    assert filled["labels"].shape == (8, 3) and filled["input_ids"].shape[1] % 8 == 0
    assert ahead.fill_up(batch, 0, longest=width + 1)["input_ids"].shape[1] <= width + 1


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_mask_of_a_gpu_is_the_one_that_transformers_makes(shallow, sentences, pooling):
    encoder = shallow(layers=2, pooling=pooling).eval()
    batch = encoder.tokenize(sentences[:8])
    with torch.inference_mode():
        mine = encoder.transformer(batch["input_ids"], attention_mask=square_mask(batch["attention_mask"]))
        torch.testing.assert_close(mine.last_hidden_state, encoder.token_embeddings(batch))
    assert takes_square_mask(encoder.transformer)
    encoder.transformer.set_attn_implementation("eager")  # it would add the mask to its scores
    assert not takes_square_mask(encoder.transformer)


# --------------------------------------------------------------------------- what may happen on the way


def test_a_batch_is_made_while_another_step_computes(fresh, sentences, like_a_gpu):
    objective, made_by = fresh(), set()
    collate = objective.collate

    def noting(texts, generator):
        made_by.add(threading.current_thread())
        return collate(texts, generator)

    objective.collate = noting
    run(objective, sentences)
    assert threading.main_thread() not in made_by and not any(thread.is_alive() for thread in made_by)


def test_an_error_in_a_batch_reaches_the_caller(fresh, sentences, like_a_gpu):
    objective = fresh()

    def broken(texts, generator):
        raise ZeroDivisionError("in collate")

    objective.collate = broken
    with pytest.raises(ZeroDivisionError, match="in collate"):
        run(objective, sentences)


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_non_finite_number_is_found_late_and_spoils_nothing(fresh, sentences, like_a_gpu, bad):
    objective, steps = fresh(), []
    forward, before = type(objective).forward, run(good := fresh(), sentences, replace(CONFIG, steps=3))

    class Breaks(type(objective)):
        def forward(self, batch):
            steps.append(1)
            loss = forward(self, batch)
            if len(steps) < 4:
                return loss
            return loss * float("nan") if bad == "loss" else (loss - loss.detach()).sqrt()

    objective.__class__ = Breaks
    config = replace(CONFIG, schedule="constant", warmup_ratio=0.0)
    good = fresh()
    run(good, sentences, replace(config, steps=3))
    with pytest.raises(FloatingPointError, match=f"the {bad}.* of step 4 is"):
        run(objective, sentences, config)
    assert len(steps) == 8 and len(before.losses) == 3  # the steps after it were computed and not taken
    torch.testing.assert_close(weights(objective), weights(good), rtol=0, atol=0)


def test_ctrl_c_between_two_readings_loses_no_step(fresh, sentences, like_a_gpu, tmp_path):
    expected = run(fresh(dropout=0.1), sentences)
    objective, steps = fresh(dropout=0.1), []

    def stop(module, inputs):
        steps.append(1)
        if len(steps) == 6:
            signal.raise_signal(signal.SIGINT)

    handle = objective.register_forward_pre_hook(stop)
    stopped = run(objective, sentences, output=tmp_path)
    handle.remove()
    assert stopped.outcome == "interrupted" and stopped.losses == expected.losses[:5]
    resumed = run(fresh(dropout=0.1), sentences, output=tmp_path, resume=True)
    assert resumed.losses == expected.losses


# --------------------------------------------------------------------------- fp16 and compilation


class Overflows(objectives.SimCSE):
    """Its gradient overflows in the steps named, as fp16's does where the scale is too large."""

    steps, when = 0, ()

    def forward(self, batch):
        loss = super().forward(batch)
        self.steps += 1
        return loss + (loss - loss.detach()).sqrt() if self.steps in self.when else loss


@pytest.fixture
def fp16(monkeypatch):
    """A T4's precision on the CPU, which computes it slowly."""
    monkeypatch.setattr(loop, "choose_precision", lambda asked, device: "fp16")


def test_fp16_skips_a_step_that_overflows_and_trains_on(fresh, sentences, like_a_gpu, fp16):
    objective, plain = fresh(), fresh()
    objective.__class__, objective.when = Overflows, (3,)
    record = run(objective, sentences)
    assert [s["gradient_norm"] is None for s in record.steps] == [n == 2 for n in range(8)]
    assert record.losses[:3] == pytest.approx(run(plain, sentences).losses[:3], rel=1e-2)
    assert torch.isfinite(weights(objective)).all()


def test_fp16_gives_up_where_no_scale_helps(fresh, sentences, like_a_gpu, fp16):
    objective = fresh()
    objective.__class__, objective.when = Overflows, range(100)
    before = weights(objective)
    with pytest.raises(FloatingPointError, match="gradient norm"):
        run(objective, sentences, replace(CONFIG, steps=40, batch_size=2))
    assert objective.steps == 31  # the scale is halved from 2¹⁶ to 2⁻¹⁴
    assert weights(objective).equal(before)


def test_a_compiled_objective_trains_the_same(fresh, sentences, monkeypatch):
    """Traced and differentiated as a whole; what a compiler makes of the trace takes too long for a test."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, fast = fresh("MaskedLanguageModel"), fresh("MaskedLanguageModel")
    rows = [row[:10] for row in plain.encoder.token_ids(sentences) if len(row) >= 10]  # of one length: traced once
    expected = run(plain, rows[:32], replace(CONFIG, steps=3, compile=False))
    found = run(fast, rows[:32], replace(CONFIG, steps=3, compile=True))
    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
    assert_same_weights(fast, plain)


def test_only_long_runs_on_a_gpu_are_compiled_unasked(monkeypatch):
    model = torch.nn.Linear(1, 1)
    assert loop.compiled(model, "auto", torch.device("cpu"), 10**6) is model
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(loop, "find_spec", lambda name: True)
    assert loop.compiled(model, "auto", torch.device("cuda"), loop.COMPILE_FROM - 1) is model
    assert loop.compiled(model, "auto", torch.device("cuda"), loop.COMPILE_FROM) is not model
    assert loop.compiled(model, False, torch.device("cuda"), loop.COMPILE_FROM) is model
    monkeypatch.setattr(loop, "find_spec", lambda name: None)  # Windows has no Triton
    assert loop.compiled(model, "auto", torch.device("cuda"), loop.COMPILE_FROM) is model
