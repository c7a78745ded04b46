"""The recipe of the base encoder: what is read from packages, what is kept out, and the model that comes out of it."""

import ast
import gzip
import json
import zipfile
from importlib import metadata

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertTokenizer

from course_lib.evaluation import evaluate_sts
from course_lib.models import SentenceEncoder
from course_lib.objectives import MaskedLanguageModel
from course_lib.recipes import base_encoder, public_text
from course_lib.recipes.base_encoder import new_encoder, pack, save_masked_lm, train_tokenizer
from course_lib.texts import hub, python_docs

TEXTS = ["Sort the values of an array.", "Read a table from a file.", "The Fourier transform of a real signal."]

# Public documents, each cut to a few lines: its format, the bytes, the passages in it.
HTML = b"""<html><head><title>5.2. Default Values</title></head><body><div class="sect1"><h2>5.2. Default Values</h2>
<p>If no default value is declared explicitly, the default value is the <a href="x.html">null value</a>. This usually
makes sense because a null value can be considered to represent unknown data.</p>
<pre>CREATE TABLE products ( product_no integer, price numeric DEFAULT 9.99 );</pre>
<ul><li>The default value can be an expression.<p>It is evaluated whenever the default value is inserted.</p></li></ul>
</div></body></html>"""
MAN = rb""".TH "SPI_CONNECT" "3"
.SH "DESCRIPTION"
.PP
\fBSPI_connect\fR opens a connection from a C function invocation to the SPI manager\&. You must call this function
if you want to execute commands through SPI\&. Some utility
.B functions
can be called from unconnected C functions\&.
.nf
int SPI_connect(void)
.fi"""
GCIDE = rb"""Abacus \Ab"a*cus\ ([a^]b"[.a]*k[u^]s), n.; E. pl. {Abacuses}; L.
   pl. {Abaci} (-s[imac]). [L. abacus, abax]
   1. A table or tray strewn with sand, anciently used for
      drawing, calculating, etc. [Obs.]
      [1913 Webster]

Abaft \A*baft"\, adv. (Naut.)
   Toward the stern; aft; as, to go abaft, or to be at the {Hind}
   part of a ship.
   [1913 Webster]
"""
WORDNET = b"""  1 This software and database is being provided to you, the LICENSEE
02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 001 @ 02083346 n 0000 | occurs in many breeds; "the dog barked"
"""
TEXT = b"""Installing the package
======================

Before the package can be used, it has to be *built*, which
takes a few minutes on most machines.

::

   make all && make install
"""
API = b"""{"operations": {"CopyObject": {"name": "CopyObject", "documentation": "<p>Creates a copy of an object that is
already stored in a bucket. See <a href='x'>the guide</a> for more.</p><note><p>A copy request might return an
error.</p></note>"}}, "shapes": {"Empty": {"type": "string", "documentation": ""}}, "version": "2.0"}""".replace(
    b"\n", b" "
)
ANSIBLE = b"""DOCUMENTATION = r'''
module: copy_files
description:
  - The C(copy_files) module copies a file to a location on the remote machine.
  - Use the M(fetch) module to copy files from remote locations to the local box.
options:
  src: {description: Local path to a file that is copied to the remote server., type: path}
'''
"""
DOCUMENTS = {
    "api": (
        API,
        "Creates a copy of an object that is already stored in a bucket. See the guide for more. A copy request might "
        "return an error.",
    ),
    "python": (
        ANSIBLE,
        "Use the fetch module to copy files from remote locations to the local box. Local path to a file that is "
        "copied to the remote server.",  # a name with an underscore is not English
    ),
    "html": (
        HTML,
        "If no default value is declared explicitly, the default value is the null value. This usually makes sense "
        "because a null value can be considered to represent unknown data. The default value can be an expression. It "
        "is evaluated whenever the default value is inserted.",
    ),
    "man": (
        MAN,
        "You must call this function if you want to execute commands through SPI. Some utility functions can be called "
        "from unconnected C functions.",
    ),
    "dictionary": (
        GCIDE,
        "A table or tray strewn with sand, anciently used for drawing, calculating, etc.",
        "Abaft: Toward the stern; aft; as, to go abaft, or to be at the Hind part of a ship.",
    ),
    "wordnet": (WORDNET, 'dog, domestic dog, Canis familiaris: occurs in many breeds; "the dog barked"'),
    "text": (
        TEXT,
        "Before the package can be used, it has to be built, which takes a few minutes on most machines.",
    ),
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with a wheel of joblib, as pip would find it at an index."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "joblib")
    return folder


def make_wheel(folder, name, extra=""):
    """A wheel with the real files of an installed package, and more lines of metadata."""
    package = metadata.distribution(name)
    path = folder / f"{name}-{package.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in package.files:
            if file.suffix == ".py":
                wheel.write(file.locate(), str(file))
        about = f"{name}-{package.version}.dist-info"
        wheel.writestr(f"{about}/METADATA", extra + package.read_text("METADATA"))
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    return path


@pytest.fixture(scope="module")
def small(docs):
    """The corpus of one library."""
    return python_docs.PythonDocs([d for d in docs.documents if d.library == "networkx"], docs.questions)


@pytest.fixture(scope="module")
def tokenizer(small):
    return train_tokenizer(small.train.passages, 3000)


# --------------------------------------------------------------------------- reading


def test_a_wheel_gives_the_prose_of_its_docstrings(wheels):
    (path,) = wheels.glob("*.whl")
    about, passages = public_text.read_wheel(path)
    assert about == {
        "version": metadata.version("joblib"),
        "licence": metadata.metadata("joblib")["License-Expression"],
    }
    assert len(passages) == len(set(passages)) > 100
    assert all(public_text.SHORTEST <= len(p.split()) < 170 for p in passages)
    text = "\n".join(passages)
    assert "joblib.Parallel" not in text and ">>>" not in text and "Parameters" not in text
    tests = next(f for f in metadata.files("joblib") if f.name == "test_memory.py").read_text(encoding="utf-8")
    docstrings = [ast.get_docstring(node) for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.FunctionDef)]
    assert docstrings and not any(" ".join(d.split()) in text for d in docstrings if d and len(d.split()) > 7)


