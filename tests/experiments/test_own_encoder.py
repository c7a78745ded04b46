"""An encoder adapted to a reader's own text: what is planned, measured, refused, continued and written."""

import json

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from course_lib.evaluation import Difference
from course_lib.experiments import PROFILES, Adaptation, own_encoder, proxies
from course_lib.models import SentenceEncoder
from course_lib.objectives import Cropping
from course_lib.storage import DATA
from course_lib.texts import own_text
from course_lib.texts.own_text import Passage

SMOKE = PROFILES["smoke"]


@pytest.fixture(scope="module")
def start(shallow, tmp_path_factory):
    """A small encoder that ends with a Normalize layer, as all-MiniLM-L6-v2 does."""
    folder, encoder = tmp_path_factory.mktemp("start") / "small", shallow()
    encoder.normalize = True
    encoder.save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def passages(docs):
    return proxies.passages_of_documents(docs.validation.documents[:200])


@pytest.fixture
def planned(start, passages, tmp_path):
    """A function that plans an adaptation of two steps."""

    def plan(folder=tmp_path / "adapted", texts=passages, **options):
        return Adaptation(texts, folder, SMOKE, **{"start": start, "steps": 2, **options})

    return plan


def interrupted(adaptation, monkeypatch, step=2):
    """Run it, and press Ctrl-C in a step."""
    real, calls = Cropping.forward, []

    def stopping(self, batch):
        calls.append(batch)
        if len(calls) == step:
            raise KeyboardInterrupt
        return real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Cropping, "forward", stopping)
        with pytest.raises(KeyboardInterrupt):
            adaptation.run(progress=False)


# --------------------------------------------------------------------------- the whole


def test_what_is_written_is_a_model_with_a_card(planned, start, passages, tmp_path):
    adaptation = planned()
    plan = adaptation.plan()
    record, gains = adaptation.run(progress=False)
    folder = tmp_path / "adapted"
    some = list(map(str, passages[:5]))
    ours = SentenceEncoder.from_pretrained(folder).encode(some)
    theirs = SentenceTransformer(str(folder), device="cpu")
    assert abs(theirs.encode(some) - ours).max() < 1e-5 and abs((ours**2).sum(1) - 1).max() < 1e-5
    modules = [type(module).__name__ for module in SentenceTransformer(start, device="cpu")]
    assert [type(module).__name__ for module in theirs] == modules == ["Transformer", "Pooling", "Normalize"]
    assert abs(SentenceEncoder.from_pretrained(start).encode(some) - ours).max() > 1e-4
    assert len(record.losses) == 2 and [gain.name for gain in gains] == ["heading_to_passage", "half_to_half"]
    _, front, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "unknown" and yaml.safe_load(front)["library_name"]
    for said in (f"{len(passages):,} passages", "2 steps of 32 passages", "peak rate 5e-05", proxies.conclusion(gains)):
        assert said in body
    assert all(f"| {gain.task} | {gain.queries} | {gain.before:.3f} | {gain.after:.3f} |" in body for gain in gains)
    assert str(tmp_path) not in front + body  # a card tells nobody's folders
    assert "about" in plan["training"] and "second" in plan["training"] and "strongest without labels" in plan["method"]


def test_planning_changes_neither_the_weights_nor_the_training(planned, tmp_path):
    first, second = planned(tmp_path / "a"), planned(tmp_path / "b")
    before = {name: weight.clone() for name, weight in first.encoder.state_dict().items()}
    first.plan()
    assert all((weight == before[name]).all() for name, weight in first.encoder.state_dict().items())
    assert first.run(progress=False)[0].losses == second.run(progress=False)[0].losses


def test_nothing_of_the_held_out_documents_is_trained_on(planned):
    adaptation = planned()
    trained, held_out = {p.file for p in adaptation.training}, {p.file for p in adaptation.held_out}
    assert held_out and not trained & held_out and set(adaptation.texts) <= set(adaptation.training)
    assert not {p.text for p in adaptation.training} & {p.text for p in adaptation.held_out}


@pytest.mark.parametrize("method", own_encoder.METHODS)
def test_every_method_trains_and_keeps_the_pooling(planned, passages, method):
    adaptation = planned(method=method, start=str(DATA / "base-encoder"), texts=passages[:100])
    pooling = adaptation.encoder.pooling
    record, _ = adaptation.run(progress=False)
    assert record.objective["name"] == type(adaptation.objective).__name__
    assert SentenceEncoder.from_pretrained(adaptation.folder).pooling == pooling == "mean"


