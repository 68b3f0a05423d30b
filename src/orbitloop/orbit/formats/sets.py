"""A text of element sets in whatever form it comes: TLE with or without names, or OMM as JSON, XML, KVN or CSV."""

from __future__ import annotations

from orbitloop.errors import ElementsError, OrbitloopError
from orbitloop.orbit.elements import Elements
from orbitloop.orbit.formats.omm import parse_omm_file
from orbitloop.orbit.formats.tle import parse_tle_file


def parse_sets(text: str, where: str = "") -> tuple[list[Elements], list[OrbitloopError]]:
    """Read element sets; the form is told from how the text begins.

    Returns:
        The elements in the order of the file, and one error for each set that was skipped.

    Raises:
        ElementsError: the text as a whole is of no known form, too large, or holds nothing at all.
    """
    start = text.lstrip("\ufeff \t\r\n")
    head = start[:4096].split("\n", 1)[0]
    if start.startswith(("<", "{", "[", "CCSDS_", "COMMENT")) or ("," in head and "EPOCH" in head):
        return parse_omm_file(text, where)
    good, bad = parse_tle_file(text, where)
    if not good and not bad:
        raise ElementsError("holds no element sets", where=where)
    return good, list(bad)
