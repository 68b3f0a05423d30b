"""Scene files: each kind gives the pixels that were written, in the right place, and nothing but the file is looked at."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from orbitloop.errors import ImageError
from orbitloop.onboard.adapters import scene_files
from orbitloop.onboard.adapters.scene_files import open_scene
from orbitloop.onboard.scenes import SceneLimits

rasterio = pytest.importorskip("rasterio", reason="the extra geo is not installed")
from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.transform import Affine, from_origin  # noqa: E402
from rasterio.warp import transform as warp  # noqa: E402
from scene_making import strip_tiff, texture, whole, write_raster  # noqa: E402

DATA = Path(os.environ.get("ORBITLOOP_DATA", Path(__file__).parents[3] / "shared" / "data"))
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiled deflate": {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"},
    "strips lzw": {"compress": "lzw", "blockysize": 16},
    "one strip": {"compress": "deflate", "blockysize": 190},
    "bands apart": {"interleave": "band", "compress": "zstd", "blockysize": 7},
    "bands apart, tiled": {"interleave": "band", "tiled": True, "blockxsize": 32, "blockysize": 128},
    "plain": {},
    "big": {"BIGTIFF": "YES", "tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "packbits"},
    "big-endian": {"ENDIANNESS": "BIG", "compress": "lerc", "MAX_Z_ERROR": 0},
    "png": {"driver": "PNG"},
}


def rgb(values: np.ndarray) -> np.ndarray:
    return values.transpose(1, 2, 0)


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("tile", "overlap"), [(64, 16), (50, 49), (300, 0)])
def test_each_layout_gives_the_pixels_that_were_written(
    tmp_path: Path, layout: dict[str, Any], tile: int, overlap: int
) -> None:
    values = texture(190, 233) if overlap != 49 else texture(61, 70)
    path = write_raster(tmp_path / "a.bin", values, **{**layout, "blockysize": layout.get("blockysize", 64)} if layout else {})
    with open_scene(path) as source:
        pixels, valid = whole(source, tile, overlap)
        assert np.array_equal(whole(source, tile, overlap)[0], pixels), "a second reading differs"
        assert (source.width_px, source.height_px, source.scene_id) == (values.shape[2], values.shape[1], "a")
    assert np.array_equal(pixels, rgb(values))
    assert valid.all()


def test_a_cog_is_a_geotiff(tmp_path: Path) -> None:
    values = texture(600, 700)
    path = write_raster(tmp_path / "a.tif", values, driver="COG", BLOCKSIZE=128, compress="deflate", crs="EPSG:4326")
    with open_scene(path) as source:
        assert np.array_equal(whole(source, 128, 32)[0], rgb(values))


def test_a_scene_of_several_chunks_and_slices_is_put_together_right(tmp_path: Path) -> None:
    values = texture(2500, 2300)
    for profile in ({"tiled": True, "blockxsize": 256, "blockysize": 256}, {"blockysize": 100}):
        with open_scene(write_raster(tmp_path / "a.tif", values, **profile)) as source:
            assert np.array_equal(whole(source, 416, 64)[0], rgb(values))


def test_bands_too_wide_for_memory_are_read_in_narrower_chunks_but_only_where_that_is_cheap(tmp_path: Path) -> None:
    values = texture(150, 5000)
    limits = SceneLimits(band_bytes=64 * 5000)
    with open_scene(write_raster(tmp_path / "a.tif", values, blockysize=8, compress="lzw"), limits=limits) as source:
        assert np.array_equal(whole(source, 64, 16)[0], rgb(values))
    with (
        open_scene(write_raster(tmp_path / "a.png", values, driver="PNG"), limits=limits) as source,
        pytest.raises(ImageError, match=r"(?s)row of 64 px tiles.*tiled GeoTIFF"),
    ):
        whole(source, 64, 16)


def test_a_jpeg_is_decoded_nearly_as_pillow_does(tmp_path: Path) -> None:
    y, x = np.mgrid[:200, :300]
    smooth = np.stack([x * 0.8, y, 255 - y], axis=-1).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=90)
    reference = np.asarray(Image.open(tmp_path / "a.jpg"))
    with open_scene(tmp_path / "a.jpg") as source:
        assert np.abs(whole(source)[0].astype(int) - reference).mean() < 1


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 95, "subsampling": 0}])
def test_progressive_jpeg_and_interlaced_png_are_bounded_by_what_they_decode_to(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(rgb(texture(200, 300))).save(path, **options)
    tight = SceneLimits(whole_bytes=100_000)
    if "progressive" in options:
        with pytest.raises(ImageError, match="decodes as a whole to 360000 bytes"):
            open_scene(path, limits=tight)
    with open_scene(path) as source:
        whole(source)


def test_webp_is_read_by_pillow(tmp_path: Path) -> None:
    Image.fromarray(rgb(texture(90, 80))).save(tmp_path / "a.webp", lossless=True)
    with open_scene(tmp_path / "a.webp") as source:
        assert np.array_equal(whole(source)[0], rgb(texture(90, 80)))


# ---------------------------------------------------------------- bands and values


def test_bands_are_chosen_named_or_counted(tmp_path: Path) -> None:
    values = texture(40, 50, bands=5)
    names = ("blue", "green", "red", "nir", "swir")
    path = write_raster(tmp_path / "a.tif", values, descriptions=names)
    for asked, wanted in ((None, [2, 1, 0]), ((4, 3, 2), [3, 2, 1]), ((5,), [4, 4, 4])):
        with open_scene(path, bands=asked) as source:
            assert np.array_equal(whole(source)[0], rgb(values[wanted]))


def test_one_band_is_grey_and_two_are_a_question(tmp_path: Path) -> None:
    values = texture(40, 50, bands=2)
    with open_scene(write_raster(tmp_path / "a.tif", values[:1])) as source:
        assert np.array_equal(whole(source)[0], rgb(values[[0, 0, 0]]))
    path = write_raster(tmp_path / "b.tif", values, colours=("gray", "undefined"))
    with pytest.raises(ImageError, match="--bands 3,2,1"):
        open_scene(path)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "uint32"])
@pytest.mark.parametrize("profile", [{"tiled": True, "blockxsize": 64, "blockysize": 64}, {"blockysize": 10}])
def test_deep_values_are_stretched_by_one_pair_of_limits_for_the_scene(
    tmp_path: Path, dtype: str, profile: dict[str, Any]
) -> None:
    values = (texture(200, 210).astype(np.float64) * 12 + 300).astype(dtype)
    values[:, :100] //= 3  # the upper half is darker: limits of its own would hide that
    path = write_raster(tmp_path / "a.tif", values, **profile)
    with open_scene(path) as source, open_scene(path) as again:
        low, high = source.stretch  # type: ignore[attr-defined]
        assert again.stretch == (low, high)  # type: ignore[attr-defined]
        pixels, valid = whole(source)
    exact = np.percentile(values, [2, 98])
    assert abs(low - exact[0]) < 100
    assert abs(high - exact[1]) < 200
    wanted = np.rint(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255)
    assert np.array_equal(pixels, rgb(wanted))
    assert valid.all()


def test_a_given_stretch_is_kept_for_any_type(tmp_path: Path) -> None:
    for dtype in ("uint8", "uint16"):
        values = texture(60, 70).astype(dtype)
        with open_scene(write_raster(tmp_path / "a.tif", values), stretch=(50, 150)) as source:
            wanted = np.rint(np.clip((values.astype(float) - 50) / 100, 0, 1) * 255)
            assert np.array_equal(whole(source)[0], rgb(wanted))
    with pytest.raises(ImageError, match="stretch"):
        open_scene(tmp_path / "a.tif", stretch=(2, 1))


def test_a_16_bit_png_is_stretched_like_a_tiff(tmp_path: Path) -> None:
    values = texture(120, 90).astype(np.uint16) * 99
    with open_scene(write_raster(tmp_path / "a.png", values, driver="PNG"), stretch=(0, 25500)) as source:
        assert np.array_equal(whole(source)[0], rgb(np.rint(values / 100).astype(np.uint8)))


def test_complex_values_have_no_brightness(tmp_path: Path) -> None:
    for dtype in ("complex64", "complex128"):
        with pytest.raises(ImageError, match="brightness"):
            open_scene(write_raster(tmp_path / "a.tif", texture(8, 8).astype(dtype)))


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 4, "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])
    for name in ("a.png", "a.tif"):
        image.save(tmp_path / name)
        with open_scene(tmp_path / name) as source:
            assert np.array_equal(whole(source)[0], np.asarray(image.convert("RGB")))


# ---------------------------------------------------------------- no value


def hole(height: int, width: int) -> np.ndarray:
    known = np.ones((height, width), np.bool_)
    known[20:50, 30:90] = False
    return known


@pytest.mark.parametrize("profile", [{"tiled": True, "blockxsize": 64, "blockysize": 64}, {"blockysize": 10}])
@pytest.mark.parametrize("how", ["nodata", "mask", "alpha", "nan", "infinite", "float nodata"])
def test_pixels_without_a_value_are_marked_and_padded(tmp_path: Path, how: str, profile: dict[str, Any]) -> None:
    values, known = texture(140, 150), hole(140, 150)
    if how == "nodata":
        values[:, ~known] = 0
        path = write_raster(tmp_path / "a.tif", values, nodata=0, **profile)
    elif how == "mask":
        path = write_raster(tmp_path / "a.tif", values, mask=known, **profile)
    elif how == "alpha":
        colours = ("red", "green", "blue", "alpha")
        four = np.concatenate([values, known[None] * np.uint8(255)])
        path = write_raster(tmp_path / "a.tif", four, colours=colours, **profile)
    else:
        real = values.astype(np.float32)
        real[:, ~known] = {"nan": np.nan, "infinite": -np.inf, "float nodata": -9999.5}[how]
        path = write_raster(tmp_path / "a.tif", real, nodata=-9999.5 if how == "float nodata" else None, **profile)
    with open_scene(path, stretch=(0, 255) if how in ("nan", "infinite", "float nodata") else None) as source:
        pixels, valid = whole(source)
    assert np.array_equal(valid, known)
    assert np.array_equal(pixels[known], rgb(values)[known])
    assert (pixels[~known] == 114).all()


def test_a_black_channel_is_no_nodata(tmp_path: Path) -> None:
    values = texture(40, 50)
    values[0] = 0
    with open_scene(write_raster(tmp_path / "a.tif", values, nodata=0)) as source:
        pixels, valid = whole(source)
    assert valid.all()
    assert np.array_equal(pixels, rgb(values))


def test_nodata_has_no_say_in_the_stretch(tmp_path: Path) -> None:
    values = texture(100, 100).astype(np.int16) + 1000
    values[:, :60] = -32768
    with open_scene(write_raster(tmp_path / "a.tif", values, nodata=-32768)) as source:
        low, high = source.stretch  # type: ignore[attr-defined]
    assert 1000 <= low < high <= 1256


@pytest.mark.parametrize("nodata", [math.nan, -9999.0, 300.5])
def test_a_nodata_value_that_cannot_occur_marks_nothing(tmp_path: Path, nodata: float) -> None:
    path = write_raster(tmp_path / "a.tif", texture(20, 20).astype(np.float32), nodata=nodata)
    with open_scene(path, stretch=(0, 255)) as source:
        assert whole(source)[1].all()


def test_a_scene_without_any_value_is_all_padding(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.full((3, 70, 80), np.nan, np.float32))
    with open_scene(path) as source:
        pixels, valid = whole(source)
    assert not valid.any()
    assert (pixels == 114).all()


def test_transparency_of_a_png_is_no_value(tmp_path: Path) -> None:
    known = hole(100, 120)
    four = np.concatenate([rgb(texture(100, 120)), known[..., None] * np.uint8(200)], axis=-1)
    Image.fromarray(four, "RGBA").save(tmp_path / "a.png")
    with open_scene(tmp_path / "a.png") as source:
        pixels, valid = whole(source)
    assert np.array_equal(valid, known)
    assert np.array_equal(pixels[known], four[known][:, :3])


# ---------------------------------------------------------------- places

PLACES = {
    "UTM north": ("EPSG:32633", from_origin(500000, 5200000, 10, 10)),
    "UTM south": ("EPSG:32756", from_origin(300000, 6250000, 10, 10)),
    "rotated": ("EPSG:32633", Affine(7, 3, 500000, 3, -7, 5200000)),
    "polar stereographic": ("EPSG:3031", from_origin(-1500000, 1200000, 100, 100)),
    "Web Mercator": ("EPSG:3857", from_origin(-8000000, 5000000, 5, 5)),
    "feet": ("EPSG:2263", from_origin(980000, 200000, 3, 3)),
    "WGS84": ("EPSG:4326", from_origin(12.5, 55.5, 0.0001, 0.0001)),
    "NAD27": ("EPSG:4267", from_origin(-100.5, 40.5, 0.0001, 0.0001)),
}


@pytest.mark.parametrize(("crs", "affine"), PLACES.values(), ids=PLACES)
def test_pixels_lie_where_rasterio_says(tmp_path: Path, crs: str, affine: Affine) -> None:
    path = write_raster(tmp_path / "a.tif", texture(300, 400), crs=crs, transform=affine)
    points = np.random.default_rng(0).uniform([0, 0], [400, 300], (50, 2))
    with open_scene(path) as source:
        assert source.geo is not None
        mapped = source.geo.lonlats_deg(points)
        empty = source.geo.lonlats_deg(np.empty((0, 2)))
    with rasterio.open(path) as file:  # its own way, pixel by pixel, from the centre's convention to the corner's
        xy = [file.xy(y - 0.5, x - 0.5) for x, y in points]
        lon, lat = warp(file.crs, "EPSG:4326", *zip(*xy, strict=True))
    assert np.allclose(mapped, np.stack([lon, lat], axis=1), rtol=0, atol=1e-9)
    assert empty.shape == (0, 2)


@given(st.floats(-179, 179), st.floats(-70, 70), st.floats(0, 2 * math.pi), st.floats(1, 50))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_mapping_and_its_inverse_meet(tmp_path_factory, lon: float, lat: float, turn: float, metres: float) -> None:
    zone = min(60, int((lon + 180) // 6) + 1)
    crs = f"EPSG:{32600 + zone if lat >= 0 else 32700 + zone}"
    (x0,), (y0,) = warp("EPSG:4326", crs, [lon], [lat])
    c, s = metres * math.cos(turn), metres * math.sin(turn)
    affine = Affine(c, s, x0, s, -c, y0)
    path = write_raster(tmp_path_factory.mktemp("geo") / "a.tif", texture(20, 30), crs=crs, transform=affine)
    points = np.random.default_rng(1).uniform([0, 0], [30, 20], (10, 2))
    with open_scene(path) as source:
        assert source.geo is not None
        mapped = source.geo.lonlats_deg(points)
    assert abs(mapped[:, 0] - lon).max() < 5
    xs, ys = warp("EPSG:4326", crs, mapped[:, 0].tolist(), mapped[:, 1].tolist())
    back = np.array([~affine * (x, y) for x, y in zip(xs, ys, strict=True)])
    assert np.abs(back - points).max() < 1e-3


def test_transverse_mercator_on_its_central_meridian_follows_the_meridian_arc(tmp_path: Path) -> None:
    """An independent reference: northing on the central meridian is 0.9996 times the arc (Snyder 1987, 3-21 and 8-9)."""
    path = write_raster(tmp_path / "a.tif", texture(10, 10), crs="EPSG:32633", transform=from_origin(500000, 5000000, 100, 100))
    with open_scene(path) as source:
        assert source.geo is not None
        (lon, lat) = source.geo.lonlats_deg(np.zeros((1, 2)))[0]
    e2, a, phi = 0.0066943799901413165, 6378137.0, math.radians(lat)
    arc = a * (
        (1 - e2 / 4 - 3 * e2**2 / 64 - 5 * e2**3 / 256) * phi
        - (3 * e2 / 8 + 3 * e2**2 / 32 + 45 * e2**3 / 1024) * math.sin(2 * phi)
        + (15 * e2**2 / 256 + 45 * e2**3 / 1024) * math.sin(4 * phi)
        - (35 * e2**3 / 3072) * math.sin(6 * phi)
    )
    assert lon == pytest.approx(15, abs=1e-9)
    assert arc * 0.9996 == pytest.approx(5000000, abs=0.01)


@pytest.mark.parametrize("crs", ["EPSG:32760", "EPSG:32601", "EPSG:3832"])
def test_longitudes_are_continuous_over_the_antimeridian(tmp_path: Path, crs: str) -> None:
    (x,), (y,) = warp("EPSG:4326", crs, [179.9999 if crs != "EPSG:32601" else -179.9999], [-17.0])
    path = write_raster(tmp_path / "a.tif", texture(60, 80), crs=crs, transform=from_origin(x - 4000, y + 3000, 100, 100))
    with open_scene(path) as source:
        assert source.geo is not None
        lons = source.geo.lonlats_deg(np.stack([np.linspace(0, 80, 41), np.full(41, 30.0)], axis=1))[:, 0]
    steps = np.diff(lons)
    assert (steps > 0).all()
    assert steps.max() < 0.01
    assert min(lons) % 360 < 180 < max(lons) % 360


def test_ground_control_points_place_a_scene_without_an_affine_transform(tmp_path: Path) -> None:
    corners = [(0, 0), (0, 100), (80, 0), (80, 100)]
    gcps = [GroundControlPoint(row, col, 10 + col * 0.01 + row * 0.001, 50 - row * 0.01) for row, col in corners]
    path = write_raster(tmp_path / "a.tif", texture(80, 100), crs="EPSG:4326", gcps=gcps)
    with open_scene(path) as source:
        assert source.geo is not None
        mapped = source.geo.lonlats_deg(np.array([[0.0, 0.0], [50.5, 20.25], [100, 80]]))
    assert np.allclose(mapped, [[10, 50], [10.52525, 49.7975], [11.08, 49.2]], atol=1e-7)


def test_without_a_crs_or_a_transform_there_is_no_place(tmp_path: Path) -> None:
    for profile in ({}, {"crs": "EPSG:32633"}, {"transform": from_origin(5, 6, 1, 1)}):
        with open_scene(write_raster(tmp_path / "a.tif", texture(9, 9), **profile)) as source:
            assert source.geo is None


BAD_PLACES: dict[str, dict[str, Any]] = {
    "off the projection": {"crs": "EPSG:32633", "transform": from_origin(1e12, 1e12, 10, 10)},
    "beyond the pole": {"crs": "EPSG:4326", "transform": from_origin(0, 95, 0.01, 0.01)},
    "metres called degrees": {"crs": "EPSG:4326", "transform": from_origin(500000, 5200000, 10, 10)},
    "singular": {"crs": "EPSG:32633", "transform": Affine(1, 1, 5e5, 1, 1, 5e6)},
    "not a number": {"crs": "EPSG:32633", "transform": Affine(math.nan, 0, 5e5, 0, -1, 5e6)},
    "of no place": {"crs": 'LOCAL_CS["deck",UNIT["metre",1]]', "transform": from_origin(0, 0, 1, 1)},
    "points on a line": {"crs": "EPSG:4326", "gcps": [GroundControlPoint(i, i, i, i) for i in range(4)]},
}


@pytest.mark.parametrize("profile", BAD_PLACES.values(), ids=BAD_PLACES)
def test_a_place_that_cannot_be_right_is_refused_by_name_or_left_out(
    tmp_path: Path, capfd: Any, profile: dict[str, Any]
) -> None:
    path = write_raster(tmp_path / "a.tif", texture(30, 40), **profile)
    capfd.readouterr()
    with pytest.raises(ImageError, match=r"EPSG:(32633|4326)|deck") as refused:
        open_scene(path)
    assert "bad_geo='pixels'" in refused.value.remedy
    with open_scene(path, bad_geo="pixels") as source:
        assert source.geo is None
        whole(source)
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("tags", "seconds"),
    [
        ({"TIFFTAG_DATETIME": "2024:03:01 10:20:30"}, 1709288430.0),
        ({"ACQUISITIONDATETIME": "2024-03-01T10:20:30Z", "TIFFTAG_DATETIME": "2025:01:01 00:00:00"}, 1709288430.0),
        ({"ACQUISITIONDATETIME": "2024-03-01 12:20:30+02:00"}, 1709288430.0),
        ({"ACQUISITIONDATETIME": "yesterday", "TIFFTAG_DATETIME": "2024:03:01 10:20:30"}, 1709288430.0),
        ({"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}, None),
        ({"TIFFTAG_DATETIME": "9999:12:31 23:59:59"}, None),
        ({}, None),
    ],
)
def test_the_time_of_capture_is_read_from_tags_that_are_sane(
    tmp_path: Path, tags: dict[str, str], seconds: float | None
) -> None:
    with open_scene(write_raster(tmp_path / "a.tif", texture(9, 9), tags=tags)) as source:
        assert source.captured_at_s == seconds


# ---------------------------------------------------------------- the fence

VRT = '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
VRT += "<SourceFilename>/etc/passwd</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"


@pytest.mark.parametrize(
    "content",
    [
        VRT.encode(),
        b"",
        b"II",
        b"GIF89a" + bytes(50),
        b"\0" * 64,
        b"BM" + bytes(60),
        b"<GDAL_WMS/>",
        b"P6 9 9 255\n" + bytes(300),
    ],
    ids=["vrt", "empty", "two bytes", "gif", "zeros", "bmp", "wms", "ppm"],
)
def test_other_kinds_of_file_never_reach_gdal_whatever_their_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="not a TIFF, PNG, JPEG or WebP"):
        open_scene(path)


@pytest.mark.parametrize(
    "name",
    [
        "/vsizip/{}/a.zip/a.tif",
        "/vsicurl/http://127.0.0.1:9/a.tif",
        "/vsimem/a.tif",
        "/vsistdin/",
        "http://127.0.0.1:9/a.tif",
        "zip://{}/a.zip!a.tif",
        "GTIFF_DIR:1:{}/a.tif",
        "{}",
        "{}/missing.tif",
        "{}/loop",
        "{}/pipe",
        "/dev/zero",
        "{}/a\0.tif",
        "",
    ],
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, name: str) -> None:
    write_raster(tmp_path / "a.tif", texture(9, 9))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match=r"no such file|not a regular file"):
        open_scene(name.format(tmp_path))


def test_a_link_is_followed_and_odd_names_are_names(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", texture(9, 9))
    for name in ("link", "http:a", "a?b#c[d]!e", "GTIFF_DIR:1:a.tif", "ü.tif"):
        (tmp_path / name).symlink_to(path)
        (tmp_path / f"{name}.copy").write_bytes(path.read_bytes())
        for end in ("", ".copy"):
            with open_scene(tmp_path / f"{name}{end}") as source:
                assert np.array_equal(whole(source)[0], rgb(texture(9, 9)))


def test_sidecars_and_neighbours_change_nothing(tmp_path: Path) -> None:
    values = texture(90, 80)
    path = write_raster(tmp_path / "a.tif", values)
    other = write_raster(tmp_path / "other", 255 - values, crs="EPSG:4326", transform=from_origin(1, 2, 0.1, 0.1)).read_bytes()
    for end in (".ovr", ".msk", ".vrt"):
        (tmp_path / f"a.tif{end}").write_bytes(other)
    (tmp_path / "a.tif.msk").write_bytes(write_raster(tmp_path / "m", np.zeros((1, 90, 80), np.uint8)).read_bytes())
    for end in ("tfw", "tifw", "wld"):
        (tmp_path / f"a.{end}").write_text("0.1\n0\n0\n-0.1\n10\n50\n", encoding="ascii")
    xml = "<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>1,1,0,1,0,-1</GeoTransform><PAMRasterBand band='1'>"
    xml += "<NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>"
    (tmp_path / "a.tif.aux.xml").write_text(xml, encoding="ascii")
    (tmp_path / "a_RPC.TXT").write_text("LINE_OFF: 1\n", encoding="ascii")
    with open_scene(path) as source:
        pixels, valid = whole(source)
        assert source.geo is None
        assert [Path(name).name for name in source._dataset.files] == ["a.tif"]  # type: ignore[attr-defined]
    assert np.array_equal(pixels, rgb(values))
    assert valid.all()


def test_a_folder_of_a_thousand_files_is_not_listed_and_nothing_is_written_into_it(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", texture(90, 80).astype(np.uint16))
    for index in range(1000):
        (tmp_path / f"a.{index}").touch()
    before = sorted(tmp_path.iterdir())
    tmp_path.chmod(0o300)  # entering is allowed, listing is not: an attempt would fail, but for root
    try:
        with open_scene(path) as source:
            whole(source)
    finally:
        tmp_path.chmod(0o700)
    assert sorted(tmp_path.iterdir()) == before


def test_the_settings_of_the_application_are_given_back(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", texture(90, 80))
    with rasterio.Env(GDAL_PAM_ENABLED="YES", GDAL_NUM_THREADS="2"), open_scene(path) as source:
        for _ in source.chunks(64, 16):
            assert rasterio.env.getenv()["GDAL_PAM_ENABLED"] == "YES"
            assert rasterio.env.getenv()["GDAL_NUM_THREADS"] == "2"


def test_a_closed_source_says_so_and_may_be_closed_again(tmp_path: Path) -> None:
    source = open_scene(write_raster(tmp_path / "a.tif", texture(90, 80)))
    source.close()
    source.close()
    with pytest.raises(ImageError, match="closed"):
        next(iter(source.chunks(64, 16)))


# ---------------------------------------------------------------- without the extra


@pytest.fixture
def no_rasterio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_files, "rasterio_or_none", lambda: None)


@pytest.mark.usefixtures("no_rasterio")
def test_without_rasterio_pictures_are_read_whole_by_pillow(tmp_path: Path) -> None:
    values = rgb(texture(70, 90))
    for name in ("a.png", "a.webp"):
        Image.fromarray(values).save(tmp_path / name, lossless=True)
        with open_scene(tmp_path / name, scene_id="named") as source:
            assert np.array_equal(whole(source)[0], values)
            assert (source.scene_id, source.geo, source.captured_at_s) == ("named", None, None)
        with open_scene(tmp_path / name, bands=(3, 2, 1), stretch=(0, 510)) as source:
            assert np.array_equal(whole(source)[0], np.rint(values[..., ::-1] / 2).astype(np.uint8))
    with pytest.raises(ImageError, match="over the limit"):
        open_scene(tmp_path / "a.png", limits=SceneLimits(whole_bytes=70 * 90 * 3 - 3))


@pytest.mark.usefixtures("no_rasterio")
def test_without_rasterio_the_extra_is_named(tmp_path: Path) -> None:
    for path in (
        write_raster(tmp_path / "a.tif", texture(9, 9)),
        write_raster(tmp_path / "b.png", texture(9, 9).astype(np.uint16), driver="PNG"),
    ):
        with pytest.raises(ImageError, match=r"orbitloop\[geo\]"):
            open_scene(path)


def test_importing_the_reader_does_not_import_rasterio() -> None:
    code = "import sys, orbitloop.onboard.adapters.scene_files; print('rasterio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


# ---------------------------------------------------------------- memory

_PEAK = """
import resource, sys
import rasterio
from orbitloop.onboard.adapters.scene_files import open_scene
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_scene(sys.argv[1]) as source:
    tiles = sum(len(chunk.windows) for chunk in source.chunks(416, 64))
