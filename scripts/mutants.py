"""Change the core in small ways and see whether the tests notice.

cosmic-ray makes the mutants. Of all places in the modules that tests/mutants.toml names a fixed
sample is taken, by seed; at each place one mutant, by the same seed. First the tests of each area
run unchanged, under coverage with a context for each test; a mutant then runs the tests of its area
that reach its line, the fastest first, and ends at the first failure. A line that runs when its
module is imported is tried by all tests of the area.

The work tree is not touched: every worker has a copy of its own, and a test database of its own.
Fails when fewer than the minimum are killed. A timeout counts as killed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from difflib import unified_diff
from multiprocessing import Queue, get_context
from pathlib import Path
from typing import Any

from cosmic_ray.commands import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from coverage import CoverageData
from lxml import etree

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("SCLOUD_STATE_DIR", ROOT / ".scloud")) / "mutants"
REPORT = Path(os.environ.get("SCLOUD_STATE_DIR", ROOT / ".scloud")) / "test-report/mutants.json"
# Not copied, but linked: what is installed.
LINKED = (".venv", "node_modules", "static/vendor")
# How pytest says that it found no test.
NO_TESTS = 5

# Each replacement turns a rule round or moves a bound by one. Others that cosmic-ray knows (such as
# == by "is", + by <<) give mutants that are equal to the original or die of a TypeError.
_COMPARISONS = """
    Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt
    In_NotIn NotIn_In Is_IsNot IsNot_Is
"""
_BINARY = "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Sub BitOr_BitAnd BitAnd_BitOr"
_UNARY = "USub_UAdd Delete_USub Delete_Not"
OPERATORS = {
    "core/AddNot",
    "core/ExceptionReplacer",
    "core/NumberReplacer",
    "core/ReplaceAndWithOr",
    "core/ReplaceBreakWithContinue",
    "core/ReplaceContinueWithBreak",
    "core/ReplaceFalseWithTrue",
    "core/ReplaceOrWithAnd",
    "core/ReplaceTrueWithFalse",
    "core/ZeroIterationForLoop",
    *(f"core/ReplaceComparisonOperator_{name}" for name in _COMPARISONS.split()),
    *(f"core/ReplaceBinaryOperator_{name}" for name in _BINARY.split()),
    *(f"core/ReplaceUnaryOperator_{name}" for name in _UNARY.split()),
}


@dataclass(frozen=True)
class Area:
    """Modules, as globs, and the tests that concern them."""

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]

    def files(self) -> list[Path]:
        """The modules, relative to the root. A glob that finds nothing is a mistake."""
        found: set[Path] = set()
        for glob in self.modules:
            paths = {path.relative_to(ROOT) for path in ROOT.glob(glob) if path.suffix == ".py"}
            if not paths:
                sys.exit(f"{self.name}: no module is named {glob}")
            found |= paths
        return sorted(path for path in found if path.name != "__init__.py" or _has_code(path))


def _has_code(path: Path) -> bool:
    return len((ROOT / path).read_text().strip().splitlines()) > 5


def areas() -> list[Area]:
    """Read tests/mutants.toml."""
    with (ROOT / "tests/mutants.toml").open("rb") as file:
        rows = tomllib.load(file)["area"]
    found = [Area(row["name"], tuple(row["modules"]), tuple(row["tests"])) for row in rows]
    for area in found:
        for test in area.tests:
            if not (ROOT / test).exists():
                sys.exit(f"{area.name}: there is no {test}")
    return found


@dataclass
class Mutant:
    """One change of one line, and what became of it."""

    area: str
    module: str
    line: int
    operator: str
    occurrence: int
    outcome: str = ""
    seconds: float = 0.0
    diff: str = ""

    def __str__(self) -> str:
        return f"{self.outcome:8} {self.module}:{self.line} {self.operator.removeprefix('core/')}"


Position = tuple[int, int]


# Calls of which nothing depends: logs, and the frozen of dataclasses. Nor do annotations, and the
# strict of zip, which is an assertion.
_SILENT = re.compile(r"(log(ger)?\.\w+|dataclass)$")


class Source:
    """Where in a module a change means something."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._silent: list[tuple[Position, Position]] = []
        self._sums: list[tuple[Position, Position]] = []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._add(self._silent, node.returns)
            elif isinstance(node, ast.arg | ast.AnnAssign):
                self._add(self._silent, node.annotation)
            elif isinstance(node, ast.Call) and _SILENT.match(ast.unparse(node.func)):
                self._add(self._silent, node)
            elif isinstance(node, ast.keyword) and node.arg == "strict":
                self._add(self._silent, node.value)
            elif isinstance(node, ast.BinOp | ast.AugAssign):
                self._add(self._sums, node)

    def _add(
        self, spans: list[tuple[Position, Position]], node: ast.expr | ast.stmt | None
    ) -> None:
        if node is None or node.end_lineno is None or node.end_col_offset is None:
            return
        spans.append(
            (
                (node.lineno, self._column(node.lineno, node.col_offset)),
                (node.end_lineno, self._column(node.end_lineno, node.end_col_offset)),
            )
        )

    def _column(self, line: int, offset: int) -> int:
        """ast counts bytes, cosmic-ray characters."""
        return len(self._lines[line - 1].encode()[:offset].decode())

    def counts(self, operator: str, begin: Position, end: Position) -> bool:
        """Whether a change there can be noticed.

        The star of keyword-only parameters is no product, though cosmic-ray takes it for one.
        """
        if any(first <= begin and end <= last for first, last in self._silent):
            return False
        if "BinaryOperator" not in operator:
            return True
        return any(first <= begin and end <= last for first, last in self._sums)


