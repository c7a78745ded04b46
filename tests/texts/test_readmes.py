"""The READMEs of the packages that the course installs."""

from course_lib.texts import own_text, readmes


def test_the_readmes_give_some_hundred_passages_on_every_machine(tmp_path):
    names = readmes.required_packages()
    assert {"numpy", "tqdm", "torch", "typer"} <= set(names) and not {"pytest", "ruff", "pypdf"} & set(names)
    folder = readmes.write_readmes(tmp_path / "readmes")
    read = own_text.load(folder, progress=False)
    assert len(read) > 500 and read.files > 25 and not read.skipped
    assert any(p.file.endswith("tqdm.rst") and "progress" in p.text for p in read)
    assert [str(p) for p in own_text.load(readmes.write_readmes(folder), progress=False)] == [str(p) for p in read]


def test_a_package_that_is_not_there_has_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(readmes, "required_packages", lambda: ["no-such-package", "tqdm"])
    assert [path.name for path in readmes.write_readmes(tmp_path).iterdir()] == ["tqdm.rst"]