def test_a_proprietary_wheel_is_refused(tmp_path):
    path = make_wheel(tmp_path, "joblib", "Classifier: License :: Other/Proprietary License\n")
    with pytest.raises(ValueError, match="licence is .*Proprietary.*remove it from the table"):
        public_text.read_wheel(path)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_files_of_a_debian_package_give_their_prose(kind, tmp_path):
    content, *passages = DOCUMENTS[kind]
    (tmp_path / "usr" / "share").mkdir(parents=True)
    (tmp_path / "usr" / "share" / "plain").write_bytes(content)
    (tmp_path / "usr" / "share" / "packed.gz").write_bytes(gzip.compress(content))
    for name in ("plain", "packed.gz", "*"):
        assert public_text.read_folder(tmp_path, f"usr/**/{name}", kind) == passages
    with pytest.raises(ValueError, match=r"no files usr/\*\.html; correct the pattern"):
        public_text.read_folder(tmp_path, "usr/*.html", kind)


def test_the_table_is_read_and_checked(tmp_path):
    sources = {source.name: source for source in public_text.read_table()}
    assert sources["botocore"].share < 1 == sources["flask"].share and "gurobipy" not in sources
    assert {s.index for s in sources.values()} == {"pypi", "debian"}
    table = tmp_path / "table.toml"
    for content, message in (
        ('pypi = "numpy flask"', "lists numpy, which the embedded corpus"),
        ('pypi = "flask"\n[share]\nclick = 0.5', "share to click"),
        ('[debian]\nfoo = { format = "pdf", files = "*" }', "the formats pdf; take one of python"),
    ):
        table.write_text(content)
        with pytest.raises(ValueError, match=message):
            public_text.read_table(table)


# --------------------------------------------------------------------------- what is kept


