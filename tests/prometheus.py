"""A parser of Prometheus' text format, strict where Prometheus is; written from its description."""

from __future__ import annotations

from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]


@dataclass
class Read:
    """A family as it was read."""

    help: str
    type: str = "untyped"
    samples: dict[Labels, tuple[float, int | None]] = field(default_factory=dict)


def parse(text: str) -> dict[str, Read]:
    """Return the families by name; AssertionError for what breaks the form."""
    assert text.endswith("\n")
    families: dict[str, Read] = {}
    current = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _hash, _help, name, words = line.split(" ", 3)
            assert name not in families, f"{name} comes twice"
            current = name
            families[name] = Read(words)
        elif line.startswith("# TYPE "):
            _hash, _type, name, kind = line.split(" ")
            assert name == current
            assert not families[name].samples
            assert kind in {"counter", "gauge", "histogram", "summary", "untyped"}
            families[name].type = kind
        else:
            name, labels, rest = _series(line)
            assert name == current, f"{name} stands apart from its family"
            words_ = rest.split(" ")
            assert len(words_) in {1, 2}
            assert labels not in families[name].samples, f"{line} comes twice"
            at = int(words_[1]) if len(words_) == 2 else None
            families[name].samples[labels] = (float(words_[0]), at)
    return families


def _series(line: str) -> tuple[str, Labels, str]:
    """Read name and labels letter by letter; return them with what follows."""
    end = min(place for place in (line.find("{"), line.find(" ")) if place >= 0)
    name, place = line[:end], end
    found: list[tuple[str, str]] = []
    if line[place] == "{":
        place += 1
        while line[place] != "}":
            equals = line.index('="', place)
            label, place = line[place:equals], equals + 2
            value = ""
            while line[place] != '"':
                if line[place] == "\\":
                    value += {"\\": "\\", '"': '"', "n": "\n"}[line[place + 1]]
                    place += 2
                else:
                    value += line[place]
                    place += 1
            place += 1
            found.append((label, value))
            if line[place] == ",":
                place += 1
        place += 1
    assert line[place] == " "
    assert len({label for label, _value in found}) == len(found)
    return name, tuple(found), line[place + 1 :]