# --------------------------------------------------------------------------- nothing is overwritten


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("held", ["model", "finished", "notes", "file", "damaged"])
def test_no_folder_with_something_in_it_is_written_to(planned, shallow, tmp_path, held):
    folder = tmp_path / "adapted"
    if held == "model":
        shallow().save(folder)
    elif held == "finished":
        planned().run(progress=False)
    elif held == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / ("note.txt" if held == "notes" else own_encoder.STATE)).write_text("mine")
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match="name a new folder"):
        planned()
    assert content(tmp_path) == before


def test_the_base_encoder_and_an_empty_folder(planned, tmp_path):
    with pytest.raises(FileExistsError, match="base-encoder holds a model already"):
        planned(DATA / "base-encoder")
    (tmp_path / "empty").mkdir()
    planned(tmp_path / "empty")
    planned(tmp_path / "not" / "there" / "yet")
    assert not (tmp_path / "not").exists()  # planning writes nothing


# --------------------------------------------------------------------------- interruptions


def test_an_interrupted_training_goes_on(planned, tmp_path, monkeypatch):
    whole = planned(tmp_path / "whole").run(progress=False)[0]
    interrupted(planned(tmp_path / "stopped"), monkeypatch)
    with pytest.raises(FileExistsError, match="name a new folder"):
        planned(tmp_path / "whole")
    assert planned(tmp_path / "stopped").run(progress=False)[0].losses == whole.losses
    assert json.loads((tmp_path / "stopped" / own_encoder.STATE).read_text())["finished"] is True


