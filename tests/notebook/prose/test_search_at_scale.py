"""What notebook 13 says in Markdown about recorded measurements, and about the numbers that were published."""

from course_lib.recipes import kept, search_at_scale
from course_lib.search.approximate import BREADTH, EXACT_UP_TO


def measured(index, breadth=None, size=1_000_000):
    rows = kept.load(search_at_scale.RECORD)["sizes"][str(size)]
    return next(r for r in rows if r["index"] == index and r["breadth"] == breadth)


def test_what_a_million_texts_cost(prose):
    text = prose("13_search_at_scale")
    exact, hnsw, ivf, bits = (measured(index, BREADTH.get(index)) for index in ("exact", "hnsw", "ivf", "binary"))
    text.says("a query in a million texts takes {:.0f} ms", exact["ms"])
    said = "HNSW answers in {:.1f} ms and finds {:.1f} % of what exact search finds in {:.0f} ms"
    text.says(said, hnsw["ms"], 100 * hnsw["recall"], exact["ms"])
    wide = measured("hnsw", 256)
    text.says("with a breadth of 256 it finds {:.0f} % in {:.0f} ms", 100 * wide["recall"], wide["ms"])
    text.says("took {:.0f} s to build", hnsw["build"])
    text.says("IVF reads {} of 4,000 lists and finds {:.0f} %", BREADTH["ivf"], 100 * ivf["recall"])
    text.says("the bits find {:.0f} % in {:.0f} ms", 100 * bits["recall"], bits["ms"])
    assert round(bits["bytes"]) == 48 and measured("int8", BREADTH["int8"])["recall"] == 1
    assert max(r["bytes"] for r in (exact, hnsw, ivf, bits)) == hnsw["bytes"]
    text.says("`choose_search` takes it for up to {:,} texts", EXACT_UP_TO)


def test_time_is_proportional_to_the_number_of_texts():
    times = [measured("exact", size=size)["ms"] for size in search_at_scale.SIZES]
    assert all(8 < later / before < 13 for before, later in zip(times, times[1:]))


def test_what_quantisation_loses_by_the_published_numbers(prose):
    text, models = prose("13_search_at_scale"), ("e5-base-v2", "all-MiniLM-L6-v2")
    of = {(m, k): text.published(m, k, "MTEB Retrieval", m) for m in models for k in ("float32", "int8", "binary")}
    text.says("e5-base-v2 loses a quarter with bits")
    assert round(1 - of["e5-base-v2", "binary"] / of["e5-base-v2", "float32"], 2) == 0.25
    text.says("all-MiniLM-L6-v2 loses more with bytes than with bits")
    assert of["all-MiniLM-L6-v2", "int8"] < of["all-MiniLM-L6-v2", "binary"]
