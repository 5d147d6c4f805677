"""One file of many JavaScript modules, so that a page asks for one instead of dozens.

Each module becomes a block of the file, in the order in which they are needed: blocks keep their
names to themselves, and a module that waits for something at its top level still may. What a module
exports is read by getters, so that values that change later are seen. Only what the vendored
packages write is understood; anything else stops the build.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_NAME: Final = r"[A-Za-z_$][\w$]*"
_IMPORT: Final = re.compile(
    r"^import\s+([^;]*?)\s*from\s*[\"']([^\"']+)[\"'];?[ \t]*$", re.MULTILINE
)
_EXPORT_DECLARED: Final = re.compile(
    rf"^export\s+(default\s+)?((?:async\s+)?(?:function\*?|class)|const|let|var)\s+({_NAME})",
    re.MULTILINE,
)
_EXPORT_NAMED: Final = re.compile(r"^export\s*\{([^}]*)\};?[ \t]*$", re.MULTILINE)
_EXPORT_DEFAULT: Final = re.compile(r"^export\s+default\s+", re.MULTILINE)
_LEFT: Final = re.compile(r"^\s*(?:import\b(?!\s*\()|export\b).*$|\bimport\s*\(", re.MULTILINE)
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)


class ModuleError(Exception):
    """A module is written in a way that is not understood."""


@dataclass
class _Module:
    path: Path
    number: int
    text: str = ""
    # Name outside -> name inside.
    exports: dict[str, str] = field(default_factory=dict)
    changing: set[str] = field(default_factory=set)


def bundle(entry: Path) -> str:
    """Return the module and all that it imports as one module with the same default export.

    Raises ModuleError for circles and for what is not understood.
    """
    done: dict[Path, _Module] = {}
    _add(entry.resolve(), done, ())
    blocks = [
        f"// {module.path.name}\nconst m{module.number} = {{}};\n{{\n{module.text}\n}}"
        for module in done.values()
    ]
    main = done[entry.resolve()]
    if "default" not in main.exports:
        raise ModuleError(f"{entry.name} has no default export")
    return "\n".join((*blocks, f"export default m{main.number}.default;", ""))


def _add(path: Path, done: dict[Path, _Module], above: tuple[Path, ...]) -> _Module:
    """Put a module behind those that it imports."""
    if path in above:
        raise ModuleError(f"{path.name} imports itself by way of others")
    if path in done:
        return done[path]
    text = path.read_text()
    heads = []
    module = _Module(path, 0)
    replaced: dict[str, str] = {}
    for found in _IMPORT.finditer(text):
        other = _add((path.parent / found[2]).resolve(), done, (*above, path))
        heads += _bindings(found[1], other, replaced, path)
    body = _exports(_IMPORT.sub("", text), module)
    for name, value in replaced.items():
        body = re.sub(rf"(?<![.\w$]){re.escape(name)}(?![\w$])", value, body)
    if left := _LEFT.search(_COMMENT.sub("", body)):
        raise ModuleError(f"{path.name}: {left[0].strip()[:80]}")
    module.number = len(done)
    getters = "".join(
        f"Object.defineProperty(m{module.number}, {outside!r}, {{ get: () => {inside} }});\n"
        for outside, inside in module.exports.items()
    )
    module.text = "".join(heads) + getters + body
    done[path] = module
    return module


def _bindings(clause: str, other: _Module, replaced: dict[str, str], path: Path) -> list[str]:
    """What an import makes known: constants, or for values that change their place itself."""
    clause = clause.strip()
    if whole := re.fullmatch(rf"\*\s+as\s+({_NAME})", clause):
        return [f"const {whole[1]} = m{other.number};\n"]
    if default := re.fullmatch(_NAME, clause):
        wanted = {default[0]: "default"}
    elif named := re.fullmatch(r"\{([^}]*)\}", clause):
        wanted = {inside: outside for outside, inside in _pairs(named[1])}
    else:
        raise ModuleError(f"{path.name}: import {clause[:80]}")
    made = []
    for inside, outside in wanted.items():
        if outside not in other.exports:
            raise ModuleError(f"{path.name}: {other.path.name} exports no {outside}")
        if other.exports[outside] in other.changing:
            replaced[inside] = f"m{other.number}.{outside}"
        else:
            made.append(f"const {inside} = m{other.number}.{outside};\n")
    return made


def _pairs(clause: str) -> list[tuple[str, str]]:
    """``a, b as c`` as pairs: what stands first, and what it is called by."""
    found = []
    for one in filter(None, (part.strip() for part in clause.split(","))):
        names = re.split(r"\s+as\s+", one)
        found.append((names[0], names[-1]))
    return found


def _exports(text: str, module: _Module) -> str:
    """Note what a module exports, and return it without the word."""

    def declared(found: re.Match[str]) -> str:
        module.exports["default" if found[1] else found[3]] = found[3]
        if found[2] == "let":
            module.changing.add(found[3])
        return f"{found[2]} {found[3]}"

    def named(found: re.Match[str]) -> str:
        module.exports.update({outside: inside for inside, outside in _pairs(found[1])})
        return ""

    text = _EXPORT_NAMED.sub(named, _EXPORT_DECLARED.sub(declared, text))

    def default(found: re.Match[str]) -> str:
        module.exports["default"] = "defaultExport"
        return "const defaultExport = "

    return _EXPORT_DEFAULT.sub(default, text)
