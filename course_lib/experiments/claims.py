"""What the papers behind the methods claim, each claim as a comparison of two recorded runs."""

from dataclasses import dataclass

from course_lib.evaluation import Difference, verdict
from course_lib.experiments import published, report
from course_lib.experiments.records import STS, load_shipped

# tasks of published_results.csv, and its name of an untuned model
USEB, BEIR, BEIR_18 = "average of four USEB tasks", "average of six BEIR sets", "average of all 18 BEIR sets"
SEVEN, DEV, UNTUNED = "average of seven STS tasks", "STS-B dev", "bert-base-uncased, first and last layer"
RETRIEVAL = ("summary_to_description", "see_also", "questions")
Published = tuple[str, ...]  # method, setting and task in published_results.csv, and the model where several fit


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper: one way of training gives better vectors than another one.

    paper: "TSDAE" (Wang et al., 2021), "GPL" (Wang et al., 2022), "SimCSE" (Gao et al., 2021), "CT" (Carlsson et al.,
        2021), "BEIR" (Thakur et al., 2021), or "ST" for the documentation of Sentence Transformers.
    text: the sentence, in words of the course.
    better, worse: names of recorded runs, as in `RunRecord.method`; "" where the course has no such run.
    published: of `better` and of `worse`, as `published.value` takes them; () where the paper gives the number in a
        figure or in the text only.
    tasks: keys of `RunRecord.results` on which the two are compared.
    reason: why the claim cannot be tested here; "" where it can.
    """

    paper: str
    text: str
    better: str = ""
    worse: str = ""
    published: tuple[Published, ...] = ()
    tasks: tuple[str, ...] = RETRIEVAL
    reason: str = ""

    def published_values(self) -> list[float]:
        """The paper's numbers: of `better` and of `worse`, or none."""
        return [published.value(*key) for key in self.published]

    def differences(self, profile: str = "cpu") -> dict[str, Difference]:
        """{task: `better` minus `worse` with its interval}; empty where one of the two has no record.

        profile: of the records.
        """
        ours, theirs = (load_shipped(name, profile=profile) for name in (self.better, self.worse))
        found = {task: report.difference(ours, theirs, task) for task in self.tasks} if ours and theirs else {}
        return {task: difference for task, difference in found.items() if difference}

    def seeds(self, profile: str = "cpu") -> int:
        """How many seeds both runs have; those of a run that trains nothing do not count."""
        found = (load_shipped(name, profile=profile) for name in (self.better, self.worse))
        return min((len(records) for records in found if records and records[0].training), default=0)

    def verdict(self, differences: dict[str, Difference]) -> str:
        """One of "holds", "does not hold", "holds on some tasks", "cannot tell" and "cannot be tested".

        differences: those of the claim. It holds where an interval lies above 0 and none below; an interval that
            contains 0 decides nothing.
        """
        if not differences:
            return "cannot be tested"
        found = {verdict(difference) for difference in differences.values()}
        if {"better", "worse"} <= found:
            return "holds on some tasks"
        return "holds" if "better" in found else "does not hold" if "worse" in found else "cannot tell"


