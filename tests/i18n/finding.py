"""Finds texts for people that do not go through gettext, in Python, templates and scripts.

In Python a text is a string that reads like one: it begins with a capital letter and has several
words, or it is what an error, a label or a message is made of. Docstrings, log lines, defects
(``AssertionError`` and the like) and what only operators or programs read are none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRANSLATES = {
    "_",
    "_now",
    "gettext",
    "gettext_lazy",
    "gettext_noop",
    "ngettext",
    "ngettext_lazy",
    "pgettext",
    "pgettext_lazy",
    "npgettext",
}
# Raised at defects, or read by programmers, operators and logs only.
NOT_FOR_PEOPLE = {
    "AssertionError",
    "ValueError",
    "TypeError",
    "KeyError",
    "RuntimeError",
    "ScopeError",
    "NotImplementedError",
    "TimeoutError",
    "ConnectionResetError",
    "CommandError",
    "ImproperlyConfigured",
    "LabError",
    "OpenApiParameter",
    "OpenApiResponse",
    "OpenApiExample",
    # The document of the API, too; dialogs and batches have texts of their own.
    "Route",
    "Quote",
    "extend_schema",
    "extend_schema_view",
    "extend_schema_serializer",
    "extend_schema_field",
    "RunSQL",
    "execute",
    "compile",
    "add_argument",
    "drift",
    "note_repair",
    "_drift",
}
LOGS = {"debug", "info", "warning", "error", "exception", "critical", "log", "say", "write"}
# Errors of drivers: what they say is for operators.
DRIVER_ERRORS = re.compile(
    r"^(Hypervisor|Storage|Fabric|Domain\w+|Host(Unreachable|Full)|Operation\w+|StartUnfinished"
    r"|Agent\w+|Guest\w+|Refused|ShrinkRefused|Volume\w+|Snapshot(Missing)|Image(Missing|Busy"
    r"|Refused)|Foreign\w+|Sandbox\w+|Helper\w+|ProtocolError|WrongPassword|BadNews|Unreachable"
    r"|Unknown(Payment|Provider))(Error)?$"
)
# Arguments that only operators and programs read.
SILENT_ARGUMENTS = {
    "detail",
    "code",
    "key",
    "name",
    "kind",
    "verb",
    "note",
    "reason_code",
    # Why a verb is not offered in a place: for programmers.
    "elsewhere",
    "silent",
}
# The errors that people and programs are answered; their first argument and remedy are texts.
ERRORS = {
    "ScloudError",
    "InvalidInput",
    "TooLarge",
    "Unauthenticated",
    "LengthRequired",
    "InsufficientBalance",
    "Forbidden",
    "NotFound",
    "Conflict",
    "QuotaExceeded",
    "NoCapacity",
    "StaleQuote",
    "TooManyRequests",
    "HostError",
    "Unavailable",
    "InternalError",
    "ValidationError",
    "RemedyError",
    "AuthenticationFailed",
    "PermissionDenied",
    "ScreenUnavailable",
}
TEXT_ARGUMENTS = {
    "label",
    "help_text",
    "remedy",
    "verbose_name",
    "verbose_name_plural",
    "title",
    "text",
    "description",
    "confirm",
    "message",
    "placeholder",
    "short_description",
}
# Which of their arguments is a label.
LABELLED = {"Step": 1, "Button": 1, "Column": 1, "Filter": 1, "QuoteItem": 2}
SENTENCE = re.compile(r"^[A-Z][a-z]*[,:]? \S*[a-z]")
WORD = re.compile(r"[A-Za-z]{2,}")


@dataclass(frozen=True)
class Found:
    """One text that is not translated."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _literal(node: ast.expr) -> str | None:
    """The words of a string, or of the fixed parts of an f-string; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return None


class _Finder(ast.NodeVisitor):
    def __init__(self, path: str, *, api: bool) -> None:
        self.path = path
        self.api = api
        self.found: list[Found] = []
        self.translates = set(TRANSLATES)

    def tell(self, node: ast.expr, text: str) -> None:
        self.found.append(Found(self.path, node.lineno, text[:100]))

    def need(self, node: ast.expr) -> None:
        """Look at an expression that people read, whatever it looks like."""
        if isinstance(node, ast.IfExp):
            self.need(node.body)
            self.need(node.orelse)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                self.need(value)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
            self.need(node.left)
            if isinstance(node.op, ast.Add):
                self.need(node.right)
            else:
                self.visit(node.right)
        elif (text := _literal(node)) is not None:
            if WORD.search(text.replace("{}", "")):
                self.tell(node, text)
            elif isinstance(node, ast.JoinedStr):
                self.generic_visit(node)
        else:
            self.visit(node)

    # -- what is looked at

    def visit_Call(self, node: ast.Call) -> None:
        name = _called(node)
        if name in self.translates:
            for argument in node.args:
                if isinstance(argument, ast.JoinedStr):
                    self.tell(argument, f"f-string in gettext: {_literal(argument)}")
            return
        of_logger = isinstance(node.func, ast.Attribute) and name in LOGS
        if name in NOT_FOR_PEOPLE or of_logger or DRIVER_ERRORS.match(name):
            return
        for position, argument in enumerate(node.args):
            if (name in ERRORS and position == 0) or LABELLED.get(name) == position:
                self.need(argument)
            else:
                self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg in SILENT_ARGUMENTS:
                continue
            if self.api and keyword.arg in ("help_text", "description", "summary", "label"):
                continue
            if keyword.arg in TEXT_ARGUMENTS:
                self.need(keyword.value)
            else:
                self.visit(keyword.value)
        self.visit(node.func)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and SENTENCE.match(node.value):
            self.tell(node, node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        text = _literal(node) or ""
        words = text.replace("{}", " ")
        if SENTENCE.match(text) or (text.startswith("{}") and len(WORD.findall(words)) > 2):
            self.tell(node, text)
            return
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Another name for gettext, what is for operators, or something to look at."""
        names = {one.id for one in node.targets if isinstance(one, ast.Name)}
        if names == {"FOR_OPERATORS"}:
            return
        if isinstance(node.value, ast.Name) and node.value.id in TRANSLATES:
            self.translates |= names
        self.generic_visit(node)

    # -- what is none

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        if node.exc is not None:
            self.visit(node.exc)

    def visit_Assert(self, node: ast.Assert) -> None:
        """A defect."""


