"""The one door through which built-ins and third parties' plug-ins come.

Role: names to classes to instances, with errors that say what would have been right. It leaves what a plug-in must do to
`plugins.kinds` and the proof of it to `plugins.checks`. Nothing registers itself on import: a registry is filled by explicit
`add`, with built-ins from `plugins.builtins` and third parties from the entry-point groups `orbitloop.<kind>`; a class is
imported when it is first asked for.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from orbitloop.errors import PluginError
from orbitloop.plugins.builtins import BUILTINS, KINDS

_PLAIN: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    str: ("a text", (str,)),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered plug-in. `target` is a class (or another callable) or `module:attribute`; `origin` says who brought it."""

    kind: str
    name: str
    target: str | Callable[..., Any]
    origin: str


class Registry:
    """Plug-ins by kind and name."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}

    def add(self, kind: str, name: str, target: str | Callable[..., Any], *, origin: str = "this program") -> None:
        """Register a plug-in without importing it.

        Raises:
            PluginError: the kind is unknown, the name is taken, or the target is no `module:attribute`.
        """
        entries = self._of(kind)
        if name in entries:
            raise PluginError(
                f"{kind} {name!r} is registered twice, by {entries[name].origin} and by {origin}",
                remedy="give one of them another name, or uninstall one",
            )
        if isinstance(target, str) and (target.count(":") != 1 or not all(target.split(":"))):
            raise PluginError(f"{kind} {name!r} of {origin} points to {target!r}", remedy="write module:attribute")
        entries[name] = Entry(kind, name, target, origin)

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the registered names of a kind, sorted."""
        return tuple(sorted(self._of(kind)))

    def entry(self, kind: str, name: str, *, where: str = "") -> Entry:
        """Return what is registered under a name.

        Raises:
            PluginError: the kind or the name is unknown; says which are known and which is nearest.
        """
        entries = self._of(kind, where=where)
        if name not in entries:
            known = ", ".join(sorted(entries)) or "none"
            raise PluginError(f"no {kind} is called {name!r}", where=where, remedy=f"{_nearest(name, entries)}known: {known}")
        return entries[name]

    def load(self, kind: str, name: str, *, where: str = "") -> Callable[..., Any]:
        """Import and return the class behind a name.

        Raises:
            PluginError: unknown name, or its module or attribute cannot be imported.
        """
        entry = self.entry(kind, name, where=where)
        if not isinstance(entry.target, str):
            return entry.target
        module_name, attribute = entry.target.split(":")
        try:
            found: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as error:  # a third party's module may raise anything while it is imported
            raise PluginError(
                f"{kind} {name!r} of {entry.origin} cannot be imported from {entry.target!r} ({type(error).__name__}: {error})",
                where=where,
                remedy=f"install or repair {entry.origin}",
            ) from error
        if not callable(found):
            raise PluginError(f"{kind} {name!r} of {entry.origin}: {entry.target!r} is no class", where=where)
        return typing.cast("Callable[..., Any]", found)

    def parameters(self, kind: str, name: str, *, where: str = "") -> dict[str, inspect.Parameter]:
        """Return the parameters that a plug-in takes, by name, in its own order."""
        signature = inspect.signature(self.load(kind, name, where=where))
        skip = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return {p.name: p for p in signature.parameters.values() if p.kind not in skip}

    def create(self, kind: str, name: str, parameters: Mapping[str, Any] | None = None, where: str = "") -> Any:
        """Build a plug-in from its manifest parameters.

        Args:
            kind: `miner`, `selector`, `codec` or `labeller`.
            name: its registered name.
            parameters: keyword arguments of its class.
            where: file, line and field of the manifest, for errors.

        Raises:
            PluginError: unknown name; a parameter that is unknown, missing, of the wrong type or refused by the class; or an
                instance that does not fulfil its kind's Protocol.
        """
        target = self.load(kind, name, where=where)
        given = dict(parameters or {})
        self._check_parameters(kind, name, target, given, where)
        try:
            instance = target(**given)
        except (TypeError, ValueError) as error:
            raise PluginError(f"{kind} {name!r} refuses its parameters: {error}", where=where) from error
        if not isinstance(instance, KINDS[kind]):
            missing = sorted(m for m in _members(KINDS[kind]) if not hasattr(instance, m))
            raise PluginError(f"{kind} {name!r} does not fulfil its contract: no {', '.join(missing)}", where=where)
        return instance

    def _check_parameters(self, kind: str, name: str, target: Callable[..., Any], given: dict[str, Any], where: str) -> None:
        valid = self.parameters(kind, name, where=where)
        listed = ", ".join(_describe(p) for p in valid.values()) or "it takes none"
        open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(target).parameters.values())
        for key in given:
            if key not in valid and not open_ended:
                remedy = f"{_nearest(key, valid)}valid: {listed}"
                raise PluginError(f"{kind} {name!r} has no parameter {key!r}", where=where, remedy=remedy)
        for key, parameter in valid.items():
            if parameter.default is inspect.Parameter.empty and key not in given:
                raise PluginError(f"{kind} {name!r} needs the parameter {key!r}", where=where, remedy=f"valid: {listed}")
        for key, hint in _hints(target).items():
            if key in given and hint in _PLAIN:
                word, types = _PLAIN[hint]
                if not isinstance(given[key], types) or (isinstance(given[key], bool) and hint is not bool):
                    raise PluginError(f"{kind} {name!r}: {key} must be {word}, not {given[key]!r}", where=where)

    def _of(self, kind: str, *, where: str = "") -> dict[str, Entry]:
        if kind not in self._entries:
            raise PluginError(f"there is no plug-in kind {kind!r}", where=where, remedy=f"known: {', '.join(sorted(KINDS))}")
        return self._entries[kind]


def default_registry() -> Registry:
    """Return a fresh registry with the built-ins and what installed packages offer.

    Raises:
        PluginError: two of them claim one name.
    """
    registry = Registry()
    for kind, entries in BUILTINS.items():
        for name, target in entries.items():
            registry.add(kind, name, target, origin="orbitloop")
    for kind in KINDS:
        for point in sorted(metadata.entry_points(group=f"orbitloop.{kind}"), key=lambda p: (p.name, p.value)):
            registry.add(kind, point.name, point.value, origin=point.dist.name if point.dist else "an installed package")
    return registry


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


def _describe(parameter: inspect.Parameter) -> str:
    bare = parameter.default is inspect.Parameter.empty
    return parameter.name if bare else f"{parameter.name} (default {parameter.default!r})"


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the resolved annotations of a class's constructor; none when they cannot be resolved (then nothing is checked)."""
    try:
        return typing.get_type_hints(vars(target).get("__init__", target) if isinstance(target, type) else target)
    except (NameError, TypeError, AttributeError):
        return {}


def _members(protocol: type) -> set[str]:
    """Return the public members that a Protocol asks for."""
    return {m for m in (*vars(protocol), *protocol.__annotations__) if not m.startswith("_")}
