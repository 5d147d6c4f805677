"""Change the core in small ways and see whether the tests notice.

cosmic-ray makes the mutants. Of all places in the modules that tests/mutants.toml names a fixed
sample is taken, by seed; at each place one mutant, by the same seed. First the tests of each area
run unchanged, under coverage with a context for each test; a mutant then runs the tests of its area
that reach its line, from each file in turn and the fastest first, until one fails. Those that would
take longer than the limit stay out. A line that runs when its module is imported is tried by all
tests of the area: first by those that run what it decides, then by those that run anything else of
its module.

Which test reaches what is kept: only test files that have changed are measured again, all of them
when anything else has. The work tree is not touched: every worker has a copy of its own, and a test
database of its own. A mutant that tests/mutants.toml calls equivalent, with the reason, stays out.
Fails when fewer than the minimum are killed. A timeout counts as killed, and is told apart: the
limit is one of processor time, and of much more time on the clock, for machines that are busy.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from difflib import unified_diff
from multiprocessing import Queue, get_context
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code, use_mutation
from cosmic_ray.plugins import get_operator
from coverage import CoverageData
from lxml import etree

ROOT = Path(__file__).resolve().parent.parent
STATE = Path(os.environ.get("SCLOUD_STATE_DIR", ROOT / ".scloud")) / "mutants"
REPORT = Path(os.environ.get("SCLOUD_STATE_DIR", ROOT / ".scloud")) / "test-report/mutants.json"
DATABASE = os.environ.get("SCLOUD_TEST_DB", "test_scloud")
# Not copied, but linked: what is installed.
LINKED = (".venv", "node_modules", "static/vendor")
# What counts as killed.
NOTICED = ("killed", "timeout")
# How pytest says that it found no test.
NO_TESTS = 5

# Each replacement turns a rule round or moves a bound by one. Others that cosmic-ray knows (such as
# == by "is", + by <<) give mutants that are equal to the original or die of a TypeError. It knows
# none for "in"; AddNot turns conditions round that have it.
_COMPARISONS = """
    Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot IsNot_Is
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

    def test_files(self) -> list[str]:
        """The files of the tests, relative to the root."""
        found: set[str] = set()
        for name in self.tests:
            path = ROOT / name
            files = path.rglob("test_*.py") if path.is_dir() else [path]
            found |= {str(file.relative_to(ROOT)) for file in files}
        return sorted(found)

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
    # The test that failed, when one did.
    noticed_by: str = ""

    def __str__(self) -> str:
        words = (
            self.outcome or "-",
            f"{self.module}:{self.line}",
            self.operator.removeprefix("core/"),
        )
        return " ".join((*words, self.noticed_by)).rstrip()

    def changed_lines(self) -> tuple[str, str]:
        """What the diff takes away and what it puts there, without the space around."""
        lines = [line.rstrip() for line in self.diff.split("\n")[2:] if line[1:].strip()]
        return (
            "\n".join(line[1:].strip() for line in lines if line.startswith("-")),
            "\n".join(line[1:].strip() for line in lines if line.startswith("+")),
        )


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


def candidates(area: Area, only: str) -> Iterator[list[Mutant]]:
    """Yield the mutants of an area, those of one place together."""
    places: dict[tuple[Any, ...], list[Mutant]] = defaultdict(list)
    for path in area.files():
        if only not in str(path):
            continue
        text = (ROOT / path).read_text()
        source, nodes = Source(text), list(ast_nodes(get_ast(text)))
        for operator in sorted(OPERATORS):
            change = get_operator(operator)()
            positions = (position for node in nodes for position in change.mutation_positions(node))
            # The number is cosmic-ray's: it counts also what means nothing here.
            for occurrence, (begin, end) in enumerate(positions):
                if source.counts(operator, begin, end):
                    mutant = Mutant(area.name, str(path), begin[0], operator, occurrence)
                    places[str(path), begin, end].append(mutant)
    for place in sorted(places):
        yield sorted(places[place], key=lambda one: (one.operator, one.occurrence))


def choose(every: list[Area], sample: int, seed: int, only: str) -> tuple[list[Mutant], int]:
    """Return the sample, and of how many places it is."""
    places = [place for area in every for place in candidates(area, only)]
    dice = random.Random(seed)  # noqa: S311  # a sample, not a secret
    chosen = dice.sample(places, min(sample, len(places)))
    return [dice.choice(place) for place in chosen], len(places)


def equivalents() -> set[tuple[str, str, str]]:
    """Read from tests/mutants.toml which changes make no difference: module, before, after."""
    with (ROOT / "tests/mutants.toml").open("rb") as file:
        rows = tomllib.load(file).get("equivalent", [])
    for row in rows:
        if not row["reason"].strip() or row["before"] not in (ROOT / row["module"]).read_text():
            sys.exit(f"not an equivalent any more, or without a reason: {row}")
    return {(row["module"], row["before"], row["after"]) for row in rows}


