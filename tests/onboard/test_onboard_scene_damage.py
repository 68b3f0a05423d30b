"""Scene files that are damaged or lie: read it, or raise `ImageError`; never another error, never noise, never much memory."""

from __future__ import annotations

import functools
import gc
import resource
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orbitloop.errors import ImageError
from orbitloop.onboard.adapters.scene_files import open_scene

pytest.importorskip("rasterio", reason="the extra geo is not installed")
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin
from scene_making import png, strip_tiff, texture, tiff, whole, write_raster

UTM = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 10, 10)}
TILES = {"tiled": True, "blockxsize": 32, "blockysize": 32}
GCPS = [GroundControlPoint(row, col, 10 + col, 50 - row) for row, col in ((0, 0), (0, 80), (60, 0), (60, 80))]
KINDS: dict[str, dict[str, Any]] = {
    "deflate.tif": {**TILES, **UTM, "compress": "deflate"},
    "lzw.tif": {"compress": "lzw", "blockysize": 8},
    "zstd.tif": {"compress": "zstd", "blockysize": 8, "dtype": "uint16", "nodata": 7, "interleave": "band"},
    "lerc.tif": {**TILES, "compress": "lerc", "dtype": "float32"},
    "jpeg.tif": {**TILES, "compress": "jpeg", "photometric": "ycbcr"},
    "webp.tif": {**TILES, "compress": "webp"},
    "plain.tif": {**UTM, "tags": {"TIFFTAG_DATETIME": "2024:03:01 10:20:30"}, "descriptions": ("red", "green", "blue")},
    "gcp.tif": {"crs": "EPSG:4326", "gcps": GCPS},
    "big.tif": {**TILES, "BIGTIFF": "YES", "mask": np.arange(60 * 80).reshape(60, 80) % 3 > 0},
    "a.png": {"driver": "PNG"},
    "deep.png": {"driver": "PNG", "dtype": "uint16"},
    "a.jpg": {"driver": "JPEG"},
}


@functools.cache
def honest(name: str) -> bytes:
    """The bytes of a small file of a kind."""
    profile = dict(KINDS[name])
    y, x = np.mgrid[:60, :80]
    smooth = np.stack([2 * x, 3 * y, x + y]) + texture(60, 80) // 8
    with tempfile.TemporaryDirectory() as folder:
        return write_raster(Path(folder) / name, smooth.astype(profile.pop("dtype", "uint8")), **profile).read_bytes()


def attempt(path: Path) -> bool:
    """Read a file wholly, or meet the one error; True when it was read. A claim of over 200 chunks is not followed further."""
    try:
        with open_scene(path) as source:
            for count, chunk in enumerate(source.chunks(64, 16)):
                assert chunk.pixels.dtype == np.uint8
                if count > 200:
                    break
    except ImageError:
        return False
    return True


# ---------------------------------------------------------------- mutations of honest files