def test_a_kill_between_training_and_measuring_trains_nothing_again(planned, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(proxies, "gains", killed)
        with pytest.raises(KeyboardInterrupt):
            planned().run(progress=False)
    monkeypatch.setattr(own_encoder, "train", killed)
    record, gains = planned().run(progress=False)
    assert len(record.losses) == 2 and gains


def test_a_changed_text_gets_advice_that_the_command_line_understands(planned, passages, monkeypatch):
    interrupted(planned(), monkeypatch)
    with pytest.raises(ValueError) as error:
        planned(texts=[*passages, Passage("A note that is new.", "new.md")])
    said = str(error.value)
    assert f"passages was {len(passages)} and is {len(passages) + 1}" in said and "resume" not in said
    assert "delete this one and run the same command again" in said
    with pytest.raises(ValueError, match="recipe's steps was 2 and is 3"):
        planned(steps=3)
    with pytest.raises(ValueError, match="method was 'cropping' and is 'simcse'"):
        planned(method="simcse")


# --------------------------------------------------------------------------- what is recommended and said


def test_the_method_fits_the_length_of_the_texts(planned, passages):
    assert own_encoder.recommend(["printer is on fire"] * 30)[0] == "simcse"
    assert own_encoder.recommend(passages)[0] == "cropping"
    method, why = own_encoder.recommend(passages)
    numbers = [float(part.split()[-1].rstrip(")")) for part in why.partition("description: ")[2].split(", ")]
    assert numbers == sorted(numbers, reverse=True) and why.partition("description: ")[2].startswith("cropping")
    assert "recommended is cropping" in planned(method="simcse").why


def test_a_long_training_is_announced_with_a_shorter_one(planned, monkeypatch):
    monkeypatch.setattr(Adaptation, "seconds_per_step", lambda self: 6.0)
    assert (
        "about 24 minutes on this machine; --steps 100 takes about 10 minutes" in planned(steps=240).plan()["training"]
    )
    assert planned(steps=50).plan()["training"].endswith("about 5 minutes on this machine")


def test_a_finished_encoder_is_trained_gently_and_the_base_as_recorded(planned):
    recipe = SMOKE.recipes["cropping"]
    assert planned().config.learning_rate == 5e-5 < recipe.learning_rate
    base = planned(start="base")
    assert base.config.learning_rate == recipe.learning_rate and "never saw a label" in base.plan()["start"]
    assert base.start.licence == "mit"


@pytest.mark.parametrize(
    "options, says",
    [
        ({"texts": []}, "no passage"),
        ({"texts": ["One text that is alone in the whole of this little world."]}, "add some"),
        ({"method": "word2vec"}, "choose one of cropping, simcse"),
        ({"start": "no/such-model"}, "no folder"),
    ],
)
def test_mistakes(planned, options, says):
    with pytest.raises((ValueError, OSError), match=says):
        planned(**options)


# --------------------------------------------------------------------------- the two tasks


def test_the_tasks_are_made_of_headings_and_halves(passages):
    tasks = proxies.proxy_tasks(passages)
    headings, halves = tasks["heading_to_passage"], tasks["half_to_half"]
    for name, text in headings.queries.items():
        answers = [p.text for p in passages if p.heading == text]
        assert [headings.corpus[i] for i in headings.relevant[name]] == answers
    whole = {f"passage {n}": " ".join(p.text.split()) for n, p in enumerate(passages)}
    for name, text in halves.queries.items():
        (answer,) = halves.relevant[name]
        assert f"{text} {halves.corpus[answer]}" == whole[answer]
    assert all(text not in map(str, passages) for text in headings.corpus.values())  # no heading in what is found


def test_headings_of_several_files_tell_nothing():
    page = [Passage(f"Text {n} of it.", f"{n}.txt", ("OPTIONS",)) for n in range(30)]
    own = [Passage(f"More {n} of it.", f"{n}.txt", (f"Only here {n}",)) for n in range(30)]
    task = proxies.proxy_tasks([*page, *own])["heading_to_passage"]
    assert len(task.queries) == 30 and "OPTIONS" not in task.queries.values() and len(task.corpus) == 60


def test_documents_are_held_out_whole_and_the_same_ones_each_time(passages):
    first, held_out = proxies.split_documents(passages)
    texts = {p.text for p in held_out}
    assert sorted([*first, *held_out, *(p for p in passages if p.text in texts and p not in held_out)]) == sorted(
        passages
    )
    assert not {p.file for p in first} & {p.file for p in held_out}
    assert 0.1 * len(passages) < len(held_out) <= 0.2 * len(passages)
    renamed = [Passage.restored("", p.text, p.heading, p.line, f"else/{p.file}") for p in passages]
    assert [p.text for p in proxies.split_documents(renamed)[1]] == [
        p.text for p in proxies.split_documents([Passage.restored("", p.text, "", 1, p.file) for p in passages])[1]
    ]
    one_file = [Passage(f"Passage {n} of a single file.", "a.txt") for n in range(100)]
    train, held_out = proxies.split_documents(one_file)
    assert len(held_out) == 20 and len(train) == 80


def gain(name, low, high):
    return proxies.Gain(name, name, 50, 0.5, 0.5 + (low + high) / 2, Difference((low + high) / 2, low, high, 0.1))


@pytest.mark.parametrize(
    "headings, halves, begins",
    [
        ((0.01, 0.1), (0.01, 0.1), "Better than before on heading_to_passage and half_to_half"),
        ((0.01, 0.1), (-0.1, 0.1), "Better than before only on heading_to_passage; on half_to_half no"),
        (
            (-0.1, 0.1),
            (0.01, 0.1),
            "Better than before only on half_to_half, which the training resembles; on heading_to_passage no",
        ),
        ((-0.1, 0.1), (-0.1, 0.1), "No difference can be told"),
        ((0.01, 0.1), (-0.2, -0.1), "Worse than before on half_to_half"),
        (None, (0.01, 0.1), "Better than before on half_to_half, the only task"),
        (None, None, "Not measured"),
    ],
)
def test_it_is_called_better_only_where_the_intervals_say_so(headings, halves, begins):
    names = {proxies.HEADINGS: headings, proxies.HALVES: halves}
    said = proxies.conclusion([gain(name, *interval) for name, interval in names.items() if interval])
    assert said.startswith(begins)


def test_a_ranker_that_is_better_is_called_better_and_an_equal_one_is_not(passages):
    tasks = proxies.proxy_tasks(passages)
    random = np.random.default_rng(0)

    class Noise:
        similarity = "cosine"

        def encode(self, texts, batch_size=64):
            return random.normal(size=(len(texts), 8)).astype(np.float32)

    encoder = SentenceEncoder.from_pretrained(DATA / "base-encoder")
    bad, good = proxies.measure_proxies(Noise(), tasks), proxies.measure_proxies(encoder, tasks)
    assert [g.verdict for g in proxies.gains(tasks, bad, good)] == ["better", "better"]
    assert {g.verdict for g in proxies.gains(tasks, good, good)} == {"cannot tell"}


def test_the_licence_of_a_start_is_read_from_its_card(tmp_path):
    from course_lib.experiments.model_card import licence_of

    assert licence_of(tmp_path) == "unknown"
    for card, licence in (
        ("---\nlicense: cc-by-4.0\n---\n# x", "cc-by-4.0"),
        ("# x", "unknown"),
        ("---\n[\n---\n", "unknown"),
    ):
        (tmp_path / "README.md").write_text(card)
        assert licence_of(tmp_path) == licence


def test_an_adapted_model_among_the_notes_is_no_text(planned, tmp_path):
    planned(tmp_path / "notes" / "model").run(progress=False)
    (tmp_path / "notes" / "a.md").write_text("The boiler is hot.")
    assert own_text.load(tmp_path / "notes") == ["The boiler is hot."]


def test_minilm_that_is_not_here_is_named_with_what_to_do(monkeypatch):
    def absent():
        raise OSError("no network")

    monkeypatch.setattr(own_encoder, "minilm_folder", absent)
    with pytest.raises(FileNotFoundError, match="--start base"):
        own_encoder.find_start(None)
