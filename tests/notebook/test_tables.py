"""Helpers of notebooks that print or tabulate: what they say is what the records and searches hold."""

from course_lib.experiments import load_shipped, report
from course_lib.notebook.differences import difference_table, sweep_verdicts
from course_lib.notebook.hits import print_hits
from course_lib.search import BM25Search


def test_a_table_of_differences_says_what_the_bootstrap_says():
    simcse, (base,), bm25 = load_shipped("simcse"), load_shipped("base"), load_shipped("bm25")[:1]
    lines = difference_table(simcse, {"base": [base], "BM25": bm25, "none": []}).data.splitlines()
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines[2:]}
    for task, result in base.results.items():
        mean, gain, other, missing = cells[result["title"]]
        assert float(mean) == round(sum(r.results[task]["value"] for r in simcse) / 3, 3) and missing == "–"
        expected = report.difference(simcse, [base], task)
        assert gain.startswith(f"{expected.difference:+.3f} ({expected.low:+.3f} to {expected.high:+.3f}), ")
        assert (other == "–") is (task == "stsb")
    assert "**better**" in cells["Summary → description"][1] and "cannot tell" in cells["See also"][1]
    assert "**worse**" in cells["Summary → description"][2]


def test_a_sweep_is_judged_setting_by_setting():
    """BM25 and the base encoder stand for two settings that are surely worse or better."""
    base, bm25 = load_shipped("base"), load_shipped("bm25")[:1]
    better, missing = sweep_verdicts({0.1: base, 0.2: bm25, 0.3: []}, 0.1, "dropout").data.splitlines()
    expected = report.difference(bm25, base, "questions").difference
    assert better.startswith("- dropout **0.2** against 0.1, 1 and 1 seeds: better on Summary → description (")
    assert f"Questions ({expected:+.3f})" in better and "STS-B" not in better and "worse" not in better
    assert missing == "- dropout **0.3** against 0.1, 0 and 1 seeds: not recorded yet."


def test_printed_hits_mark_the_right_answers(capsys):
    search = BM25Search({"a": "Sort an array.", "b": "Join two tables.", "c": "Sort a table."})
    print_hits("First", "sort table", {"words": search}, {"c"}, k=2)
    title, first, second, _ = capsys.readouterr().out.split("\n", 3)
    assert title == "First: sort table"
    assert first.startswith("  words → ") and "c: Sort a table." in first and "→" not in second