@pytest.mark.parametrize("name", KINDS)
def test_files_cut_short_anywhere_are_refused(tmp_path: Path, capfd: Any, name: str) -> None:
    data = honest(name)
    path = tmp_path / name
    path.write_bytes(data)
    with open_scene(path) as source:
        pixels, valid = whole(source)
    for part in range(16):
        path.write_bytes(data[: len(data) * part // 16])
        try:
            with open_scene(path) as source:
                again = whole(source)
        except ImageError:
            continue
        assert np.array_equal(again[0], pixels), "some of the file was missing and nobody noticed"
        assert np.array_equal(again[1], valid)
    assert capfd.readouterr() == ("", "")


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_change_is_read_or_refused_by_the_one_error(name: str, data: st.DataObject) -> None:
    content = bytearray(honest(name))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.one_of(st.integers(0, min(400, len(content) - 4)), st.integers(0, len(content) - 4)))
        some = data.draw(
            st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"]))
        )
        content[place : place + len(some)] = some
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bin"
        path.write_bytes(content)
        attempt(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


@given(
    st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"]),
    st.binary(max_size=300),
)
@settings(max_examples=80, deadline=None, derandomize=True)
def test_noise_behind_a_magic_number_is_refused(magic: bytes, noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bin"
        path.write_bytes(magic + noise)
        attempt(path)


def test_a_damaged_block_is_named_and_what_lies_before_it_was_read(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", texture(640, 640), compress="deflate", blockysize=16)
    data = bytearray(path.read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    with open_scene(path) as source:
        chunks = source.chunks(64, 0)
        first = next(chunks)
        assert np.array_equal(first.pixels, texture(640, 640).transpose(1, 2, 0)[:64])
        with pytest.raises(ImageError, match=r"a\.tif, rows \d+\.\.\d+, columns 0\.\.640: cannot read the scene \("):
            list(chunks)


@pytest.mark.parametrize("damage", ["zeros", "noise"])
def test_a_jpeg_tile_that_libjpeg_would_fill_with_grey_is_damage(tmp_path: Path, capfd: Any, damage: str) -> None:
    kind = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "jpeg", "photometric": "ycbcr"}
    path = write_raster(tmp_path / "a.tif", texture(256, 256), **kind)
    data = bytearray(path.read_bytes())
    some = slice(len(data) // 2, len(data) // 2 + 2000)
    data[some] = bytes(2000) if damage == "zeros" else np.random.default_rng(0).bytes(2000)
    path.write_bytes(data)
    with open_scene(path) as source, pytest.raises(ImageError, match="JPEG"):
        whole(source)
    assert capfd.readouterr() == ("", "")


def test_the_next_scene_is_read_after_a_damaged_one(tmp_path: Path) -> None:
    good = write_raster(tmp_path / "good.tif", texture(60, 80), compress="deflate")
    (tmp_path / "bad.tif").write_bytes(good.read_bytes()[:-200])
    for _ in range(3):
        attempt(tmp_path / "bad.tif")
        with open_scene(good) as source:
            assert np.array_equal(whole(source)[0], texture(60, 80).transpose(1, 2, 0))


# ---------------------------------------------------------------- lies

SMALL = [(256, 4, 1, 16), (257, 4, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, 16)]
SMALL += [(273, 4, 1, 8), (279, 4, 1, 256)]


def changed(**fields: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """The entries of a small honest TIFF with some replaced; names are t<tag>."""
    kept = [entry for entry in SMALL if f"t{entry[0]}" not in fields]
    return kept + [(int(name[1:]), *field) for name, field in fields.items()]


LIES = {
    "zero bands": tiff(changed(t277=(3, 1, 0)), data=bytes(256)),
    "no width": tiff(changed(t256=(4, 1, 0)), data=bytes(256)),
    "no strips": tiff([e for e in SMALL if e[0] not in (273, 279)], data=bytes(256)),
    "absurd width": tiff(changed(t256=(4, 1, 2**31 - 1)), data=bytes(256)),
    "absurd both": tiff(changed(t256=(4, 1, 199_999), t257=(4, 1, 199_999)), data=bytes(256)),
    "65535 bands": tiff(changed(t277=(3, 1, 65_535)), data=bytes(256)),
    "strip beyond the end": tiff(changed(t273=(4, 1, 2**31)), data=bytes(256)),
    "strip of 4 GB": tiff(changed(t279=(4, 1, 2**32 - 1), t259=(3, 1, 8)), data=bytes(256)),
    "a loop of directories": tiff(SMALL, data=bytes(256), next_directory=8 + 256),
    "directory beyond the end": tiff(SMALL, data=bytes(256), next_directory=2**32 - 2),
    "a tag of 4 GB": tiff([*SMALL, (42112, 2, 2**32 - 1, 8)], data=bytes(256)),
    "metadata that is not text": tiff([*SMALL, (42112, 2, 200, 8)], data=b"\xe9" * 256),
    "a compression of 2 GB windows": tiff(changed(t259=(3, 1, 34925)), data=bytes(256)),
    "fax": tiff(changed(t259=(3, 1, 4)), data=bytes(256)),
    "4 billion entries of strips": tiff(changed(t273=(4, 2**32 - 1, 8), t279=(4, 2**32 - 1, 8)), data=bytes(256)),
    "one deflated strip of 1.2 GB": strip_tiff(20_000, 20_000, 20_000, zlib.compress(bytes(4096)), bands=3),
    "strips cut short": strip_tiff(2000, 2000, 100, zlib.compress(bytes(4096))),
    "strips of garbage": strip_tiff(2000, 2000, 100, b"\x78\x9cgarbage", bands=1),
    "png of 100,000 square": png(100_000, 100_000),
    "png of 2 billion square": png(2**31 - 1, 2**31 - 1),
    "png of nothing": png(0, 0),
    "interlaced png of 30,000 square": png(30_000, 30_000, interlaced=1),
    "png of a depth that is none": png(10, 10, depth=3),
    "png of a colour that is none": png(10, 10, colour=5),
}


def test_the_honest_file_that_lies_are_made_of_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(SMALL, data=bytes(range(256))))
    with open_scene(tmp_path / "a.tif") as source:
        assert np.array_equal(whole(source)[0][..., 0].ravel(), np.arange(256))


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_lies_are_refused_at_once_and_quietly(tmp_path: Path, capfd: Any, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError), open_scene(path) as source:
        for _ in source.chunks(64, 16):
            pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 130 * 1024
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_a_file_that_would_decode_at_once_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    entries = [(256, 4, 1, 20_000), (257, 4, 1, 20_000), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries += [(322, 4, 1, 20_000), (323, 4, 1, 20_000), (324, 4, 1, 8), (325, 4, 1, 256)]
    path.write_bytes(tiff(entries, data=zlib.compress(bytes(100_000)) + bytes(200)))
    with pytest.raises(ImageError, match=r"decode to \d+ bytes, over the limit of 67108864") as refused:
        open_scene(path)
    assert "TILED=YES" in refused.value.remedy


@pytest.mark.parametrize("tag", [324, 325, 34665])
def test_a_place_that_no_file_has_is_refused_before_libtiff_complains_aloud(tmp_path: Path, capfd: Any, tag: int) -> None:
    data = bytearray(honest("big.tif"))
    (directory,) = struct.unpack_from("<Q", data, 8)
    (count,) = struct.unpack_from("<Q", data, directory)
    tags = {struct.unpack_from("<H", data, directory + 8 + 20 * i)[0]: directory + 8 + 20 * i for i in range(count)}
    if tag in tags:
        struct.pack_into("<Q", data, tags[tag] + 12, 2**64 - 200)
    else:
        struct.pack_into("<HHQQ", data, tags[max(tags)], tag, 16, 1, 2**64 - 200)
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="ends within its header"):
        open_scene(path)
    assert capfd.readouterr() == ("", "")


def jpeg_with(width: int, height: int, **options: Any) -> bytes:
    """A small JPEG whose frame header claims another size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jpg"
        Image.fromarray(texture(32, 32).transpose(1, 2, 0)).save(path, **options)
        data = bytearray(path.read_bytes())
    place = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("size", [(65_500, 65_500), (32, 60_000), (60_000, 32), (0, 32), (33, 2000)], ids=str)
def test_jpegs_that_lie_about_their_size_are_refused(tmp_path: Path, capfd: Any, size: Any, options: dict[str, Any]) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with(*size, **options))
    assert not attempt(path)
    assert capfd.readouterr() == ("", "")


_BOMBS = """
import resource, sys
import rasterio
from orbitloop.errors import ImageError
from orbitloop.onboard.adapters.scene_files import open_scene
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        with open_scene(path) as source:
            chunks = source.chunks(416, 64)
            for _ in range(4):
                next(chunks, None)
    except ImageError:
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_bombs_stay_within_the_memory_of_an_honest_scene(tmp_path: Path) -> None:
    rows = zlib.compress(bytes(20_000 * 200), 9)
    bombs = {
        "strips.tif": strip_tiff(20_000, 20_000, 200, rows),
        "wide.tif": strip_tiff(200_000, 40_000, 16, zlib.compress(bytes(200_000 * 16), 9)),
        "long.png": png(20_000, 20_000, data=bytes(20_000 * 3 * 50)),
        "text.tif": tiff([*SMALL, (270, 2, 15 << 20, 8)], data=bytes(15 << 20)),
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in bombs]
    done = subprocess.run([sys.executable, "-c", _BOMBS, *paths], capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) < 150e6
    assert done.stderr == ""
