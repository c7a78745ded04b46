"""The encoder that begins at once gives the vectors of SentenceEncoder, and leaves to it what it cannot do."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from course_lib.models import SentenceEncoder
from course_lib.models.light import FEW, LightEncoder
from course_lib.models.precision import choose_precision
from course_lib.storage import CHECKPOINT

TEXTS = ["A cat.", "", "The boiler, serviced in October, is hot. " * 30, "Ключ 猫 café a_b", "x\u0301 😀"]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "options", [{}, {"normalize": True}, {"pooling": "cls"}, {"pooling": "max", "similarity": "dot"}]
)
def test_the_vectors_are_those_of_the_encoder(shallow, sentences, tmp_path, options):
    encoder = shallow(2, **{k: v for k, v in options.items() if k == "pooling"})
    for name, value in options.items():
        setattr(encoder, name, value)
    encoder.save(tmp_path)
    light, texts = LightEncoder(tmp_path), [*TEXTS, *sentences]
    assert light._bert is not None and light.similarity == encoder.similarity
    assert abs(light.encode(texts) - encoder.encode(texts)).max() < 1e-5
    assert light.encode([]).shape == (0, 384)
    assert "full" not in vars(light)
    many = (texts * FEW)[: FEW + 1]
    ours, theirs = (unit(by.encode(many)) for by in (light, encoder))
    rounded = (
        choose_precision("auto", encoder.device) != "fp32"
    )  # many texts are embedded in bf16 where that is quicker
    assert abs(ours @ ours.T - theirs @ theirs.T).max() < (0.02 if rounded else 1e-5) and "full" in vars(light)


def test_the_base_encoder_as_it_ships(base_encoder_folder, sentences):
    full = SentenceEncoder.from_pretrained(base_encoder_folder, device="cpu")
    assert abs(LightEncoder(base_encoder_folder).encode(sentences) - full.encode(sentences)).max() < 1e-5


@pytest.mark.parametrize("change", [{"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}])
def test_another_model_is_left_to_transformers(shallow, tmp_path, change):
    shallow().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    assert LightEncoder(tmp_path)._bert is None


def test_the_key_is_that_of_the_content(shallow, tmp_path):
    shallow().save(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    key = LightEncoder(tmp_path / "a").key
    assert key == LightEncoder(tmp_path / "b").key
    changes = {"1_Pooling/config.json": {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}}
    changes |= {"sentence_bert_config.json": {"max_seq_length": 64}}
    for name, change in changes.items():
        path = tmp_path / "b" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert LightEncoder(tmp_path / "b").key != key
        shutil.copy(tmp_path / "a" / name, path)


def test_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a model folder"):
        LightEncoder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder 'no/such-model'"):
        LightEncoder("no/such-model")
    (tmp_path / CHECKPOINT).write_bytes(b"")
    with pytest.raises(ValueError, match="was interrupted"):
        LightEncoder(tmp_path)


def test_a_search_that_is_kept_needs_neither_torch_nor_transformers(tmp_path, base_encoder_folder):
    """They take longer to import than the search may take."""
    (tmp_path / "a.txt").write_text("The boiler is hot.\n\nThe key is with the neighbours.\n\nBread needs flour.\n")
    code = f"""
import sys
from course_lib.experiments import OwnSearch
found = OwnSearch({str(tmp_path / "a.txt")!r}, [{str(base_encoder_folder)!r}, "bm25"])
assert found.search("where is the key", 1)[0].text.line == 3
assert found.best_sentences("the key", ["It is hot. The key is here."]) == ["The key is here."]
print([name for name in ("torch", "transformers", "pandas", "datasets", "huggingface_hub") if name in sys.modules])
"""
    environment = os.environ | {"COURSE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
