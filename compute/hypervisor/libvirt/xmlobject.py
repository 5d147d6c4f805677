"""XML from declarative objects: each field says where its value lives in the element.

A path is `child/grandchild@attribute`, `child` (its text), `@attribute` (of the element itself) or
`child/` (nested objects below `child`; `/` alone: below the element itself). Fields that share a
parent path share the element. None and empty tuples leave nothing behind.
"""

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any, ClassVar
from xml.etree import ElementTree

Value = str | int | bool | None


def at(path: str, default: Any = None) -> Any:
    """A dataclass field whose value is written at `path`."""
    return dataclasses.field(default=default, metadata={"path": path})


@dataclasses.dataclass(frozen=True, kw_only=True)
class XmlObject:
    """Base of all elements. Subclasses are frozen dataclasses with `TAG` and `at()` fields."""

    TAG: ClassVar[str] = ""

    @classmethod
    def properties(cls) -> Iterator[tuple[str, str]]:
        """(field name, path) of every field that can be written."""
        for field in dataclasses.fields(cls):
            yield field.name, field.metadata["path"]

    def to_element(self) -> ElementTree.Element:
        root = ElementTree.Element(self.TAG)
        for name, path in self.properties():
            value = getattr(self, name)
            if value is None or value == ():
                continue
            _write(root, path, value)
        return root

    def to_xml(self) -> str:
        """The element as indented text."""
        root = self.to_element()
        ElementTree.indent(root, space="  ")
        return ElementTree.tostring(root, encoding="unicode") + "\n"


def _write(root: ElementTree.Element, path: str, value: Any) -> None:
    if path.endswith("/"):
        parent = _descend(root, path[:-1])
        for child in value if isinstance(value, tuple) else (value,):
            parent.append(child.to_element())
        return
    steps, _, attribute = path.partition("@")
    element = _descend(root, steps)
    if attribute:
        element.set(attribute, _text(value))
    elif value is not True:
        element.text = _text(value)


def _descend(element: ElementTree.Element, steps: str) -> ElementTree.Element:
    for step in filter(None, steps.split("/")):  # a namespace in a step must have no slash
        found = element.find(step)
        element = ElementTree.SubElement(element, step) if found is None else found
    return element


def _text(value: Value | Enum) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)