CLAIMS = (
    Claim(
        *("TSDAE", "On texts of a domain, TSDAE beats SimCSE.", "tsdae", "simcse"),
        tasks=(*RETRIEVAL, "across_libraries"),
    ),
    Claim(
        *("TSDAE", "On texts of a domain, TSDAE beats Contrastive Tension.", "tsdae", "ct"),
        tasks=(*RETRIEVAL, "across_libraries"),
    ),
    Claim(
        *("TSDAE", "On texts of a domain, TSDAE beats MLM.", "tsdae", "mlm"),
        tasks=(*RETRIEVAL, "across_libraries"),
    ),
    Claim(
        *("TSDAE", "On STS, SimCSE beats TSDAE, so STS says little about a domain.", "simcse", "tsdae"),
        tasks=(STS,),
    ),
    Claim(
        "TSDAE",
        "TSDAE reaches up to 93 % of what in-domain labels give.",
        reason="no run here was trained on labels of the domain it is measured on",
    ),
    Claim(
        *("TSDAE", "TSDAE before the labels helps.", "target-tsdae-source", "target-source"),
        (("TSDAE", "target texts, then NLI and STS-B", USEB), ("none", "NLI and STS-B, zero-shot", USEB)),
    ),
    Claim(
        *("TSDAE", "Before the labels, TSDAE helps more than MLM.", "target-tsdae-source", "target-mlm-source"),
        (
            ("TSDAE", "target texts, then NLI and STS-B", USEB),
            ("MLM", "target texts, then NLI and STS-B", USEB),
        ),
    ),
    Claim("TSDAE", "TSDAE belongs before the labels, not after.", "target-tsdae-source", "target-source-tsdae"),
    Claim(
        *("GPL", "BM25 beats an encoder with labels of another domain.", "target-bm25", "target-source"),
        (("BM25", "no training", BEIR), ("none", "MS MARCO, zero-shot", BEIR)),
    ),
    Claim(
        *("GPL", "GenQ improves such an encoder.", "target-source-genq", "target-source"),
        (("GenQ", "MS MARCO, then generated queries", BEIR), ("none", "MS MARCO, zero-shot", BEIR)),
    ),
    Claim(
        *("GPL", "GPL improves an encoder with labels of another domain.", "target-source-gpl", "target-source"),
        (("GPL", "MS MARCO, then generated queries", BEIR), ("none", "MS MARCO, zero-shot", BEIR)),
    ),
    Claim(
        *("GPL", "GPL beats GenQ.", "target-source-gpl", "target-source-genq"),
        (
            ("GPL", "MS MARCO, then generated queries", BEIR),
            ("GenQ", "MS MARCO, then generated queries", BEIR),
        ),
    ),
    Claim(
        *("GPL", "GPL beats BM25.", "target-source-gpl", "target-bm25"),
        (("GPL", "MS MARCO, then generated queries", BEIR), ("BM25", "no training", BEIR)),
    ),
    Claim(
        *("GPL", "TSDAE before GPL helps GPL.", "target-tsdae-source-gpl", "target-source-gpl"),
        (
            ("TSDAE+GPL", "target texts, MS MARCO, then generated queries", BEIR),
            ("GPL", "MS MARCO, then generated queries", BEIR),
        ),
    ),
    Claim(
        *("GPL", "MLM before the labels helps.", "target-mlm-source", "target-source"),
        (("MLM", "target texts, then MS MARCO", BEIR), ("none", "MS MARCO, zero-shot", BEIR)),
    ),
    Claim(
        *("GPL", "SimCSE and CT before the labels do not help."),
        published=(("SimCSE", "target texts, then MS MARCO", BEIR), ("none", "MS MARCO, zero-shot", BEIR)),
        reason="these two rows were not recorded",
    ),
    Claim(
        *("GPL", "With texts alone, pairing passages (here cropping, there ICT) beats TSDAE."),
        *("cropping", "tsdae", (("ICT", "target texts only", BEIR), ("TSDAE", "target texts only", BEIR))),
        tasks=(*RETRIEVAL, "across_libraries"),
    ),
    Claim(
        *("GPL", "With texts alone, an encoder stays below one with labels of another domain."),
        *("target-source", "target-cropping_long"),
        (("none", "MS MARCO, zero-shot", BEIR), ("ICT", "target texts only", BEIR)),
    ),
    Claim(
        *("SimCSE", "On sentence similarity, SimCSE beats the encoder that it starts from.", "simcse", "base"),
        (("SimCSE", "unsupervised", SEVEN), ("BERT", "no training", SEVEN, UNTUNED)),
        tasks=(STS,),
    ),
    Claim(
        *("SimCSE", "On sentence similarity, SimCSE beats whitening.", "simcse", "whitened"),
        (("SimCSE", "unsupervised", SEVEN), ("BERT-whitening", "unsupervised", SEVEN)),
        tasks=(STS,),
    ),
    Claim(
        *("SimCSE", "On sentence similarity, SimCSE beats Contrastive Tension.", "simcse", "ct"),
        (("SimCSE", "unsupervised", SEVEN), ("CT", "unsupervised", SEVEN)),
        tasks=(STS,),
    ),
    Claim(
        *("SimCSE", "One encoder beats two (two encoders: here CT with in-batch negatives).", "simcse", "ct_in_batch"),
        (("SimCSE", "ablation: one encoder", DEV), ("SimCSE", "ablation: two encoders", DEV)),
        tasks=(STS,),
    ),
    Claim(
        *("SimCSE", "Dropout makes the difference: 0.1 beats none.", "simcse", "simcse-dropout-0"),
        (("SimCSE", "ablation: dropout 0.1", DEV), ("SimCSE", "ablation: dropout 0", DEV)),
        tasks=(STS,),
    ),
    Claim(
        *("SimCSE", "Temperature 0.05 beats 1 (published: supervised SimCSE).", "simcse", "simcse-temperature-1"),
        (("SimCSE", "ablation: temperature 0.05", DEV), ("SimCSE", "ablation: temperature 1", DEV)),
        tasks=(STS,),
    ),
    Claim(
        *("SimCSE", "At [CLS], a layer that is used in training only helps."),
        published=(
            ("SimCSE", "ablation: pooling CLS, head in training only", DEV),
            ("SimCSE", "ablation: pooling CLS, no head", DEV),
        ),
        reason="no run here has that layer",
    ),
    Claim(
        *("CT", "On sentence similarity, CT beats the encoder that it starts from.", "ct", "base"),
        (("CT", "unsupervised", SEVEN), ("BERT", "no training", SEVEN, UNTUNED)),
        tasks=(STS,),
    ),
    Claim(
        *("ST", "On sentence similarity, CT with in-batch negatives beats CT.", "ct_in_batch", "ct"),
        (("CT in-batch", "unsupervised", "STS-B"), ("CT", "unsupervised", "STS-B", "")),
        tasks=(STS,),
    ),
    Claim(
        *("BEIR", "BM25 beats an encoder with labels of another domain.", "target-bm25", "target-source"),
        (("BM25", "no training", BEIR_18), ("none", "MS MARCO, zero-shot", BEIR_18)),
    ),
    Claim(
        *("BEIR", "BM25 re-ranked by a cross-encoder beats BM25."),
        published=(("BM25 and cross-encoder", "re-ranking", BEIR), ("BM25", "no training", BEIR)),
        reason="the re-ranked row was not recorded",
    ),
    Claim(
        *("BEIR", "Queries that are written for each document and indexed with it help BM25 (docT5query)."),
        published=(("docT5query", "document expansion", BEIR_18), ("BM25", "no training", BEIR_18)),
        reason="no row here adds queries to the index",
    ),
)
