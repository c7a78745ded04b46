"""Every figure drawn once, with data that is unkind to it: long names, markup, underscores, dollars."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from course_lib.evaluation.significance import Difference
from course_lib.experiments import RunRecord
from course_lib.notebook import plots
from course_lib.training import TrainingRecord

SENTENCES = [
    "Sort the array in place and return None, as list.sort does.",
    "Return the indices that sort a tensor.",
    "Costs $5 <script>alert(1)</script> or $x_i$",
    "_private_name: raised when a file cannot be found",
]
COSINES = np.array([[1, 0.81, 0.32, 0.24], [0.81, 1, 0.30, 0.11], [0.32, 0.30, 1, 0.45], [0.24, 0.11, 0.45, 1]])
TOKENS = ["[CLS]", "cost", "##s", "$", "x", "_", "i", "$", "<script>", "[SEP]"]
NASTY = "_$a_b$ <script>"


def rng():
    return np.random.default_rng(0)


def attention():
    scores = rng().normal(size=(10, 10))
    scores[2, 7] += 6
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def groups_of_points():
    """Embeddings (60, 8) of three groups, well apart in `after` and mixed in `before`; and the groups' names."""
    groups = np.repeat(["numpy", "pandas", NASTY], 20)
    before = rng().normal(size=(60, 8))
    return {"Base encoder": before, "After training": before + 9 * np.repeat(np.eye(8)[:3], 20, 0)}, list(groups)


def training_record(n=80, shift=0.0):
    steps = [
        {"step": i + 1, "loss": shift + 3 * 0.97**i + 0.1 * np.sin(i), "gradient_norm": 1 + 1 / (i + 1)}
        for i in range(n)
    ]
    evaluations = [{"step": s, "seconds": 1.0, "ndcg@10": 0.2 + s / 400, "spearman": 0.4} for s in (20, 40, 60, 80)]
    return TrainingRecord(
        config={}, precision="fp32", device="cpu", texts=100, objective={}, steps=steps, evaluations=evaluations
    )


def run_records():
    """BM25, which no STS is measured of, and three methods, one of them with two seeds."""
    records = []
    runs = [
        ("bm25", "BM25", 0, 0.5),
        ("base", "Base encoder", 0, 0.2),
        ("simcse", "SimCSE", 0, 0.4),
        ("simcse", "SimCSE", 1, 0.42),
        ("minilm", "all-MiniLM-L6-v2 (supervised)", 0, 0.6),
    ]
    for method, title, seed, mean in runs:
        results = {}
        for task, heading in (
            ("summary", "Summary → description"),
            ("questions", NASTY),
            ("see_also", "See also"),
            ("across", "Across libraries"),
        ):
            values = np.clip(rng().normal(mean, 0.2, 50), 0, 1)
            results[task] = {
                "title": heading,
                "metric": "ndcg@10",
                "value": values.mean(),
                "per_query": dict(enumerate(values)),
            }
        if method == "bm25":
            del results["across"]
        records.append(RunRecord(method, title, "cpu", seed, {}, {}, {}, {}, results))
    return records


RESAMPLED = rng().normal(0.04, 0.01, 2000)
CURVE = [(s, 0.2 + s / 1000) for s in range(0, 300, 25)]

WORDS = "Give a new shape to an array _without_ changing its <b>data</b> or the $order$ of its elements .".split()
DRAWS = {
    "Deleted": [None if i % 3 else w for i, w in enumerate(WORDS)],
    NASTY: [{4: "[MASK]", 9: "##ation", 12: "a_token_" * 9}.get(i, w) for i, w in enumerate(WORDS)],
}
PREDICTED = {NASTY: [i in (4, 7, 9, 12) for i in range(len(WORDS))]}
DRAWN = np.full((3, 19), 0.4 / 18)
DRAWN[[0, 1, 2], [0, 5, 18]] = 0.6
MEMORY = {
    "CT": {"weights": 132, "gradients": 132, "optimiser": 264, NASTY: 410, "logits": 0},
    "TSDAE, with the logits of all words": {"weights": 70, "gradients": 70, NASTY: 600, "logits": 1230.4},
}
GAINS = {
    "Summary → description": {
        "text first": {"SimCSE": Difference(0.036, 0.021, 0.05, 0.0), NASTY: None},
        NASTY: {"SimCSE": Difference(-0.058, -0.07, -0.04, 0.0)},
    },
    "Questions": {"text first": {"SimCSE": None, NASTY: Difference(0.125, -0.01, 0.2, 0.1)}},
}
STAIRS = np.repeat([1e-5, 8e-6, 6e-6], [500, 500, 200])
TIMES = {
    "SimCSE": [(118, 0.42, 0.40, 0.44), (1810, 0.48, 0.46, 0.50), (361, 0.47, 0.45, 0.49)],
    NASTY: [(0.8, 0.09), (40_000, 0.25)],
}
GPL = [
    ("Passages", "of the target"),
    ("Query generator", "top-p"),
    ("Two retrievers", "BM25 and dense"),
    ("Cross-encoder", "raw logits"),
    (NASTY, "dot product"),
]


