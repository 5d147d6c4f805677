"""What the search offers beside resources: pages, and what can be done, by the words people use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise

from scloud.tenancy.actor import Actor
from scloud.web import nav

Text = str | Promise


@dataclass(frozen=True)
class Command:
    """Something to do that begins on a page of its own.

    ``words`` are others by which it is found, beside those of the label.
    """

    label: Text
    url_name: str
    icon: str
    permission: str = ""
    words: Text = ""


@dataclass(frozen=True)
class Found:
    """A page or a command that the words lead to."""

    label: str
    url: str
    icon: str


_commands: dict[str, Command] = {}


def register(*commands: Command) -> None:
    """Add commands; one with the same URL name replaces the old one."""
    for command in commands:
        _commands[command.url_name] = command


def find(actor: Actor, words: list[str], limit: int) -> list[Found]:
    """Return the commands, then the pages, of which every word begins one of the words."""
    found: list[Found] = []
    for command in (*_commands.values(), *_pages()):
        if len(found) == limit:
            break
        if command.permission and not actor.allows(command.permission):
            continue
        if not _says(f"{command.label} {command.words}", words):
            continue
        try:
            found.append(Found(str(command.label), reverse(command.url_name), command.icon))
        except NoReverseMatch:
            continue
    return found


def _pages() -> Iterator[Command]:
    for item in nav.items():
        section = nav.SECTIONS.get(item.section, (0, ""))[1]
        yield Command(item.label, item.url_name, item.icon, item.permission, section)


def _says(text: str, words: list[str]) -> bool:
    """Whether each of the words begins a word of the text, one at most each."""
    left = text.casefold().split()
    for word in words:
        one = next((known for known in left if known.startswith(word.casefold())), None)
        if one is None:
            return False
        left.remove(one)
    return bool(words)
