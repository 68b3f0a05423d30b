"""Metadata as it rides in a bundle: TUF's files by name, in one compressed section.

A `records.wire` record of kind `trust` whose blobs are files (`3.root.json`, `timestamp.json`, ...), as one zstd frame that
may use a dictionary of the words which all metadata share. The frame's stated size is held against the limit before anything
is allocated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import zstandard

from orbitloop.errors import TrustError, WireError
from orbitloop.records.wire import pack, unpack

KIND = "trust"
VERSION = 1
LEVEL = 19
MAX_CARRIED_BYTES = 1 << 19
MAX_FILES = 128
MAX_WINDOW_BYTES = 1 << 20
_NAME = re.compile(r"(?:[1-9][0-9]{0,9}\.)?([a-z0-9-]{1,32})\.json")
_WORDS = (
    b'"delegations":{"keys":{"":{"keytype":"ed25519","keyval":{"public":""},"scheme":"ed25519"},"roles":[{"keyids":["'
    b'"name":"","paths":["/*/*"],"terminating":true,"threshold":2}]}"consistent_snapshot":true,"roles":{"root":{"keyids":["'
    b'"snapshot":{"keyids":[""],"threshold":1},"targets":{"keyids":["","",""],"threshold":2},"timestamp":{"keyids":["'
    b'{"blobs":[["timestamp.json",400],[".snapshot.json",500],[".targets.json",900],[".root.json",2600]],"fields":{},'
    b'"kind":"trust","v":1}'
    b'{"signatures":[{"keyid":"","sig":""},{"keyid":"","sig":""}],"signed":{"_type":"targets",'
    b'"expires":"2027-01-01T00:00:00Z","spec_version":"1.0.31","targets":{"/":{"hashes":{"sha256":""},"length":1000}},'
    b'"version":1,"x-orbitloop-signed-at":17}}'
    b'{"signatures":[{"keyid":"","sig":""}],"signed":{"_type":"snapshot","expires":"2027-01-01T00:00:00Z","meta":{"'
    b'targets.json":{"version":1},".json":{"version":1}},"spec_version":"1.0.31","version":1,"x-orbitloop-signed-at":17}}'
    b'{"signatures":[{"keyid":"","sig":""}],"signed":{"_type":"timestamp","expires":"2027-01-01T00:00:00Z",'
    b'"meta":{"snapshot.json":{"version":1}},"spec_version":"1.0.31","version":1,"x-orbitloop-contacts":{"sat-1":100},'
    b'"x-orbitloop-signed-at":17'
)


def pack_metadata(files: Mapping[str, bytes]) -> bytes:
    """Return the section."""
    record = pack(KIND, VERSION, {}, files)
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=_dictionary(), write_content_size=True).compress(record)


def unpack_metadata(section: bytes) -> dict[str, bytes]:
    """Return the files by name; nothing in them is believed yet.

    Raises:
        TrustError: corrupt, or larger than the limits. Never anything else.
    """
    where = "metadata"
    try:
        frame = zstandard.get_frame_parameters(section)
        if not 0 < frame.content_size <= MAX_CARRIED_BYTES or frame.window_size > MAX_WINDOW_BYTES:
            raise TrustError(f"would unpack to more than {MAX_CARRIED_BYTES} bytes, or does not say to how many", where=where)
        reader = zstandard.ZstdDecompressor(dict_data=_dictionary(), max_window_size=MAX_WINDOW_BYTES)
        record = unpack(reader.decompress(section, max_output_size=MAX_CARRIED_BYTES, allow_extra_data=False), expect=KIND)
    except zstandard.ZstdError as error:
        raise TrustError(f"does not unpack ({error})", where=where) from error
    except WireError as error:
        raise TrustError(error.what, where=where) from error
    if record.version != VERSION or record.fields or len(record.blobs) > MAX_FILES:
        raise TrustError("holds something else than metadata", where=where)
    return record.blobs


def role_of(name: str) -> str:
    """Return the role that a file holds by its name (`timestamp.json`, `7.targets.json`); empty if the name is not TUF's."""
    found = _NAME.fullmatch(name)
    return found[1] if found else ""


def _dictionary() -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(_WORDS, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