def candidates(area: Area) -> Iterator[list[Mutant]]:
    """Yield the mutants of an area, those of one place together."""
    database = WorkDB(":memory:", WorkDB.Mode.create)
    files = area.files()
    init([ROOT / path for path in files], database, {})
    sources = {path: Source((ROOT / path).read_text()) for path in files}
    places: dict[tuple[Any, ...], list[Mutant]] = defaultdict(list)
    for item in database.work_items:
        (mutation,) = item.mutations
        path = mutation.module_path.relative_to(ROOT)
        begin, end = tuple(mutation.start_pos), tuple(mutation.end_pos)
        if mutation.operator_name not in OPERATORS:
            continue
        if not sources[path].counts(mutation.operator_name, begin, end):
            continue
        place = (str(path), begin, end)
        places[place].append(
            Mutant(
                area=area.name,
                module=str(path),
                line=begin[0],
                operator=mutation.operator_name,
                occurrence=mutation.occurrence,
            )
        )
    database.close()
    for place in sorted(places):
        yield sorted(places[place], key=lambda one: (one.operator, one.occurrence))


def choose(every: list[Area], sample: int, seed: int, only: str) -> tuple[list[Mutant], int]:
    """Return the sample, and of how many places it is."""
    places = [place for area in every for place in candidates(area) if only in place[0].module]
    dice = random.Random(seed)  # noqa: S311  # a sample, not a secret
    chosen = dice.sample(places, min(sample, len(places)))
    return [dice.choice(place) for place in chosen], len(places)


def copy_tree(number: int) -> Path:
    """Make the copy of a worker: what git knows of, as it is now."""
    target = STATE / f"tree-{number}"
    shutil.rmtree(target, ignore_errors=True)
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout
    for name in names.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file() and not source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    for name in LINKED:
        if not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to(ROOT / name)
    return target


def pytest_command(*words: str) -> list[str]:
    """Return the command that runs tests of the tree that is the working directory."""
    marks = "not lab and not browser and not install and not bench"
    plain = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks]
    return [str(ROOT / ".venv/bin/python"), *plain, *words]


