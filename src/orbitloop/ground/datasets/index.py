"""What a data set holds: its images, their domains and free fields, their boxes, its classes; and how to pick from them.

No pixels here (`load`), no file format (`coco`, `yolo`), no random choice (`split`). A selector is either a domain's name or
a mapping from field to the wanted value or values; all fields of a mapping must match, any one of a list is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol, TypeVar

from orbitloop.errors import DataError
from orbitloop.records.label import Boxes

Scalar = str | int | float | bool | None
Selector = str | Mapping[str, Any]
"""A domain name, or field -> value or list of values; the field `domain` means the image's domain."""


class SceneLike(Protocol):
    """What selecting and splitting need to know of a scene; real and rendered ones both have it."""

    @property
    def image_id(self) -> str: ...

    @property
    def domain(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, Any]: ...


SceneT = TypeVar("SceneT", bound=SceneLike)


@dataclass(frozen=True, slots=True, eq=False)
class ImageEntry:
    """One image of a set: where its file lies, its size, its domain, the scalar fields of its row, and its truth.

    `boxes` are in pixels of the file, clipped to the frame; an image without objects has none and is kept.
    """

    image_id: str
    file: Path
    width_px: int
    height_px: int
    domain: str
    fields: Mapping[str, Scalar]
    boxes: Boxes


@dataclass(frozen=True, slots=True, eq=False)
class DatasetIndex:
    """A whole set: class names (a box's class is an index into them) and entries in the file's order."""

    classes: tuple[str, ...]
    entries: tuple[ImageEntry, ...]

    @property
    def box_count(self) -> int:
        """Number of boxes over all images."""
        return sum(len(entry.boxes) for entry in self.entries)

    @property
    def domains(self) -> dict[str, int]:
        """Return domain -> number of images, by name."""
        return domain_counts(self.entries)


def domain_counts(entries: Iterable[SceneLike]) -> dict[str, int]:
    """Return domain -> number of scenes, by name."""
    return dict(sorted(Counter(entry.domain for entry in entries).items()))


def matches(entry: SceneLike, selector: Selector) -> bool:
    """Say whether one scene fits a selector. A field that the scene lacks never fits."""
    if isinstance(selector, str):
        return entry.domain == selector
    return all(_field_matches(entry, name, wanted) for name, wanted in selector.items())


def select(entries: Iterable[SceneT], selector: Selector, where: Mapping[str, Any] | None = None) -> tuple[SceneT, ...]:
    """Return the scenes that fit the selector and, where given, the overall filter `where`, in their order; maybe none."""
    return tuple(e for e in entries if matches(e, selector) and (where is None or matches(e, where)))


def select_some(entries: Sequence[SceneT], selector: Selector, where: Mapping[str, Any] | None = None) -> tuple[SceneT, ...]:
    """Do as `select`, but refuse to find nothing.

    Raises:
        DataError: nothing fits; the message names the selector and lists what domains exist.
    """
    found = select(entries, selector, where)
    if found:
        return found
    counts = domain_counts(entries)
    listed = ", ".join(f"{name} ({n})" for name, n in counts.items()) or "none"
    text = f"{selector!r}" if where is None else f"{selector!r} where {dict(where)!r}"
    raise DataError(f"selector {text} matches no image; domains: {listed}", remedy=_remedy(entries, selector, counts))


def _field_matches(entry: SceneLike, name: str, wanted: Any) -> bool:
    if name == "domain":
        actual: Any = entry.domain
    elif name in entry.fields:
        actual = entry.fields[name]
    else:
        return False
    options = wanted if isinstance(wanted, list | tuple | set | frozenset) else (wanted,)
    return any(_same(actual, option) for option in options)


def _same(actual: Any, wanted: Any) -> bool:
    """Compare as a person who writes YAML means it: 2016 is 2016.0, but true is not 1."""
    return isinstance(actual, bool) == isinstance(wanted, bool) and bool(actual == wanted)


def _remedy(entries: Sequence[SceneLike], selector: Selector, counts: Mapping[str, int]) -> str:
    if isinstance(selector, str):
        near = get_close_matches(selector, list(counts), n=1)
        return f"did you mean {near[0]!r}?" if near else "name one of the domains above, or give a mapping of fields"
    known = {"domain", *(name for entry in entries for name in entry.fields)}
    for name, wanted in selector.items():
        if name not in known:
            near = get_close_matches(str(name), sorted(known), n=1)
            return f"no image has a field {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; fields: {sorted(known)}")
        if not any(_field_matches(entry, name, wanted) for entry in entries):
            values = sorted({str(e.domain if name == "domain" else e.fields.get(name)) for e in entries})
            return f"field {name!r} has the values {', '.join(values[:20])}{' ...' if len(values) > 20 else ''}"
    return "each field occurs, but never all of them in one image"