def describe(mutant: Mutant) -> None:
    """Write down the diff of a mutant, and whether it is known to make no difference."""
    original = (ROOT / mutant.module).read_text()
    mutated = mutate_code(original, get_operator(mutant.operator)(), mutant.occurrence)
    if mutated is None:
        raise RuntimeError(f"cosmic-ray made nothing of {mutant}")
    lines = unified_diff(original.split("\n"), mutated.split("\n"), lineterm="", n=1)
    mutant.diff = "\n".join(lines)


def known_files() -> list[str]:
    """Return the names of all files that git knows of, or would add."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout
    found = (name for name in names.decode().split("\0") if name)
    return sorted(name for name in found if _is_plain(ROOT / name))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def copy_tree() -> Path:
    """Copy what git knows of, as it is now: what is measured and what the workers copy."""
    target = STATE / "tree-0"
    shutil.rmtree(target, ignore_errors=True)
    for name in known_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    for name in LINKED:
        if not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to(ROOT / name)
    return target


def pytest_command(*words: str) -> list[str]:
    """Return the command that runs tests of the tree that is the working directory."""
    marks = "not lab and not browser and not ceph and not install and not bench"
    # None of the tests needs schemathesis, and its import takes a second.
    plugins = ["-p", "no:cacheprovider", "-p", "no:schemathesis"]
    plain = ["-m", "pytest", "-q", *plugins, "-m", marks]
    return [str(ROOT / ".venv/bin/python"), *plain, *words]


def environment(tree: Path, number: int) -> dict[str, str]:
    """Return the environment of tests in a copy of the tree, with a database of its own."""
    found = {
        **os.environ,
        "SCLOUD_TEST_DB": f"{DATABASE}_mutants{number}",
        "SCLOUD_TEST_DB_KEEP": "1",
        "SCLOUD_STATE_DIR": str(tree / ".scloud"),
        # Bytecode is written by unchanged runs only; those of mutants read it.
        "PYTHONPYCACHEPREFIX": str(STATE / "bytecode"),
    }
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


@dataclass
class Reach:
    """Which tests of a file reach which lines, and how many seconds each test takes."""

    digest: str
    seconds: dict[str, float] = field(default_factory=dict)
    # By module and line, as a text because it is kept as JSON. Nothing: while it is imported.
    by_line: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    # Those that fail without any mutant.
    failed: list[str] = field(default_factory=list)

    def tests_for(self, mutant: Mutant, decided: set[int]) -> list[list[str]]:
        """The tests that may notice a mutant, in groups: the likeliest and the fastest first.

        ``decided`` are the lines on which it shows what a line decides that is run by an import.
        """
        lines = self.by_line.get(mutant.module, {})
        tests = set(lines.get(str(mutant.line), []))
        groups = [tests & self.seconds.keys()]
        if "" in tests:
            tests.update(*(lines.get(str(line), []) for line in decided))
            near = tests & self.seconds.keys()
            inside = self.seconds.keys() & {test for found in lines.values() for test in found}
            groups = [near, inside - near, self.seconds.keys() - inside - near]
        return [sorted(one, key=lambda test: (self.seconds[test], test)) for one in groups]


def decided_by(text: str, line: int) -> set[int]:
    """Return the lines on which it shows what a line decides that runs when it is imported.

    For the head of a function (defaults, decorators) those of its body, for a value that gets a
    name those that say the name.
    """
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first <= line < node.body[0].lineno:
                return set(range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1))
    names = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    said = (
        node
        for node in nodes
        if (isinstance(node, ast.Name) and node.id in names)
        or (isinstance(node, ast.Attribute) and node.attr in names)
    )
    return {node.lineno for node in said}


class Measured:
    """What is known of all test files; kept for the next run."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree
        self._path = STATE / "reach.json"
        self._digests: dict[str, str] = {}
        rest = hashlib.sha256()
        for name in known_files():
            digest = hashlib.sha256((tree / name).read_bytes()).hexdigest()
            if Path(name).name.startswith("test_"):
                self._digests[name] = digest
            elif name.endswith((".py", ".html")) and not name.startswith("scripts/"):
                rest.update(f"{name} {digest};".encode())
        kept: dict[str, Any] = {}
        if self._path.exists():
            kept = json.loads(self._path.read_text())
        self._rest = rest.hexdigest()
        self._files: dict[str, Reach] = {}
        if kept.get("rest") == self._rest:
            files = {name: Reach(**row) for name, row in kept["files"].items()}
            self._files = {
                name: one for name, one in files.items() if self._digests.get(name) == one.digest
            }

    def measure(self, area: Area) -> None:
        """Run those test files of an area unchanged, in a copy, of which nothing is known."""
        names = [name for name in area.test_files() if name not in self._files]
        if not names:
            return
        began = time.monotonic()
        found = _run_covered(self._tree, names)
        for name in names:
            self._files[name] = Reach(self._digests[name])
        for test, seconds in found.seconds.items():
            self._files[_file_of(test)].seconds[test] = seconds
        for module, lines in found.by_line.items():
            for line, tests in lines.items():
                for test in tests:
                    for name in names if test == "" else [_file_of(test)]:
                        reached = self._files[name].by_line.setdefault(module, {})
                        reached.setdefault(line, []).append(test)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # What failed is tried again by the next run.
        failed = {_file_of(test) for test in found.failed}
        rows = {name: asdict(one) for name, one in self._files.items() if name not in failed}
        self._path.write_text(json.dumps({"rest": self._rest, "files": rows}))
        took = time.monotonic() - began
        print(f"{area.name}: {len(found.seconds)} tests measured, {took:.0f} s", flush=True)

    def tests_for(self, area: Area, mutant: Mutant, limit_s: float) -> tuple[list[str], float]:
        """The tests that may notice a mutant, from each file in turn, and their seconds."""
        decided = decided_by((self._tree / mutant.module).read_text(), mutant.line)
        files = [self._files[name] for name in area.test_files()]
        found = [(one, one.tests_for(mutant, decided)) for one in files]
        chosen: list[str] = []
        total = 0.0
        for group in range(max((len(groups) for _one, groups in found), default=0)):
            queues = [
                [(one.seconds[test], test) for test in groups[group]]
                for one, groups in found
                if group < len(groups)
            ]
            for turn in range(max(map(len, queues), default=0)):
                for seconds, test in sorted(queue[turn] for queue in queues if turn < len(queue)):
                    if chosen and total + seconds > limit_s:
                        continue
                    chosen.append(test)
                    total += seconds
        return chosen, total


