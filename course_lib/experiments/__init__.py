"""Runs behind the comparison and behind domain adaptation: their table of stages, their records and their report."""

from course_lib.experiments.comparison import COMPARISON, compare
from course_lib.experiments.own_encoder import adapt
from course_lib.experiments.profiles import PROFILES, Profile, PseudoLabelling, Recipe, current_profile
from course_lib.experiments.records import RunRecord, load_shipped, measure, shipped_records
from course_lib.experiments.runs import Run, as_run, load_or_run
from course_lib.experiments.searches import best_trained, default_search, search_title, searcher, trained_searchers
from course_lib.experiments.stages import STAGES, load_cross_encoder, load_docs, load_generator
from course_lib.experiments.sweeps import SWEEPS, Sweep
