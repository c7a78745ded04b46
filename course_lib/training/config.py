"""How to train: the settings of a run, checked where they are made."""

from dataclasses import dataclass

from course_lib.models.checks import check_choice, check_positive

SCHEDULES = ("linear", "cosine", "constant", "stepwise")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass
class TrainingConfig:
    """The settings of a training run; the defaults are those of Sentence Transformers' `fit` (AdamW, linear decay).

    steps: optimizer steps; None means `epochs` passes over the examples.
    epochs: passes over the examples where `steps` is None.
    batch_size: examples per batch and process.
    learning_rate: its peak.
    weight_decay: 0.01, not applied to biases and norms (as in BERT).
    warmup_ratio: share of the steps in which the learning rate rises to its peak.
    schedule: after the warm-up: "linear" or "cosine" to 0, "constant", or "stepwise" (Contrastive Tension's authors).
    max_gradient_norm: gradients are clipped to this total norm.
    gradient_accumulation_steps: batches per step in each process.
    gradient_cache: texts that the encoder reads at once, for an objective with in-batch negatives and a batch that does
        not fit into memory; a step then takes a third more time. None reads the whole batch at once.
    precision: "fp32", "bf16", "fp16" (CUDA only), or "auto": bf16 where the hardware multiplies it, else fp16 on
        CUDA, else fp32.
    seed: of everything random in the run.
    group_by_length: batches of texts of similar length, which saves most of the padding; False draws them at random.
        SimCSE gains by it on this corpus (0.03 nDCG@10, measured): in a random batch the length of a text is a clue to
        which text it is. Ranking on labelled pairs does not change.
    evaluate_every: steps between evaluations; 0 means at the start and at the end only.
    metric: which of the numbers that `evaluate` returns is maximised; None means the first.
    keep_best: end with the weights that scored best after the start, not with the last ones.
    checkpoint_every: steps between checkpoints; 0 means only when the run is interrupted.
    compile: whether to compile the objective with `torch.compile`: True, False, or "auto": on a GPU, for runs of 5,000
        steps and more, because compiling takes half a minute and more. On a CPU it is slower (measured).
    Raises ValueError for a setting out of range.
    """

    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 64
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    schedule: str = "linear"
    max_gradient_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    gradient_cache: int | None = None
    precision: str = "auto"
    seed: int = 0
    group_by_length: bool = True
    evaluate_every: int = 0
    metric: str | None = None
    keep_best: bool = False
    checkpoint_every: int = 0
    compile: bool | str = "auto"

    def __post_init__(self):
        positive = ("batch_size", "gradient_accumulation_steps", "epochs", "learning_rate", "max_gradient_norm")
        check_positive(**{name: getattr(self, name) for name in positive})
        if self.gradient_cache is not None:
            check_positive(gradient_cache=self.gradient_cache)
        whole = ("batch_size", "gradient_accumulation_steps", "seed", "evaluate_every", "checkpoint_every")
        for name in (*whole, *(["gradient_cache"] if self.gradient_cache is not None else [])):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a whole number")
        for name in ("weight_decay", "evaluate_every", "checkpoint_every"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1, or None for `epochs` passes")
        if not 0 <= self.warmup_ratio <= 1:
            raise ValueError(f"warmup_ratio is {self.warmup_ratio}; it is a share of the steps, between 0 and 1")
        check_choice(SCHEDULES, schedule=self.schedule)
        check_choice(PRECISIONS, precision=self.precision)
        check_choice((True, False, "auto"), compile=self.compile)