def test_eight_words_in_a_row_with_a_held_out_text_keep_a_passage_out(small):
    document = max(small.test.documents, key=lambda d: len(d.text))
    words = python_docs.normalized(document.text).split()
    before, after = "An unrelated beginning of a passage", "and an end that nobody else has written."
    for start in (0, len(words) // 2, len(words) - 8):
        run = words[start : start + 8]
        shared, almost = (f"{before}, {' '.join(part).upper()}; {after}" for part in (run, run[:7]))
        kept, (log,) = public_text.mix({}, [shared, almost], [document.text], progress=False)
        assert set(kept) == {almost} and (log["kept"], log["held_out"]) == (1, 1)


def test_held_out_are_documents_questions_and_sts_b(docs):
    texts = public_text.held_out_texts(docs)
    assert docs.test.documents[0].text in texts["test"] and docs.validation.documents[0].text in texts["validation"]
    assert len(texts["questions"]) == len(docs.questions) > 100
    if hub.available(hub.STSB):
        assert hub.load_sts(split="test")[0][0] in texts["STS-B"]
        assert hub.load_sts(split="validation")[1][-1] in texts["STS-B"]
    else:
        assert texts["STS-B"] == []


def test_duplicates_are_dropped_and_shares_drawn(small, tmp_path):
    passages = {" ".join(python_docs.normalized(p).split()[:30]): p for p in small.train.passages}
    own, fresh = list(passages.values())[:300], list(passages.values())[300:900]
    long = next(p for p in own if len(p.split()) > 40)
    again = [own[0].upper(), f"{long} And one more sentence.", *own[1:5]]
    path = tmp_path / "some.json"
    path.write_text(json.dumps({"version": "1", "passages": [*fresh, *fresh, *again]}))
    files = {public_text.Source("some", "pypi", share=0.5): path}

    mixed, (first, second) = public_text.mix(files, own, [], seed=1, progress=False)
    assert first["kept"] == len(own) and all(mixed.count(p) == 3 for p in own)
    assert second["duplicate"] == len(fresh) + len(again) and second["version"] == "1"
    assert 240 < second["kept"] < 360 and second["kept"] + second["not_drawn"] == len(fresh)
    assert len(mixed) == 3 * len(own) + second["kept"] and mixed[: len(own)] != own
    assert mixed == public_text.mix(files, own, [], seed=1, progress=False)[0]
    assert mixed != public_text.mix(files, own, [], seed=2, progress=False)[0]


# --------------------------------------------------------------------------- vocabulary and model


def test_the_vocabulary_cuts_words_as_bert_s_tokenizer_does(tokenizer, small):
    assert 2000 < len(tokenizer) <= 3000
    theirs = BertTokenizer(vocab=tokenizer.get_vocab(), do_lower_case=True)
    texts = small.validation.sentences[:200] + ["Crème brûlée, naïve façade", "Съешь ещё этих булок", "나는 학생입니다"]
    assert tokenizer(texts)["input_ids"] == theirs(texts)["input_ids"]
    plain = "the shortest path between two nodes of a weighted graph"
    assert tokenizer.decode(tokenizer(plain)["input_ids"], skip_special_tokens=True) == plain


def test_letters_of_other_scripts_are_told_apart(tokenizer):
    for text in ("γρήγορο", "Привет", "שלום", "مرحبا، كيف", "नमस्ते", "สวัสดี", "안녕하세요", "こんにちは。", "Größe łódź"):
        pieces = tokenizer.tokenize(text)
        assert tokenizer.unk_token not in pieces and len(set(pieces)) > len(text) / 3, text
    assert set(tokenizer.tokenize("狐狸")) == {tokenizer.unk_token}  # what the comment in the code says


def test_packed_sequences_hold_every_token_in_order(tokenizer, small):
    passages = small.train.passages[:50]
    sequences = pack(tokenizer, passages, 128)
    assert {len(s) for s in sequences} == {128} and {s[0] for s in sequences} == {tokenizer.cls_token_id}
    stream = [
        i
        for text in passages
        for i in [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.sep_token_id]
    ]
    packed = [i for s in sequences for i in s[1:]]
    assert packed == stream[: len(packed)] and len(stream) - len(packed) < 127


def test_the_whole_model_has_at_most_35_mb(tokenizer):
    objective = MaskedLanguageModel(new_encoder(tokenizer, device="cpu"))
    weights = sum(p.numel() for p in objective.parameters())
    weights += (16_000 - len(tokenizer)) * (384 + 1)  # a row of the embedding and a bias for every piece
    assert weights * 2 < 34.5e6  # in half precision; the tokenizer has 0.4 MB


def test_what_is_saved_is_a_masked_language_model_with_its_head(shallow, tmp_path):
    objective = MaskedLanguageModel(shallow())
    save_masked_lm(objective, tmp_path)
    again = MaskedLanguageModel(SentenceEncoder.from_pretrained(tmp_path, device="cpu"))
    batch = objective.collate(TEXTS, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert float(again(batch)) == pytest.approx(float(objective(batch)), abs=0.02)  # half precision on disk


def test_from_packages_to_a_model_in_steps_that_are_not_repeated(wheels, small, tmp_path, monkeypatch, capsys):
    """pip finds the wheel in a folder; the package that it cannot find, and Debian's, are left out."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setattr(python_docs, "load", lambda: small)
    table = tmp_path / "table.toml"
    table.write_text('pypi = "joblib no-such-wheel"\n[debian]\nno-such-package = { format = "text", files = "*" }\n')
    output = tmp_path / "model"
    sizes = "--layers 1 --word-pieces 2000 --steps 3 --warmup-steps 1 --batch-size 4".split()
    options = [*sizes, "--packages", str(table), "--work", str(tmp_path / "work"), "--output", str(output)]

    base_encoder.main([*options, "--prepare-only"])
    printed = capsys.readouterr()
    for name in ("no-such-wheel", "no-such-package"):
        assert f"{name} is left out: " in printed.out + printed.err
    assert not output.exists()

    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))  # nothing is fetched again
    base_encoder.main(options)
    log = json.loads((output / "training-log.json").read_text())
    own, joblib = log["sources"]
    assert joblib["version"] == metadata.version("joblib") and joblib["words"] > 1000 and own["copies"] == 3
    assert log["skipped"] == ["no-such-wheel", "no-such-package"]
    assert log["tokens"] == 3 * 4 * 128 and [step for step, _ in log["loss"]] == [1, 2, 3]
    assert [e["step"] for e in log["evaluations"]] == [0, 1, 2, 3] and log["config"]["learning_rate"] == 1.5e-3
    assert str(tmp_path) not in json.dumps(log)

    encoder = SentenceEncoder.from_pretrained(output, device="cpu")
    assert (encoder.pooling, encoder.max_length, encoder.encode(TEXTS).shape) == ("mean", 128, (3, 384))
    batch = MaskedLanguageModel(encoder).collate(TEXTS, torch.Generator().manual_seed(1))
    theirs = AutoModelForMaskedLM.from_pretrained(output, dtype=torch.float32)
    assert theirs.config.max_position_embeddings == 128
    with torch.inference_mode():
        ours = float(MaskedLanguageModel(encoder).eval()(batch))
        assert ours == pytest.approx(float(theirs(**batch).loss), abs=1e-4)
    assert AutoTokenizer.from_pretrained(output)(TEXTS)["input_ids"] == encoder.token_ids(TEXTS)

    (output / "model.safetensors").unlink()
    base_encoder.main(options)  # neither is the training
    assert (output / "model.safetensors").is_file() and json.loads((output / "training-log.json").read_text()) == log


def test_the_shipped_encoder_stands_where_an_untuned_bert_stands(base_encoder_folder):
    if not hub.available(hub.STSB):
        pytest.skip("STS-B is not on this machine: set COURSE_DATA to a folder that holds stsb/")
    first, second, scores = (part[::3] for part in hub.load_sts(split="test"))
    for pooling, limit in (("mean", 0.50), ("cls", 0.35)):
        encoder = SentenceEncoder.from_pretrained(base_encoder_folder, pooling=pooling, device="cpu")
        assert 0.1 < evaluate_sts(encoder, first, second, scores)["spearman"] <= limit, pooling