print(tiles, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def peak_bytes(path: Path) -> tuple[int, int]:
    """Read a scene in a process of its own; return its tiles, and by how much its memory grew (Linux counts in KiB)."""
    done = subprocess.run([sys.executable, "-c", _PEAK, str(path)], capture_output=True, text=True, check=True, timeout=600)
    tiles, size = done.stdout.split()
    return int(tiles), int(size)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize(
    ("side", "tiled"),
    [
        (7000, True),
        (7000, False),
        *(pytest.param(side, tiled, marks=pytest.mark.slow) for side in (20_000, 40_000) for tiled in (True, False)),
    ],
)
def test_memory_does_not_grow_with_the_scene(tmp_path: Path, side: int, tiled: bool) -> None:
    path = tmp_path / "a.tif"
    rows = {"tiled": True, "blockxsize": 512, "blockysize": 512} if tiled else {"blockysize": 16}
    kind = {"compress": "deflate", "SPARSE_OK": True, "BIGTIFF": "YES", "dtype": "uint8", "count": 3}
    with (
        rasterio.Env(),
        rasterio.open(path, "w", "GTiff", side, side, crs="EPSG:3857", transform=from_origin(10, 20, 2, 2), **kind, **rows),
    ):
        pass
    tiles, grown = peak_bytes(path)
    assert tiles == len(range(0, side - 416, 352)) ** 2 + 2 * len(range(0, side - 416, 352)) + 1
    assert grown < 150e6


def test_a_bomb_of_strips_costs_no_more_memory_than_its_rows(tmp_path: Path) -> None:
    import zlib

    path = tmp_path / "bomb.tif"
    path.write_bytes(strip_tiff(20_000, 20_000, 64, zlib.compress(bytes(20_000 * 64), 9)))
    with open_scene(path) as source:
        chunks = source.chunks(416, 64)
        assert sum(next(chunks).pixels.nbytes for _ in range(3)) < 40e6


# ---------------------------------------------------------------- real scenes


@pytest.mark.data
def test_real_scenes_read_as_pillow_reads_them() -> None:
    jpegs = sorted((DATA / "aircraft_pleiades" / "images").glob("*.jpg"))[:1]
    pngs = sorted((DATA / "ships_sentinel2" / "images").glob("*.png"))[:1]
    if not (jpegs and pngs):
        pytest.skip("no scenes: set ORBITLOOP_DATA")
    for path, slack in ((jpegs[0], 0.5), (pngs[0], 0.0)):  # two JPEG decoders agree nearly, PNG has one answer
        reference = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")).astype(int)
        with open_scene(path) as source:
            assert np.abs(whole(source, 416, 64)[0] - reference).mean() <= slack
