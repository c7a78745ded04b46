"""The set-up files agree with one another, with the code and with what the README promises."""

import ast
import csv
import importlib.metadata as metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from course_lib.recipes.reading_path import READING_PATH, with_setup

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [r for extra in PROJECT["optional-dependencies"].values() for r in extra]
# imported by who needs them, with advice where they are missing
FOR_SOME = [r for extra in ("documents", "scale") for r in PROJECT["optional-dependencies"][extra]]
RANGES = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"] + EXTRAS)}
MAKEFILE = (ROOT / "Makefile").read_text()
README = (ROOT / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def pins(requirements):
    """{canonical name: exact version}; an error for a line that is not one plain `name==version`."""
    found = {}
    for requirement in map(Requirement, requirements):
        (pin,) = requirement.specifier
        assert pin.operator == "==" and "*" not in pin.version and not requirement.url, requirement
        assert canonicalize_name(requirement.name) not in found, f"{requirement.name} is there twice"
        found[canonicalize_name(requirement.name)] = pin.version
    return found


def lines(path):
    return [line for line in (ROOT / path).read_text().splitlines() if line and not line.startswith("#")]


def environment():
    """environment.yml as (its Python requirement, what pip installs)."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (python,) = (e for e in entries if isinstance(e, str) and e.startswith("python"))
    (pip,) = (e["pip"] for e in entries if isinstance(e, dict))
    return Requirement(python), pip


LOCK = pins(lines("requirements.lock"))


def test_ranges_lock_and_environment_agree():
    python, pip = environment()
    pinned = pins(line for line in pip if line != "-e .")
    assert pip[-1] == "-e ."
    assert set(pinned) == set(RANGES)
    assert {name: LOCK.get(name) for name in pinned} == pinned
    outside = [f"{r} but {LOCK[name]} is locked" for name, r in RANGES.items() if LOCK[name] not in r.specifier]
    assert outside == []
    unbounded = [str(r) for r in RANGES.values() if {s.operator for s in r.specifier} != {">=", "<"}]
    assert unbounded == []

    assert python.specifier == SpecifierSet(PROJECT["requires-python"])
    low, high = re.search(r"\((\d+, \d+)\) <= sys\.version_info\[:2\] <= \((\d+, \d+)\)", MAKEFILE).groups()
    accepted = [f"3.{minor}" for minor in range(8, 20) if low <= f"3, {minor:02d}" <= high]
    assert accepted == [f"3.{minor}" for minor in range(8, 20) if f"3.{minor}" in python.specifier]


@pytest.mark.parametrize("platform, system", [("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows")])
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_lock_is_complete(platform, system, version):
    """pip installs it with --no-deps: whatever a locked package requires must be locked too, in a fitting version."""
    machine = default_environment() | {
        "sys_platform": platform,
        "platform_system": system,
        "os_name": "nt" if platform == "win32" else "posix",
        "python_version": version,
        "python_full_version": f"{version}.9",
    }
    applies = {
        canonicalize_name(r.name): r.marker is None or r.marker.evaluate(machine)
        for r in map(Requirement, lines("requirements.lock"))
    }
    todo, seen, problems = [(name, "") for name in RANGES], set(), []
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in map(Requirement, requirements_of(name)):
            needed = canonicalize_name(requirement.name)
            if requirement.marker and not requirement.marker.evaluate(machine | {"extra": extra}):
                continue
            if not applies.get(needed) or LOCK[needed] not in requirement.specifier:
                problems.append(f"{name} needs {requirement}, locked is {LOCK.get(needed)}")
            todo += [(needed, e) for e in ("", *requirement.extras)]
    assert problems == []
    assert len(seen) > 100


def requirements_of(name):
    """What an installed package requires, but for torch's CUDA packages, which pip brings along with torch itself."""
    try:
        required = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # a package of another platform
        return []
    return [r for r in required if not (name == "torch" and re.match("nvidia|triton|cuda", r))]


def imported(source):
    """Top-level names that Python source imports, from anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def sources(folder):
    """(path, Python source) of a folder's modules and notebooks."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path, path.read_text(encoding="utf-8")
    for path in sorted(p for p in (ROOT / folder).rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts):
        cells = (c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
        yield path, "\n".join(TransformerManager().transform_cell(c) for c in cells)


@pytest.mark.parametrize(
    "folder, requirements",
    [
        ("course_lib", PROJECT["dependencies"] + FOR_SOME),
        ("notebooks", PROJECT["dependencies"]),
        ("tests", PROJECT["dependencies"] + EXTRAS),
    ],
)
def test_every_import_is_a_declared_dependency(folder, requirements):
    declared = {canonicalize_name(Requirement(r).name) for r in requirements}
    packages = metadata.packages_distributions()
    # google.colab is there on Colab alone; IPython comes with ipykernel
    known = {*sys.stdlib_module_names, "course_lib", "tests", "conftest", "google", "IPython"}
    undeclared = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path, source in sources(folder)
        for name in imported(source)
        if name not in known and not {canonicalize_name(d) for d in packages.get(name, [])} & declared
    }
    assert sorted(undeclared) == []


def test_readme_and_makefile_name_the_same_commands():
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(re.findall(r"`[^`]+`|^ {4}.*", README, re.MULTILINE))))
    assert named == TARGETS
    assert TARGETS >= {"course", "test", "lab", "notebooks", "base-encoder", "bench", "clean"}
    helped = run_make(ROOT).stdout
    assert set(re.findall(r"^make ([a-z-]+)", helped, re.MULTILINE)) == TARGETS


