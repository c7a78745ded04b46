"""What a GPU computes is what the CPU computes. Skipped, and it says so, where there is no CUDA."""

import pytest
import torch

from course_lib import objectives
from course_lib.models import CrossEncoder, QueryGenerator, SentenceEncoder
from course_lib.training import TrainingConfig, loop, train

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
MODELS = {"QueryGeneration": QueryGenerator, "Relevance": CrossEncoder}


def loss_and_gradient(kind, shallow, texts, device, weights=None):
    """Of one batch without dropout, in fp32; with other weights where some are given. Returns the weights too."""
    torch.manual_seed(0)
    objective = getattr(objectives, kind)(MODELS.get(kind, lambda encoder: encoder)(shallow(2).to(device))).eval()
    if weights:
        objective.load_state_dict(weights)
    batch = objective.collate(objective.prepare(texts), torch.Generator().manual_seed(3))
    loss = objective({name: tensor.to(device) for name, tensor in batch.items()})
    loss.backward()
    gradient = torch.cat([p.grad.flatten().cpu() for p in objective.parameters() if p.grad is not None])
    return loss.item(), gradient, {name: tensor.cpu() for name, tensor in objective.state_dict().items()}


@needs_gpu
@pytest.mark.parametrize(
    "kind",
    [
        "MaskedLanguageModel",
        "SimCSE",
        "DenoisingAutoEncoder",
        "ContrastiveTension",
        "InBatchContrastiveTension",
        "Cropping",
        "MultipleNegativesRanking",
        "QueryGeneration",
        "MarginMSE",
        "Relevance",
    ],
)
def test_every_loss_and_its_gradient_are_those_of_the_cpu(kind, examples, shallow):
    texts = examples(kind)
    expected, its_gradient, weights = loss_and_gradient(kind, shallow, texts, "cpu")
    loss, gradient, _ = loss_and_gradient(kind, shallow, texts, "cuda", weights)
    assert loss == pytest.approx(expected, rel=1e-4)
    assert (gradient - its_gradient).norm() < 1e-3 * its_gradient.norm()


@needs_gpu
def test_embeddings_are_those_of_the_cpu(docs, base_encoder_folder):
    texts = docs.train.sentences[:100]
    on_cpu, on_gpu = (
        SentenceEncoder.from_pretrained(base_encoder_folder, device=d).encode(texts) for d in ("cpu", "cuda")
    )
    assert abs(on_cpu - on_gpu).max() < 1e-3


@needs_gpu
def test_a_stopped_training_goes_on_as_if_never_stopped(docs, base_encoder_folder, tmp_path):
    def losses(folder, stop=False):
        def evaluate(encoder):
            if stop:
                raise KeyboardInterrupt
            return {"nothing": 0.0}

        objective = objectives.SimCSE(SentenceEncoder.from_pretrained(base_encoder_folder, device="cuda"))
        config = TrainingConfig(steps=12, batch_size=16, evaluate_every=6)
        return train(
            objective, docs.train.sentences[:200], config, folder, resume=True, evaluate=evaluate, progress=False
        ).losses

    whole = losses(tmp_path / "whole")
    assert len(losses(tmp_path / "stopped", stop=True)) == 6
    assert losses(tmp_path / "stopped") == pytest.approx(whole, rel=1e-6)


def losses_without_dropout(kind, shallow, texts, **settings):
    torch.manual_seed(0)
    objective = getattr(objectives, kind)(shallow(2).to("cuda"))
    for part in objective.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    objective._views_differ = True  # SimCSE would ask for dropout
    config = TrainingConfig(steps=30, batch_size=16, **settings)
    return train(objective, texts, config, progress=False).losses


@needs_gpu
@pytest.mark.parametrize("kind", ["SimCSE", "MaskedLanguageModel", "DenoisingAutoEncoder", "ContrastiveTension"])
def test_the_fast_path_trains_what_the_plain_one_trains(kind, docs, shallow, monkeypatch):
    texts = docs.train.sentences[:400]
    fast = losses_without_dropout(kind, shallow, texts, precision="fp32")
    compiled = losses_without_dropout(kind, shallow, texts, precision="fp32", compile=True)
    half = losses_without_dropout(kind, shallow, texts, precision="fp16")
    monkeypatch.setattr(loop, "runs_ahead", lambda device: False)
    plain = losses_without_dropout(kind, shallow, texts, precision="fp32")
    assert fast == pytest.approx(plain, rel=1e-4)
    assert compiled == pytest.approx(plain, rel=1e-3)
    assert half == pytest.approx(plain, rel=0.05)
