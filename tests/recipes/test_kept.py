"""What is made once is kept: a recipe that was stopped goes on, and what it wrote is not made again."""

import pytest

from course_lib.recipes import kept


def test_what_is_kept_is_not_made_again(tmp_path, capsys):
    path, made = tmp_path / "found.json", []

    def make(kind, seed):
        made.append((kind, seed))
        if made[-1] == ("b", 1) and made.count(("b", 1)) == 1:
            raise KeyboardInterrupt
        return {"value": f"{kind}{seed}ü"}

    with pytest.raises(KeyboardInterrupt):
        kept.make_missing(path, "ab", (0, 1), make, lambda found: found["value"])
    assert kept.load(path)["a"].keys() == {"0", "1"} and kept.load(path)["b"].keys() == {"0"}
    kept.make_missing(path, iter("ab"), (0, 1), make, lambda found: found["value"])
    assert made == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 1)]
    assert kept.load(path)["b"]["1"] == {"value": "b1ü"} and "b, seed 1: b1ü" in capsys.readouterr().out


def test_nothing_is_kept_at_first(tmp_path):
    assert kept.load(tmp_path / "absent.json") == {}
