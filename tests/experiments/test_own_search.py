"""A search in a reader's own text: what is kept, what is embedded again, and what is chosen by itself."""

import os
import time
import warnings

import numpy as np
import pytest

from course_lib.experiments import OwnSearch, own_search, searches
from course_lib.models.light import LightEncoder
from course_lib.search import KeptEmbeddings
from course_lib.storage import DATA
from course_lib.texts import own_text
from course_lib.texts.own_text import kept, unread

BASE = str(DATA / "base-encoder")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("COURSE_CACHE", str(folder))
    monkeypatch.setattr(kept, "cache_folder", lambda: folder)
    return folder


@pytest.fixture
def notes(tmp_path):
    """Thirty files, the text of each of its own."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for n in range(30):
        write(folder / f"{n}.md", f"# House {n}\n\nThe boiler of house {n} is hot.\n\nIts key is number {n * 7}.\n")
    return folder


def write(path, text):
    """Write a file as if it had been done a minute ago: one that is younger than a clock's tick is not kept."""
    path.write_text(text, encoding="utf-8")
    os.utime(path, (time.time() - 60,) * 2)


@pytest.fixture
def embedded(monkeypatch):
    """The texts that were given to an encoder, call by call."""
    calls, real = [], LightEncoder.encode

    def encode(self, texts, *arguments, **options):
        calls.append(list(texts))
        return real(self, texts, *arguments, **options)

    monkeypatch.setattr(LightEncoder, "encode", encode)
    return calls


@pytest.fixture
def read(monkeypatch):
    """The files that were read."""
    names, real = [], own_text._blocks

    def blocks(file, source, *arguments):
        names.append(os.path.basename(source.name))
        return real(file, source, *arguments)

    monkeypatch.setattr(own_text, "_blocks", blocks)
    monkeypatch.setattr(kept, "_TICK", -5)  # as if every file were old
    return names


def test_the_second_search_reads_and_embeds_nothing_and_finds_the_same(notes, embedded, read):
    first = OwnSearch(notes, [BASE, "bm25"])
    assert len(read) == 30 and [len(texts) for texts in embedded] == [len(first.passages)]
    read.clear(), embedded.clear()
    second = OwnSearch(notes, [BASE, "bm25"])
    assert read == [] and embedded == []
    assert second.passages == first.passages
    assert [vars(p) for p in second.passages] == [vars(p) for p in first.passages]
    assert (second.passages.files, second.passages.skipped) == (first.passages.files, first.passages.skipped)
    assert second.search("the key of house 3", 5) == first.search("the key of house 3", 5)


def test_after_a_change_only_what_changed_is_read_and_embedded(notes, embedded, read):
    OwnSearch(notes, [BASE])
    read.clear(), embedded.clear()
    write(notes / "3.md", "# House 3\n\nThe boiler of house 3 is hot.\n\nThe roof leaks since Monday.\n")
    (notes / "4.md").unlink()
    write(notes / "new.md", "# House 99\n\nThis one is new.\n")
    found = OwnSearch(notes, [BASE])
    assert sorted(read) == ["3.md", "new.md"]
    assert embedded == [["House 3\nThe roof leaks since Monday.", "House 99\nThis one is new."]]
    assert found.search("The roof leaks since Monday.", 1)[0].text.line == 5
    assert not any(p.file.endswith("/4.md") for p in found.passages)
    embedded.clear()
    write(notes / "renamed.md", (notes / "5.md").read_text())
    (notes / "5.md").unlink()
    OwnSearch(notes, [BASE])
    assert embedded == []  # known by content


def test_what_is_kept_is_what_would_be_read(notes, read):
    write(notes / "t.csv", "id;text\n1;Hallo, du schöne Welt\n")
    (notes / "bad.pdf").write_bytes(b"no pdf")
    (notes / "empty.txt").write_text("")
    (notes / "half.jsonl").write_text('{"text": "one"}\n{"text"\n')
    fresh = own_text.load(notes)
    for _ in range(2):
        again = own_text.load(notes, keep=True)
        assert again == fresh and [vars(p) for p in again] == [vars(p) for p in fresh]
        assert (again.files, again.skipped, again.notes) == (fresh.files, fresh.skipped, fresh.notes)
        assert again.duplicates == fresh.duplicates