def _file_of(test: str) -> str:
    return test.split("::", 1)[0]


def function_of(nodeid: str) -> str:
    """Return a test without its parameters, whose texts are no good words of a command line."""
    return nodeid.split("[", 1)[0].split("|", 1)[0]


def _nodeid(classname: str, name: str) -> str:
    """Return a test as pytest names it, of what the report says: the class may be in the path."""
    parts = classname.split(".")
    for length in range(len(parts), 0, -1):
        file = Path(*parts[:length]).with_suffix(".py")
        if (ROOT / file).is_file():
            return function_of("::".join([str(file), *parts[length:], name]))
    raise RuntimeError(f"no file has {classname}")


def _run_covered(tree: Path, names: list[str]) -> Reach:
    """Run test files under coverage; those that fail unchanged are told and left out."""
    data_file, report = tree / ".scloud/coverage", tree / ".scloud/report.xml"
    sources = [f"--cov={top}" for top in ("billing", "compute", "network", "scloud")]
    options = [*sources, "--cov-context=test", "--cov-report=", f"--junitxml={report}"]
    began, used = time.monotonic(), _processor_s()
    done = subprocess.run(
        pytest_command(*options, *names),
        cwd=tree,
        env={**environment(tree, 0), "COVERAGE_FILE": str(data_file)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"the tests do not run without any mutant:\n{done.stdout}{done.stderr}")
    # On a busy machine the clock says more than a test takes.
    share = min(1.0, (_processor_s() - used) / (time.monotonic() - began))
    found = Reach("")
    failed = set()
    for case in etree.parse(report).getroot().iter("testcase"):
        test = _nodeid(str(case.get("classname")), str(case.get("name")))
        seconds = share * float(case.get("time", "0"))
        found.seconds[test] = found.seconds.get(test, 0.0) + seconds
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(test)
    for test in sorted(failed):
        print(f"fails without any mutant, and is left out: {test}", flush=True)
        del found.seconds[test]
    found.failed = sorted(failed)
    data = CoverageData(str(data_file))
    data.read()
    for measured in data.measured_files():
        lines = data.contexts_by_lineno(measured)
        found.by_line[str(Path(measured).relative_to(tree))] = {
            str(line): sorted({function_of(context) for context in contexts} - failed)
            for line, contexts in lines.items()
        }
    return found


def _processor_s() -> float:
    """Return the processor time of all processes that were waited for, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


_tree = Path()
_environment: dict[str, str] = {}


def start_worker(numbers: Queue[int]) -> None:
    """Make the copy of this worker, of the one that is measured."""
    global _tree, _environment  # the state of this process
    number = numbers.get()
    _tree = STATE / f"tree-{number}"
    shutil.rmtree(_tree, ignore_errors=True)
    shutil.copytree(
        STATE / "tree-0", _tree, symlinks=True, ignore=shutil.ignore_patterns(".scloud")
    )
    _environment = {**environment(_tree, number), "PYTHONDONTWRITEBYTECODE": "1"}
    # A command that runs nothing would kill every mutant.
    command = pytest_command("--collect-only", "tests/test_tables.py")
    subprocess.run(command, cwd=_tree, env=_environment, stdout=subprocess.DEVNULL, check=True)


def run_tests(tests: list[str], limit_s: float) -> tuple[str, str]:
    """Run tests until one fails; the outcome, and the test that failed."""
    processor_s = int(limit_s)
    process = subprocess.Popen(
        pytest_command("-x", "--tb=no", *tests),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s)),
        cwd=_tree,
        env=_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=5 * limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "timeout", ""
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return "timeout", ""
    if process.returncode == 0:
        return "survived", ""
    if process.returncode == NO_TESTS or "ERROR: not found" in said:
        # Not a mutant that was noticed: pytest did not find what it was told to run.
        raise RuntimeError(said)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    return "killed", failed.group(1) if failed else "nothing could be run"


def try_one(task: tuple[Mutant, list[str], float]) -> Mutant:
    """Make a mutant in this worker's copy, run its tests, and take it back."""
    mutant, tests, limit_s = task
    began = time.monotonic()
    operator = get_operator(mutant.operator)()
    with use_mutation(_tree / mutant.module, operator, mutant.occurrence):
        mutant.outcome, mutant.noticed_by = (
            run_tests(tests, limit_s) if tests else ("not reached", "")
        )
    mutant.seconds = round(time.monotonic() - began, 1)
    print(f"{mutant} ({len(tests)} tests, {mutant.seconds:.0f} s)", flush=True)
    if mutant.outcome not in NOTICED:
        print(mutant.diff, flush=True)
    return mutant


def summary(mutants: list[Mutant], minimum: float) -> int:
    """Print what was killed, by area; 1 when it is too little."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in mutants:
        counts[one.area][one.outcome] += 1
    columns = ("killed", "timeout", "survived", "not reached")
    print("\n" + " ".join(f"{name:>12}" for name in ("area", *columns)))
    for area, found in sorted(counts.items()):
        print(" ".join(f"{value:>12}" for value in (area, *(found[name] for name in columns))))
    killed = sum(one.outcome in NOTICED for one in mutants)
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
    parser.add_argument("--area", default="", help="only this area of tests/mutants.toml")
    parser.add_argument("--only", default="", help="part of a module's path")
    parser.add_argument(
        "--limit", type=float, default=60.0, help="seconds of tests for one mutant, unchanged"
    )
    parser.add_argument("--list", action="store_true", help="only tell which mutants")
    wanted = parser.parse_args()
    every = [one for one in areas() if wanted.area in ("", one.name)]
    if not every:
        sys.exit(f"tests/mutants.toml has no area {wanted.area}")
    mutants, places = choose(every, wanted.sample, wanted.seed, wanted.only)
    if not mutants:
        sys.exit(f"no module's path has {wanted.only} in it")
    print(f"{len(mutants)} mutants, at as many of {places} places; seed {wanted.seed}", flush=True)
    for mutant in mutants:
        describe(mutant)
    same = equivalents()
    left_out = [one for one in mutants if (one.module, *one.changed_lines()) in same]
    mutants = [one for one in mutants if one not in left_out]
    for one in left_out:
        print(f"equivalent, left out: {one}", flush=True)
    if wanted.list:
        print("\n".join(map(str, mutants)))
        return 0
    measured = Measured(copy_tree())
    context = get_context("spawn")
    numbers: Queue[int] = context.Queue()
    for number in range(1, wanted.workers + 1):
        numbers.put(number)
    with ProcessPoolExecutor(
        wanted.workers, mp_context=context, initializer=start_worker, initargs=(numbers,)
    ) as pool:
        tries = []
        for area in every:
            chosen = [one for one in mutants if one.area == area.name]
            if chosen:
                measured.measure(area)
            for mutant in sorted(chosen, key=lambda one: (one.module, one.line)):
                tests, seconds = measured.tests_for(area, mutant, wanted.limit)
                tries.append(pool.submit(try_one, (mutant, tests, 3 * seconds + 60)))
        done = [one.result() for one in tries]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([asdict(one) for one in done], indent=1))
    for tree in STATE.glob("tree-*"):
        shutil.rmtree(tree)
    return summary(done, wanted.minimum)


if __name__ == "__main__":
    sys.exit(main())