def pairs(n=100):
    """Cosines of pairs, of two groups, before and after training."""
    return {
        "Base encoder": {"Random pairs": np.linspace(0.6, 0.8, n), NASTY: np.linspace(0.7, 0.96, n)},
        "After SimCSE": {"Random pairs": np.linspace(-0.1, 0.3, n), NASTY: np.linspace(0.5, 0.9, n)},
    }


# name, of the function first: how it is called, and the numbers and words that its alt text must carry
FIGURES = {
    "similarity_heatmap": ([SENTENCES, COSINES], {}, ["0.81", "0.11", "0.37", "<script>", "$x_i$"]),
    "attention_map": ([TOKENS, attention()], {}, ["10 tokens", f"{attention().max():.2f}", "“##s” on “$”"]),
    "attention_map of two": ([["a", "b"], np.eye(2)], {}, ["2 tokens"]),
    "histogram": (
        [{NASTY: np.linspace(-3, 9, 200), "random": [10.2, 10.4]}, "Margin of the teacher's scores"],
        {"of": "negatives"},
        ["mean 3.00", "mean 10.30", "-2.40 to 8.40", "Margin of the teacher"],
    ),
    "cosine_histogram": ([pairs()], {}, ["0.70", "0.83", "0.10", NASTY]),
    "sweep": (
        [{0.05: run_records()[2:4], NASTY: run_records()[4:], 1.0: []}, "Temperature"],
        {"title": NASTY, "base": run_records()[1], "yours": (NASTY, run_records()[2])},
        ["2 seeds", f"{run_records()[1].results['summary']['value']:.3f}", "not recorded at 1.0", NASTY, "run above"],
    ),
    "sentence_map of one panel": (
        [
            {"Base encoder": groups_of_points()[0]["Base encoder"]},
            [f"{NASTY} {i % 7}" for i in range(60)],
            ["word " * 40] * 60,
        ],
        {},
        ["7 groups", NASTY + " 6"],
    ),
    "sentence_map": (
        [*groups_of_points(), [f"{NASTY} sentence {i} " * 9 for i in range(60)]],
        {},
        ["60 texts", "3 groups", "100%", NASTY],
    ),
    "token_noise": (
        [WORDS, DRAWS],
        {"predicted": PREDICTED},
        ["18 tokens", "Deleted, 12 of 18 deleted: “Give shape array", "4 of 18 to predict", "[MASK]"],
    ),
    "best_guesses": (
        [{"Sort the ____.": [("array", 0.41), (NASTY, 0.2)], "A $x_i$ ____": [("the", 0.1)]}, ["array", "order"]],
        {},
        ["Sort the ____. array 0.41", NASTY + " 0.20 (true: array)", "the 0.10 (true: order)"],
    ),
    "token_probabilities": ([WORDS, np.linspace(0, 1, 18)], {}, ["Give 0.000", "elements 0.941", ". 1.00"]),
    "token_noise of a word": ([["torch"], {"Draw 1": [None]}], {}, ["1 tokens", "1 of 1 deleted: “”"]),
    "curves": (
        [{NASTY: [CURVE, [(s, v + 0.1) for s, v in CURVE]], "A name that is long": CURVE}, "nDCG@10"],
        {"references": {"BM25": 0.51}},
        ["2 seeds", "0.250", "0.525", "0.510", NASTY],
    ),
    "curves by tokens": (
        [{"small": [(10**i, 9.0 - i) for i in range(1, 7)], NASTY: [(4e6, 6.3), (5e8, 2.3)]}, "Loss (nats)"],
        {"log_x": True, "xlabel": "Tokens read", "references": {"Unigram entropy": 6.5}},
        ["8.00 at 10", "2.30 at 5e+08", "6.50", NASTY],
    ),
    "training_curves": ([training_record()], {}, ["80 steps", "3.00", "0.400", "nDCG@10", "Spearman"]),
    "training_curves of seeds": (
        [[training_record(), training_record(shift=0.5)]],
        {},
        ["range of 2 seeds", "Loss (2 seeds) from 3.25", "0.400"],
    ),
    "batch_bars": (
        [{NASTY: np.array([0.5, 0.0, 0.25]), "left": np.zeros(3)}, [False, True, True], ("short", NASTY), "Gradient"],
        {},
        ["0.000 to 0.250 (1 of 2 are 0)", "left: short 0.000 to 0.000 (1 of 1 are 0)"],
    ),
    "learning_rates": (
        [{NASTY: STAIRS, "linear": 2e-5 * np.linspace(1, 0, 1200), "constant": np.full(1200, 5e-5)}],
        {},
        [
            "1e-5 from step 1, then 8e-6 from step 501, then 6e-6 from step 1001 to step 1200",
            "2e-5 at step 1",
            "0 at step 1200",
            "constant 5e-5",
            NASTY,
        ],
    ),
    "frontier": (
        [TIMES, "nDCG@10, summary → description"],
        {"references": {"Base encoder": 0.34, "BM25": 0.605}},
        ["0.420 after 118 s, 0.470 after 6.02 min, 0.480 after 30.2 min", "0.250 after 11.1 h", "BM25 at 0.605"],
    ),
    "frontier of a point": ([{"SimCSE": (47, 0.4)}, "nDCG@10"], {}, ["0.400 after 47 s"]),
    "alignment_uniformity": (
        [{"Base encoder": (0.41, -1.12), NASTY: [(0.41, -1.12), (0.35, -1.9), (0.33, -2.51)]}],
        {},
        ["0.41", "-1.12", "-2.51"],
    ),
    "alignment_uniformity by step": (
        [{NASTY: [(0.41, -1.12), (0.35, -1.9), (0.33, -2.51)]}],
        {"steps": [0, 50, 100]},
        ["Hollow: step 0", "Filled: step 100"],
    ),
    "comparison_bars": ([run_records()], {}, ["SimCSE", "all-MiniLM-L6-v2", "BM25", "not measured", "nDCG@10"]),
    "comparison_bars of a task": ([run_records(), ["see_also"]], {}, ["SimCSE", "See also, nDCG@10"]),
    "bootstrap_distribution": ([RESAMPLED, 0.04, 0.02, 0.06], {}, ["0.040", "excludes 0", "0.0%"]),
    "gains": (
        [GAINS, "source labels alone"],
        {},
        ["SimCSE (text first) +0.036", f"SimCSE ({NASTY}) -0.058", "+0.125", "0 is source labels alone"],
    ),
    "gains of one series": (
        [{"See also": {"SimCSE": {"seed 0": Difference(0.01, -0.02, 0.03, 0.4)}}}, "Base encoder"],
        {},
        ["See also: seed 0 +0.010"],
    ),
    "scatter": (
        [{NASTY: (np.linspace(0, 1, 50), np.linspace(0.5, 0.9, 50)), "A supervised encoder": ([0, 1], [-0.1, 1.0])}],
        {"xlabel": "Rating", "ylabel": "Cosine"},
        ["50 points, y from 0.500 to 0.900", "-0.100 to 1.00", NASTY],
    ),
    "systems": (
        [{NASTY: {"BM25": (0.2, 0.5), NASTY: (0.3, 0.25)}, "Halves": {"BM25": (0.25, 0.5), NASTY: (0.4, 0.25)}}],
        {"xlabel": "Without labels", "ylabel": "With labels"},
        ["BM25 (0.200, 0.500)", "Halves: BM25 (0.250, 0.500)"],
    ),
    "wins": (
        [{"Questions": ([1, 0, 0.5, 0], [0, 0, 0.5, 1]), NASTY: ([0.3, 0.3], [0.2, 0.1])}, "all-MiniLM-L6-v2", "BM25"],
        {},
        [
            "Questions: all-MiniLM-L6-v2 better 25%, equal 25%, both 0 25%, BM25 better 25%",
            f"{NASTY}: all-MiniLM-L6-v2 better 100%",
        ],
    ),
    "intervals": (
        [
            {
                "nDCG@10": {"TSDAE": (0.48, 0.45, 0.5), NASTY: (0.46, 0.43, 0.48)},
                "Difference": {"in pairs": (0.02, 0.01, 0.04)},
            }
        ],
        {"reference": {"Difference": {"no difference": 0}}},
        ["TSDAE 0.480 (0.450 to 0.500)", "in pairs 0.020 (0.010 to 0.040)", NASTY],
    ),
    "ranks": (
        [{"TSDAE": {"a": 0.5, "b": 0.2}, NASTY: {"a": 0.4, "b": 0.2}, "CT": {"a": 0.3, "b": 0.6}}],
        {"tasks": {"a": "Summary → description, ndcg@10", "b": NASTY}},
        ["nDCG@10: TSDAE 0.500", NASTY + " 0.400, CT 0.300", "CT 0.600"],
    ),
    "quality_by_cost": (
        [
            {
                "Minutes": {"TSDAE": (3.7, 0.47, 0.45, 0.48, True), NASTY: (4.0, 0.42, 0.41, 0.44, False)},
                NASTY: {"TSDAE": (8960, 0.47, 0.45, 0.48, True)},
            },
            {"BM25": 0.52, NASTY: 0.3},
        ],
        {"ylabel": "Mean of four tasks"},
        ["Minutes: TSDAE 3.7 for 0.470", "TSDAE 8,960", "BM25 at 0.520", NASTY],
    ),
    "pointer_map": (
        [TOKENS, ["find", "the", "<script>", "[SEP]"], np.full((4, 10), 0.02) + 0.7 * np.eye(4, 10)],
        {},
        ["“find” 0.90, most from “[CLS]”", "“<script>” 0.90, most from “##s”"],
    ),
    "nuclei": (
        [{"p = 0.95": DRAWN, NASTY: np.where(DRAWN > 0.1, DRAWN, 0)}, ["find", "$", "[SEP]"], [*WORDS, "##ation"]],
        {},
        ["3 steps", "p = 0.95: 19, 19, 19", NASTY + ": 1, 1, 1"],
    ),
    "judgement_bars": (
        [
            {
                "shipped": {"good": (0.15, 0.08, 0.26), "wrong": (0.4, 0.3, 0.5)},
                NASTY: {"good": (0.0, 0.0, 0.06), "wrong": (0.8, 0.7, 0.9)},
            }
        ],
        {"title": "Judged"},
        ["shipped, good 15% (8% to 26%)", NASTY + ", wrong 80% (70% to 90%)"],
    ),
    "memory_bars": ([MEMORY], {}, ["CT 938 MB", "TSDAE, with the logits of all words 1,970 MB", "logits 1,230", NASTY]),
    "pipeline": (
        [
            [
                ("Sentence", "$5 for a <b>"),
                ("Transformer", "six layers of attention"),
                (NASTY, "an_identifier_that_is_too_long_for_a_box"),
                *[("Cross-encoder", "")] * 4,
            ]
        ],
        {"title": "Idea"},
        ["Sentence ($5 for a <b>) → Transformer", "an_identifier"],
    ),
    "pipeline with counts": (
        [GPL],
        {"counts": [4000, "11,800 queries", "590,000 candidates", None]},
        ["→ 4,000 → Query generator (top-p) → 11,800 queries →", "(raw logits) → " + NASTY],
    ),
    "pair_grids": (
        [{"CT": np.diag([2, 1, 1]), "All pairs " + NASTY: np.ones((3, 3)) + np.eye(3)}],
        {},
        ["CT reads 3 of 9 pairs, 1 of them positives", NASTY + " reads 9 of 9 pairs, 3 of them positives"],
    ),
    "stages": (
        [
            {
                "text first": ["base encoder", NASTY, "source labels"],
                NASTY: ["base encoder", "a training with a long name"],
            }
        ],
        {},
        [f"text first: base encoder, then {NASTY}, then source labels", "then a training with a long name"],
    ),
    "loss_relations": (
        [],
        {},
        [
            "4 positives",
            "12 negatives",
            "SimCSE: rows are first dropout view",
            "rows only",
            "1 / 0.05 = 20",
            "CLIP: rows are images",
            "CT, in-batch negatives",
            "“Tower 2”",
        ],
    ),
}


def draw(name, **more):
    """A figure: its Picture, the matplotlib figure behind it, and the texts drawn in it."""
    positional, named, _ = FIGURES[name]
    figures, texts = [], {}
    save, draw_text = Figure.savefig, Text.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, *a, **k: figures.append(figure) or save(figure, *a, **k))
        patch.setattr(Text, "draw", lambda text, renderer: texts.update({text: None}) or draw_text(text, renderer))
        picture = getattr(plots, name.split()[0])(*positional, **{**named, **more})
    return picture, figures[0], [t for t in texts if t.get_visible() and t.get_text().strip()]


@pytest.fixture(scope="session")
def drawn():
    """{name of a figure: what `draw` gives}."""
    return {name: draw(name) for name in FIGURES}


@pytest.fixture(scope="session")
def examples():
    """What the figures are drawn of, and how."""
    return SimpleNamespace(**{k: v for k, v in globals().items() if not k.startswith("_")})


def pytest_generate_tests(metafunc):
    """A test that asks for `figure` runs for every figure."""
    if "figure" in metafunc.fixturenames:
        metafunc.parametrize("figure", FIGURES)