def in_python(source: str, path: str) -> list[Found]:
    """Return the texts of a module that are not translated."""
    documented = ("/api", "/rest/", "serializers", "/verbs/inputs.py")
    finder = _Finder(path, api=any(part in path for part in documented))
    finder.visit(ast.parse(source))
    return finder.found


# -- templates -----------------------------------------------------------------------------------

_BLOCKS = re.compile(
    r"{%\s*blocktrans(?:late)?\b.*?{%\s*endblocktrans(?:late)?\s*%}"
    r"|{%\s*comment\b.*?{%\s*endcomment\s*%}|{#.*?#}|<!--.*?-->"
    r"|<(script|style|svg|code|pre)\b.*?</\1>",
    re.DOTALL,
)
_TAGS = re.compile(r"{%.*?%}|{{.*?}}", re.DOTALL)
_ATTRIBUTES = re.compile(
    r"\b(?:title|aria-label|placeholder|alt|data-confirm|data-label)=\"([^\"]*)\"", re.DOTALL
)
_ELEMENTS = re.compile(r"<[^>]*>", re.DOTALL)
_INCLUDED = re.compile(r"\b(?:title|text|label|hint|empty|confirm)=\"([^\"]*)\"")


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match.group())


def in_template(source: str, path: str) -> list[Found]:
    """Return the static texts of a template outside of translate tags."""
    found = []
    text = _BLOCKS.sub(_blank, source)
    for tag in re.finditer(r"{%\s*(?:include|component|with)\b.*?%}", text, re.DOTALL):
        for argument in _INCLUDED.finditer(tag.group()):
            if WORD.search(argument.group(1)):
                line = text.count("\n", 0, tag.start() + argument.start()) + 1
                found.append(Found(path, line, argument.group(1)))
    text = _TAGS.sub(_blank, text)
    for attribute in _ATTRIBUTES.finditer(text):
        if WORD.search(attribute.group(1)):
            line = text.count("\n", 0, attribute.start()) + 1
            found.append(Found(path, line, attribute.group(1).strip()))
    text = _ELEMENTS.sub(_blank, text)
    for number, line_text in enumerate(text.splitlines(), 1):
        bare = re.sub(r"&\w+;", " ", line_text)
        if WORD.search(bare):
            found.append(Found(path, number, line_text.strip()))
    return found


# -- scripts of the pages ------------------------------------------------------------------------

_JS_TEXT = re.compile(r"[\"'`]([A-Z][a-z]+(?: [^\"'`\n]*[a-z.])?)[\"'`]")


def in_script(source: str, path: str) -> list[Found]:
    """Return the texts of a script of the pages: it gets its texts from the page."""
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        code = re.sub(r"^\s*(//|\*|/\*).*", "", line)
        found += [
            Found(path, number, text.group(1))
            for text in _JS_TEXT.finditer(code)
            if " " in text.group(1)
        ]
    return found


def sources(pattern: str, *folders: str) -> Iterator[tuple[Path, str]]:
    """Yield files below folders with their path in the project."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob(pattern)):
            yield path, str(path.relative_to(ROOT))
