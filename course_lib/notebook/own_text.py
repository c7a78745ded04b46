"""What notebook 12 shows of a reader's own text, as tables."""

import json
from collections.abc import Mapping, Sequence
from textwrap import shorten

from IPython.display import Markdown

from course_lib.evaluation import bootstrap_interval, paired_bootstrap, verdict
from course_lib.evaluation.significance import Difference
from course_lib.experiments.proxies import Gain
from course_lib.notebook import plots
from course_lib.notebook.differences import with_interval
from course_lib.notebook.plots import Picture
from course_lib.notebook.tables import table
from course_lib.recipes.own_text_trials import TRIALS
from course_lib.recipes.proxy_study import STUDY
from course_lib.texts.own_text import Passage, Reading, grouped, place

NOT_RECORDED = Markdown("Not recorded yet; this command does it: `python -m course_lib.recipes.proxy_study`")
SEARCHES = {"before": "before", "after": "after", "bm25": "BM25", "hybrid": "before and BM25, merged"}


def left_out(reading: Reading) -> Markdown:
    """What was not read, and what else there is to know about the files, one reason per row."""
    rows = [["left out", *row] for row in grouped(reading.skipped)] + [["note", *row] for row in grouped(reading.notes)]
    return table(["", "files", "why", "which"], rows) if rows else Markdown("Every file was read whole.")


def passages(some: Sequence[Passage], width: int = 160) -> Markdown:
    """Passages with their places.

    width: characters of a passage that are shown.
    """
    rows = [[place(p).rpartition("/")[2], p.heading, shorten(p.text, width, placeholder=" …")] for p in some]
    return table(["where", "headings", "text"], rows)


def proxy_queries(tasks: Mapping, each: int = 3, width: int = 90) -> Markdown:
    """Some queries of the tasks without labels, each with its first answer.

    tasks: from `proxies.proxy_tasks`.
    each: how many of a task.
    width: characters of a text that are shown.
    """
    rows = []
    for task in tasks.values():
        for query, text in list(task.queries.items())[:each]:
            answer = task.corpus[next(iter(task.relevant[query]))]
            rows.append([task.title, *(shorten(t, width, placeholder=" …") for t in (text, answer))])
    return table(["task", "query", "answer"], rows)


def changed_queries(task, before: Mapping, after: Mapping, each: int = 3) -> Markdown:
    """The queries of a task whose nDCG rose most, and those whose nDCG fell most.

    task: a RetrievalTask.
    before, after: {query id: nDCG}.
    each: how many of both kinds.
    """
    change = {query: after[query] - before[query] for query in task.queries}
    order = sorted(change, key=change.get)
    chosen = [q for q in order[::-1][:each] if change[q] > 0] + [q for q in order[:each][::-1] if change[q] < 0]
    rows = [[shorten(task.queries[q], 80, placeholder=" …"), before[q], after[q], f"{change[q]:+.3f}"] for q in chosen]
    return table(["query", "before", "after", "change"], rows)


def in_numbers(gain: Difference) -> str:
    """A difference with its interval and verdict."""
    return f"{with_interval(gain)}, **{verdict(gain)}**"


def gains(found: Sequence[Gain]) -> Markdown:
    """What the training changed on each task."""
    rows = [[g.task, g.queries, g.before, g.after, in_numbers(g.difference)] for g in found]
    return table(["nDCG@10", "queries", "before", "after", "after minus before, 95 %"], rows)


# --------------------------------------------------------------------------- what was recorded


def study() -> dict | None:
    """How well tasks without labels predict tasks with labels, as `recipes.proxy_study` measured it; None before."""
    return json.loads(STUDY.read_text(encoding="utf-8")) if STUDY.is_file() else None


def study_picture(found: dict | None, proxies: Mapping[str, str], task: str, title: str) -> Picture | Markdown:
    """The systems of the study as points: without labels across, with labels upwards.

    found: from `study`.
    proxies: {key of a task without labels: title}, one panel each.
    task, title: of the task with labels.
    """
    if found is None:
        return NOT_RECORDED
    systems = found["systems"].values()
    panels = {name: {s["title"]: (s["values"][p], s["values"][task]) for s in systems} for p, name in proxies.items()}
    asked = "Does a task without labels predict one with labels?"
    return plots.systems(panels, "nDCG@10 without labels", f"nDCG@10, {title} (labelled)", asked)


