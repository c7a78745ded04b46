"""Tables of notebook 11: recipes, first places, pipelines and the claims of the papers, all from run records."""

from collections.abc import Callable, Iterable
from statistics import fmean

from IPython.display import Markdown

from course_lib.evaluation import Difference, bootstrap_interval, bootstrap_spearman, verdict
from course_lib.experiments import RunRecord
from course_lib.experiments.claims import Claim
from course_lib.experiments.records import STS
from course_lib.experiments.report import difference, mean_value, training_seconds
from course_lib.notebook.differences import with_interval
from course_lib.notebook.tables import table

Runs = dict[str, list[RunRecord]]  # {name: records, one per seed}


def recipes(records: Runs) -> Markdown:
    """How each run was trained, and with how many seeds.

    records: of runs with a training.
    """
    rows = []
    for runs in records.values():
        recipe, kind = runs[0].recipe, runs[0].training["objective"]["name"]
        rows.append(
            [
                *(runs[0].title, f"`{kind}`", recipe["pooling"], f"{recipe['steps']} × {recipe['batch_size']}"),
                *(f"{sentences(runs):,}", f"{recipe['learning_rate']:g}", len(runs)),
            ]
        )
    headings = ["Method", "Objective", "Pooling", "Steps × batch", "Examples", "Peak rate", "Seeds"]
    return table(headings, rows)


def sentences(runs: list[RunRecord]) -> int:
    """How many examples a run was trained on, with repetitions."""
    return runs[0].recipe["steps"] * runs[0].recipe["batch_size"]


def fewest_seconds(runs: list[RunRecord]) -> float:
    """The shortest training of the seeds: what else ran on the machine can only have made the others longer."""
    return min(run.seconds for run in runs)


def mean_of_tasks(runs: list[RunRecord], tasks: Iterable[str]) -> list[float]:
    """The mean over tasks, seed by seed."""
    return [fmean(run.results[task]["value"] for task in tasks) for run in runs]


def first_places(records: Runs, tasks: Iterable[str]) -> Markdown:
    """On each task the best method, the second, and whether the difference between them is real."""
    rows = []
    for task in tasks:
        first, second = sorted(records, key=lambda name: -mean_value(records[name], task))[:2]
        found = difference(records[first], records[second], task)
        rows.append([records[first][0].results[task]["title"], *_pair(records[first], records[second], found)])
    return table(["Task", "First", "Second", "Difference (95 %)", ""], rows)


def _pair(first, second, found):
    return [first[0].title, second[0].title, with_interval(found), verdict(found)]


def seed_intervals(runs: list[RunRecord], task: str) -> dict[str, tuple]:
    """The interval of each seed over queries alone, as `plots.intervals` takes them: {name: (value, low, high)}."""
    found = {}
    for run in runs:
        result = run.results[task]
        values = list(result["per_query"].values())
        of_seed = bootstrap_spearman(values, result["scores"]) if task == STS else bootstrap_interval(values)
        found[f"{run.title}, seed {run.seed}"] = tuple(of_seed)
    return found


def pipelines(records: Runs, baseline: list[RunRecord]) -> Markdown:
    """Pipelines of domain adaptation on every task, and their difference from a baseline on each.

    records: in the order of the rows.
    baseline: such as those of BM25.
    """
    tasks = {task: result["title"] for task, result in baseline[0].results.items()}
    headings = [
        "Row",
        *(f"{t}, minus {baseline[0].title}" for t in tasks.values()),
        "Minutes of its last stage",
        "Seeds",
    ]
    rows = []
    for runs in records.values():
        cells = [f"{mean_value(runs, t):.3f}{_beside(runs, baseline, t)}" for t in tasks]
        minutes = f"{training_seconds(runs) / 60:.1f}" if runs[0].training else "–"
        rows.append([runs[0].title, *cells, minutes, len(runs)])
    return table(headings, rows)


def _beside(runs, baseline, task):
    if runs is baseline:
        return ""
    found = difference(runs, baseline, task)
    return f", {found.difference:+.3f} {verdict(found)}"


def claims(found: dict[Claim, dict[str, Difference]], title_of: Callable[[str], str]) -> Markdown:
    """The claims of the papers, each with the published numbers, those of the course, and a verdict.

    found: {claim: its differences}, empty where its runs are not recorded.
    title_of: of a task.
    """
    rows = []
    for claim, differences in found.items():
        here = "; ".join(f"{title_of(task)} {d.difference:+.3f}" for task, d in differences.items())
        published = " against ".join(f"{value:.1f}" for value in claim.published_values())
        why = claim.reason or "its runs are not recorded yet"
        rows.append([claim.paper, claim.text, published or "–", here or why, f"**{claim.verdict(differences)}**"])
    return table(["Paper", "Claim", "Published", "Difference here", "Verdict"], rows)