def enter_copy(number: int) -> Path:
    """Make a copy of the tree and work there, on a database of its own."""
    tree = copy_tree(number)
    os.chdir(tree)
    name = os.environ.get("SCLOUD_TEST_DB", "test_scloud")
    os.environ["SCLOUD_TEST_DB"] = f"{name}_mutants{number}"
    os.environ["SCLOUD_STATE_DIR"] = str(tree / ".scloud")
    # Bytecode is written by unchanged runs only; those of mutants read it.
    os.environ["PYTHONPYCACHEPREFIX"] = str(tree / ".scloud/bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return tree


@dataclass
class Reach:
    """Which tests of an area reach which lines, and how many seconds each test takes."""

    seconds: dict[str, float]
    by_line: dict[str, dict[int, set[str]]]

    def tests_for(self, mutant: Mutant) -> list[str]:
        """The tests that may notice a mutant, the fastest first; none if no test reaches it."""
        contexts = self.by_line.get(mutant.module, {}).get(mutant.line, set())
        tests = set(self.seconds) if "" in contexts else contexts
        return sorted(tests, key=lambda test: (self.seconds.get(test, 0.0), test))


def function_of(nodeid: str) -> str:
    """Return a test without its parameters, whose texts are no good words of a command line."""
    return nodeid.split("[", 1)[0].split("|", 1)[0]


def measure(area: Area) -> Reach:
    """Run the tests of an area unchanged, in a copy of the tree."""
    tree = Path.cwd()
    began = time.monotonic()
    data_file, report = tree / ".scloud/coverage", tree / ".scloud/report.xml"
    sources = [f"--cov={top}" for top in sorted({path.parts[0] for path in area.files()})]
    done = subprocess.run(
        pytest_command(
            *sources, "--cov-context=test", "--cov-report=", f"--junitxml={report}", *area.tests
        ),
        env={**os.environ, "COVERAGE_FILE": str(data_file)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"the tests of {area.name} fail without any mutant:\n{done.stdout}{done.stderr}")
    seconds: dict[str, float] = defaultdict(float)
    for case in etree.parse(report).getroot().iter("testcase"):
        place = str(case.get("classname")).replace(".", "/")
        test = function_of(f"{place}.py::{case.get('name')}")
        seconds[test] += float(case.get("time", "0"))
    data = CoverageData(str(data_file))
    data.read()
    by_line: dict[str, dict[int, set[str]]] = {}
    for path in area.files():
        lines = data.contexts_by_lineno(str(tree / path))
        by_line[str(path)] = {
            line: {function_of(context) for context in contexts} for line, contexts in lines.items()
        }
    print(f"{area.name}: {len(seconds)} tests, {time.monotonic() - began:.0f} s", flush=True)
    return Reach(dict(seconds), by_line)


def start_worker(numbers: Queue[int], tests: list[str]) -> None:
    """Enter a copy of the tree, and compile there what tests import."""
    enter_copy(numbers.get())
    subprocess.run(
        pytest_command("--collect-only", "-q", *tests), stdout=subprocess.DEVNULL, check=True
    )
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def run_tests(tests: list[str], limit_s: float) -> tuple[str, str]:
    """Run tests until one fails; the outcome and what pytest said."""
    process = subprocess.Popen(
        pytest_command("-x", *tests),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "killed", "timeout"
    if process.returncode == 0:
        return "survived", said
    if process.returncode == NO_TESTS or "ERROR: not found" in said:
        # Not a mutant that was noticed: pytest did not find what it was told to run.
        raise RuntimeError(said)
    return "killed", said


def try_one(task: tuple[Mutant, list[str], float]) -> Mutant:
    """Make a mutant in this worker's copy, run its tests, and take it back."""
    mutant, tests, limit_s = task
    began = time.monotonic()
    path = Path(mutant.module)
    operator = get_operator(mutant.operator)()
    with use_mutation(path, operator, mutant.occurrence) as (original, mutated):
        if mutated is None:
            raise RuntimeError(f"cosmic-ray made nothing of {mutant}")
        mutant.diff = "\n".join(
            unified_diff(original.split("\n"), mutated.split("\n"), lineterm="", n=1)
        )
        mutant.outcome, _said = run_tests(tests, limit_s) if tests else ("not reached", "")
    mutant.seconds = round(time.monotonic() - began, 1)
    print(mutant, flush=True)
    if mutant.outcome != "killed":
        print(mutant.diff, flush=True)
    return mutant


def summary(mutants: list[Mutant], minimum: float) -> int:
    """Print what was killed, by area; 1 when it is too little."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in mutants:
        counts[one.area][one.outcome == "killed"] += 1
    print(f"\n{'area':20} {'killed':>6} {'survived':>8}")
    for area, (survived, killed) in sorted(counts.items()):
        print(f"{area:20} {killed:6} {survived:8}")
    killed = sum(one for _, one in counts.values())
    share = 100 * killed / len(mutants)
    print(f"{killed} of {len(mutants)} killed: {share:.1f} % (at least {minimum:g} % must be)")
    return int(share < minimum)


def main() -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=200, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minimum", type=float, default=85.0, help="percent that must be killed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="part of a module's path")
    parser.add_argument("--list", action="store_true", help="only tell which mutants")
    wanted = parser.parse_args()
    every = areas()
    mutants, places = choose(every, wanted.sample, wanted.seed, wanted.only)
    if not mutants:
        sys.exit(f"no module's path has {wanted.only} in it")
    print(f"{len(mutants)} mutants, at as many of {places} places; seed {wanted.seed}", flush=True)
    if wanted.list:
        print("\n".join(map(str, mutants)))
        return 0
    used = [area for area in every if any(one.area == area.name for one in mutants)]
    before = dict(os.environ)
    enter_copy(0)
    reach = {area.name: measure(area) for area in used}
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(before)
    tasks = []
    for mutant in sorted(mutants, key=lambda one: (one.module, one.line)):
        tests = reach[mutant.area].tests_for(mutant)
        seconds = sum(reach[mutant.area].seconds.get(test, 0.0) for test in tests)
        tasks.append((mutant, tests, 3 * seconds + 60))
    context = get_context("spawn")
    numbers: Queue[int] = context.Queue()
    for number in range(wanted.workers):
        numbers.put(number)
    with ProcessPoolExecutor(
        wanted.workers,
        mp_context=context,
        initializer=start_worker,
        initargs=(numbers, sorted({test for area in used for test in area.tests})),
    ) as pool:
        done = list(pool.map(try_one, tasks))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([asdict(one) for one in done], indent=1))
    shutil.rmtree(STATE, ignore_errors=True)
    return summary(done, wanted.minimum)


if __name__ == "__main__":
    sys.exit(main())