def test_a_file_of_the_same_size_and_time_is_read_again(notes, read):
    own_text.load(notes, keep=True)
    read.clear()
    before = (notes / "3.md").stat()
    (notes / "3.md").write_text((notes / "3.md").read_text().replace("hot", "old"))
    os.utime(notes / "3.md", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert any("old" in p for p in own_text.load(notes, keep=True)) and read == ["3.md"]


def test_a_file_that_was_written_just_now_is_not_kept(notes, read, monkeypatch):
    monkeypatch.setattr(kept, "_TICK", 1000)
    own_text.load(notes, keep=True)
    own_text.load(notes, keep=True)
    assert len(read) == 60


def test_what_is_kept_is_private_and_may_be_damaged(notes, cache, embedded):
    first = OwnSearch(notes, [BASE]).search("key", 3)
    assert (cache / "own-text").stat().st_mode & 0o077 == 0
    for path in (cache / "own-text").iterdir():
        path.write_bytes(b"{damaged")
    assert OwnSearch(notes, [BASE]).search("key", 3) == first


def test_another_column_is_another_reading(tmp_path):
    write(tmp_path / "t.csv", "a,b\nthe first one,the second one\n")
    assert own_text.load(tmp_path / "t.csv", "a", keep=True) == ["the first one"]
    assert own_text.load(tmp_path / "t.csv", "b", keep=True) == ["the second one"]


def test_an_interrupted_embedding_keeps_what_is_done(tmp_path):
    class Counting:
        similarity, texts, stop = "cosine", [], 25

        def encode(self, texts, batch_size=64, progress=False):
            if len(self.texts) >= self.stop:
                raise KeyboardInterrupt
            self.texts += texts
            return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    texts, encoder = [f"text {n}" for n in range(40)], Counting()
    with pytest.raises(KeyboardInterrupt):
        KeptEmbeddings(encoder, tmp_path / "a.safetensors", at_once=10).encode(texts)
    assert len(encoder.texts) == 30
    encoder.stop = 1000
    rows = KeptEmbeddings(encoder, tmp_path / "a.safetensors", at_once=10).encode(texts)
    assert encoder.texts == texts and rows.tolist() == [[len(text), 1.0] for text in texts]
    assert KeptEmbeddings(encoder, tmp_path / "a.safetensors").encode([]).shape[0] == 0


RUSSIAN = "Котёл обслуживается каждый октябрь.\n\nЗапасной ключ находится у соседей.\n"


def test_a_text_that_the_default_cannot_read_is_searched_by_words(tmp_path, monkeypatch):
    write(tmp_path / "a.txt", RUSSIAN)
    monkeypatch.setattr(own_search, "default_encoders", lambda: ["base"])
    with pytest.warns(UserWarning, match="% of the word pieces of these texts are unknown.*bm25.*multilingual"):
        found = OwnSearch(tmp_path / "a.txt")
    assert found.title == "BM25" and found.search("ключ")[0].text.line == 3
    with pytest.warns(UserWarning, match="% of the word pieces"):
        assert OwnSearch(tmp_path / "a.txt", ["base"]).title == "the course's base encoder"


def test_an_encoder_that_reads_the_text_is_not_warned_of(tmp_path, docs):
    write(tmp_path / "a.txt", "\n\n".join(docs.validation.passages[:200]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OwnSearch(tmp_path / "a.txt", [BASE])


@pytest.mark.parametrize(
    "text",
    [
        "Το κλειδί βρίσκεται στους γείτονες",
        "鍵は隣の家にあります。予備の鍵です。",
        "钥匙在邻居那里。",
        "المفتاح لدى الجيران",
        "열쇠는 이웃집에 있습니다",
        "चाबी पड़ोसियों के पास है",
        "กุญแจอยู่กับเพื่อนบ้าน",
    ],
)
def test_other_scripts_are_unread_by_an_encoder_of_english(text):
    tokenizer = LightEncoder(BASE).tokenizer
    assert unread.warning(tokenizer, [text]) is not None
    for language in (
        "Der Schlüssel liegt bei den Nachbarn.",
        "La clé est chez les voisins.",
        "The key lies at the neighbours, and the angles are α and β.",
    ):
        assert unread.warning(tokenizer, [language]) is None


def test_hybrid_is_short_for_two(notes, monkeypatch):
    monkeypatch.setattr(own_search, "minilm_folder", lambda: BASE)
    merged = OwnSearch(notes, ["hybrid"])
    assert merged.title == "all-MiniLM-L6-v2 (supervised) and BM25, merged"
    assert merged.search("key", 4) == OwnSearch(notes, ["base", "bm25"]).search("key", 4)


@pytest.mark.parametrize("folder, title", [(BASE, "all-MiniLM-L6-v2 (supervised)"), (None, "BM25")])
def test_what_nobody_chose_is_by_meaning_or_by_words(notes, monkeypatch, folder, title):
    monkeypatch.setattr(own_search, "minilm_folder", lambda: folder)
    monkeypatch.setattr(own_search, "reference_folder", lambda: folder)
    found = OwnSearch(notes)
    assert found.title == title and bool(found.hint) == (folder is None)


def test_what_the_comparison_trained_is_found_by_its_name(notes, monkeypatch):
    asked = []
    monkeypatch.setattr(searches, "trained_folder", lambda name, profile: asked.append((name, profile.name)) or BASE)
    assert OwnSearch(notes, ["tsdae"], profile="smoke").title == "tsdae" and asked == [("tsdae", "smoke")]


def test_the_best_sentence(notes):
    text = "The roof is old.\nIts boiler is hot. A key opens the door."
    for encoders in (["bm25"], [BASE], [BASE, "bm25"]):
        found = OwnSearch(notes, encoders)
        assert found.best_sentences("which key opens the door", [text]) == ["A key opens the door."]
        assert found.best_sentences("key", []) == []