def agreement(found: dict, proxy: str, task: str) -> dict[str, int]:
    """How often a task without labels tells the same as one with labels about two systems.

    found: from `study`.
    proxy, task: keys of the values.
    Returns {"same", "no verdict", "opposite"}: counts of the pairs of systems of which the labels tell a difference.
    """
    counts = {"same": 0, "no verdict": 0, "opposite": 0}
    for pair in found["pairs"]:
        by_labels, by_proxy = (verdict(Difference(*pair["differences"][name], 0)) for name in (task, proxy))
        if by_labels != "cannot tell":
            kind = "no verdict" if by_proxy == "cannot tell" else "same" if by_proxy == by_labels else "opposite"
            counts[kind] += 1
    return counts


def agreements(found: dict | None, proxies: Mapping[str, str], tasks: Mapping[str, str]) -> Markdown:
    """The counts of `agreement` for every task.

    proxies, tasks: {key: title}.
    """
    if found is None:
        return NOT_RECORDED
    rows = []
    for proxy, title in proxies.items():
        for task, label in tasks.items():
            counts = agreement(found, proxy, task)
            rows.append([title, label, sum(counts.values()), *counts.values()])
    return table(["without labels", "with labels", "pairs that differ", "same", "no verdict", "opposite"], rows)


def study_difference(found: dict, first: str, second: str, task: str) -> Difference:
    """The recorded difference of two systems, first minus second, without a p value."""
    for pair in found["pairs"]:
        low, mid, high = (pair["differences"][task][i] for i in (1, 0, 2))
        if pair["systems"] == [first, second]:
            return Difference(mid, low, high, float("nan"))
        if pair["systems"] == [second, first]:
            return Difference(-mid, -high, -low, float("nan"))
    raise ValueError(f"the study has no pair of {first!r} and {second!r}")


def further_trainings(found: dict | None, start: str, tasks: Mapping[str, str]) -> Markdown:
    """What the study's further trainings of one encoder changed on each task.

    found: from `study`.
    start: the name of the encoder's run.
    tasks: {key: title}.
    """
    if found is None:
        return NOT_RECORDED
    trained = [name for name in found["systems"] if name.startswith(f"{start}-")]
    rows = [
        [found["systems"][n]["title"], *(in_numbers(study_difference(found, n, start, task)) for task in tasks)]
        for n in trained
    ]
    return table(["trained further", *tasks.values()], rows)


def trials() -> list[dict]:
    """The collections that were adapted and judged; what is in them says `data/README.md`."""
    return json.loads(TRIALS.read_text(encoding="utf-8"))


def good_hits(collections: Sequence[dict], search: str) -> dict[str, float]:
    """The share of the first five hits that were judged good, {query: share}.

    search: a key of SEARCHES.
    """
    return {f"{c['name']}: {q['query']}": sum(q[search]) / 5 for c in collections for q in c["queries"]}


def trials_by_proxies(collections: Sequence[dict]) -> Markdown:
    """What the tasks without labels said about each collection."""
    rows = []
    for c in collections:
        size = f"{c['passages']:,} passages, {c['method']}, {c['seconds'] / 60:.1f} min"
        for g in c["gains"]:
            change = Difference(g["difference"], g["low"], g["high"], float("nan"))
            rows.append([c["name"], size, f"{g['task']} ({g['queries']})", g["before"], g["after"], in_numbers(change)])
    return table(["collection", "training", "task (queries)", "before", "after", "after minus before"], rows)


def trials_by_judgement(collections: Sequence[dict]) -> Markdown:
    """The share of good hits among the first five, per search, and the differences from the start model."""
    rows = []
    for name, of in [*((c["name"], [c]) for c in collections), ("all", list(collections))]:
        shares = {search: good_hits(of, search) for search in SEARCHES}
        means = [f"{bootstrap_interval(values).value:.2f}" for values in shares.values()]
        changes = [
            in_numbers(paired_bootstrap(shares[s], shares["before"])) if name == "all" else ""
            for s in ("after", "bm25", "hybrid")
        ]
        rows.append([name, *means, *changes])
    heads = [f"{SEARCHES[s]} minus before" for s in ("after", "bm25", "hybrid")]
    return table(["collection", *SEARCHES.values(), *heads], rows)