def test_readme_links_and_notebooks_exist():
    linked = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    sections = {
        re.sub(r"[^\w ]", "", title).lower().replace(" ", "-") for title in re.findall("^## (.+)", README, re.M)
    }
    missing = [link for link in linked if not (link[1:] in sections if link[0] == "#" else (ROOT / link).exists())]
    assert linked and missing == []
    assert set(READING_PATH) == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}


@pytest.mark.parametrize("name", READING_PATH)
def test_a_notebook_sets_itself_up_on_colab(name):
    """`make tables` writes the cell, with the repository's address from pyproject.toml."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    (setup,) = [cell for cell in notebook.cells if "setup" in cell.metadata.get("tags", [])]
    assert setup == notebook.cells[1] and PROJECT["urls"]["Repository"] in setup.source
    before = setup.source
    assert with_setup(notebook).cells[1].source == before


def test_the_address_of_the_repository_stands_in_one_place():
    address = PROJECT["urls"]["Repository"]
    assert f"{address.replace('https://github.com', 'https://colab.research.google.com/github')}/blob" in README
    files = [p for p in (ROOT / "course_lib").rglob("*") if p.suffix in (".py", ".toml", ".json")] + [ROOT / "Makefile"]
    assert [path for path in files if address in path.read_text(encoding="utf-8")] == []


def test_make_lab_asks_nothing_and_opens_the_first_notebook():
    folder = re.search(r'JUPYTER_CONFIG_PATH="\$\(CURDIR\)/(\S+)"', MAKEFILE)[1]
    settings = json.loads((ROOT / folder / "labconfig" / "default_setting_overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"] == {"fetchNews": "false", "checkForUpdates": False}
    opened = re.search(r"default_url=/lab/tree/(\S+)", MAKEFILE)[1]
    assert (ROOT / "notebooks" / opened).is_file()


def run_make(folder, *arguments):
    # without what an outer make hands down to the makes it starts
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, env=variables)


@pytest.fixture
def set_up_files(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("version", ["(3, 10, 4)", "(3, 14, 0)", "(2, 7, 18)"])
def test_an_unsupported_python_is_named_before_anything_is_made(set_up_files, version):
    other = set_up_files / "other-python"
    other.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = {version}; $2"\n')
    other.chmod(0o755)
    done = run_make(set_up_files, "course", f"PYTHON={other}")
    assert done.returncode != 0
    assert "Python 3.11, 3.12 or 3.13" in done.stderr and str(other) in done.stderr
    assert "make course PYTHON=" in done.stderr
    assert not (set_up_files / ".venv").exists()


def test_a_virtual_environment_of_another_folder_is_made_again(set_up_files):
    """Its scripts would run the course of the other folder."""
    python = set_up_files / "python"  # stops where it would make the environment or install into it
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] && echo "asked for $*" && exit 1\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (set_up_files / ".venv" / "bin").mkdir(parents=True)
    (set_up_files / ".venv" / "bin" / "python").symlink_to(python)
    (set_up_files / ".venv" / "ready").touch()
    configuration = set_up_files / ".venv" / "pyvenv.cfg"

    configuration.write_text(f"command = python3 -m venv {set_up_files.resolve()}/.venv\n")
    done = run_make(set_up_files, "setup", f"PYTHON={python}")
    assert done.returncode == 0 and "asked for" not in done.stdout
    configuration.write_text("command = python3 -m venv /elsewhere/.venv\n")
    done = run_make(set_up_files, "setup", f"PYTHON={python}")
    assert done.returncode != 0 and "asked for -m venv --clear .venv" in done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The course's wheel, unpacked. It is built from a copy, in which 16 bytes stand for the weights of each model."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")

    def copy_small(source, target):
        if source.endswith(".safetensors"):
            Path(target).write_bytes(bytes(16))
        else:
            shutil.copyfile(source, target)

    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, copy / name)
    for name in ("course_lib", "data"):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored, copy_function=copy_small)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(built), "."],
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(built / "site")
    return built / "site"


def run_installed(wheel, code, folder):
    """What the code prints, run far from the checkout with the unpacked wheel as the only course."""
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def visible_files(folder):
    files = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {p.as_posix() for p in files if p.parts[0] != "__pycache__" and not any(x.startswith(".") for x in p.parts)}


def test_a_wheel_carries_the_data(wheel, tmp_path):
    code = (
        "import course_lib, course_lib.storage as storage\n"
        "from course_lib.texts.python_docs import read_questions\n"
        "print(course_lib.__file__, storage.DATA, len(read_questions()), sep='\\n')\n"
    )
    package, data, questions = run_installed(wheel, code, tmp_path)
    assert Path(package).is_relative_to(wheel) and Path(data).is_relative_to(wheel)
    assert int(questions) == len((ROOT / "data" / "questions.jsonl").read_text(encoding="utf-8").splitlines())
    assert (Path(data) / "base-encoder" / "config.json").is_file()
    assert list((Path(data) / "recorded-runs").glob("cpu-simcse-*.json"))
    assert visible_files(Path(data)) == visible_files(ROOT / "data")


def test_a_wheel_carries_every_module_and_table(wheel):
    def modules(folder):
        return {p.relative_to(folder).as_posix() for kind in ("*.py", "*.toml") for p in folder.rglob(kind)}

    assert modules(wheel / "course_lib") == modules(ROOT / "course_lib")
    assert {p.name for p in wheel.iterdir() if p.suffix != ".dist-info"} == {"course_lib"}  # no package called "data"


def test_an_install_without_data_says_what_to_do(wheel, tmp_path):
    shutil.copytree(wheel / "course_lib", tmp_path / "course_lib", ignore=shutil.ignore_patterns("data"))
    code = (
        "from course_lib.texts import python_docs\n"
        "try:\n    python_docs.load(progress=False)\n"
        "except FileNotFoundError as error:\n    print(error)\n"
    )
    (message,) = run_installed(tmp_path, code, tmp_path)
    assert "questions.jsonl" in message and "does not exist" in message and "pip install" in message


def test_ci_runs_make_test_in_the_root_of_the_repository(tmp_path):
    for name in ("make", "chromium", "chromedriver"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$(basename "$0") $* in $PWD"\n')
        (tmp_path / name).chmod(0o755)
    variables = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CI": "true"}
    done = subprocess.run([ROOT / ".ci" / "run"], cwd=tmp_path, capture_output=True, text=True, env=variables)
    assert (done.returncode, done.stdout) == (0, f"make test in {ROOT}\n")


def test_everything_in_data_is_described():
    described = (ROOT / "data" / "README.md").read_text()
    shipped = {path.name for path in (ROOT / "data").iterdir()} - {"README.md"}
    assert {"base-encoder", "questions.jsonl", "published_results.csv"} <= shipped
    headings = set(re.findall(r"^## (\S+?)/?$", described, re.MULTILINE))
    assert headings == shipped
    for section in re.split(r"^## ", described, flags=re.MULTILINE)[1:]:
        assert all(f"- {part}:" in section for part in ("Source", "Licence", "Recipe")), section


def published_results():
    with open(ROOT / "data" / "published_results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_published_number_has_a_source():
    rows = published_results()
    assert list(rows[0]) == ["method", "model", "setting", "task", "metric", "value", "source", "note"]
    for row in rows:
        assert all(row[c] for c in ("method", "setting", "task", "metric", "source")), row
        assert 0 <= float(row["value"]) <= 100, row
    keys = [tuple(row[c] for c in ("method", "model", "setting", "task", "metric", "source")) for row in rows]
    assert len(set(keys)) == len(keys) == len(rows) > 250


AVERAGES = {
    "average of seven STS tasks": {"STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R"},
    "average of four USEB tasks": {"AskUbuntu", "CQADupStack", "Twitter", "SciDocs"},
    "average of six BEIR sets": {"FiQA", "SciFact", "BioASQ", "TREC-COVID", "CQADupStack", "Robust04"},
}


def test_published_averages_are_those_of_their_rows():
    """A slip in copying a table shows in its average. Papers average before they round, hence the 0.06."""
    tables = defaultdict(dict)
    for row in published_results():
        tables[tuple(row[c] for c in ("method", "model", "setting", "source"))][row["task"]] = float(row["value"])
    checked = [
        (key, tables[key][average], sum(table[t] for t in tasks) / len(tasks))
        for key, table in tables.items()
        for average, tasks in AVERAGES.items()
        if average in table and tasks <= set(table)
    ]
    assert [check for check in checked if abs(check[1] - check[2]) > 0.06] == []
    assert len(checked) == 30
