"""What is wrong with a manifest: where, which field, what would be right; many of them in one error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbitloop.errors import ManifestError

MAX_SHOWN = 100

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` counts from 1; None when there is no line. `field` is empty for the file itself."""

    source: str
    line: int | None
    field: str
    what: str
    remedy: str

    @property
    def where(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{place}: {self.field}" if self.field else place

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"\n  -> {self.remedy}" if self.remedy else "")


class InvalidManifest(ManifestError):
    """A manifest with everything that is wrong with it, in `problems` (never empty)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        # Set before the base class asks for the text.
        self.problems = tuple(problems)
        super().__init__(first.what, where=first.where, remedy=first.remedy)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        shown = [str(problem) for problem in self.problems[:MAX_SHOWN]]
        if len(self.problems) > MAX_SHOWN:
            shown.append(f"... and {len(self.problems) - MAX_SHOWN} more")
        return f"{len(self.problems)} problems\n" + "\n".join(shown)


def dotted(path: Path) -> str:
    """Write a path as people do: `spec.domains.stream[1]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
