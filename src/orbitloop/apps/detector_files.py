"""Model folders, scene files and results as the resident detector takes them: below a root, bounded, checked before use.

Nothing here needs the ground's packages; `apps.models` reads the same folders for the command line.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

import numpy as np

from orbitloop.errors import ModelError, OrbitloopError, StateError
from orbitloop.onboard.adapters.engines import open_engine
from orbitloop.onboard.engine import Engine
from orbitloop.onboard.resident import Loaded
from orbitloop.onboard.weights import MAX_WEIGHTS_BYTES, load_weights
from orbitloop.records.ids import digest_tensors
from orbitloop.records.model import GRAPH_FILE, WEIGHTS_FILE

MAX_GRAPH_BYTES = 64 << 20
RESULT_ENDING = ".geojson"


def inside(root: Path | None, name: str, option: str) -> Path:
    """Return the path that a client names below a root, links resolved.

    Raises:
        StateError: there is no root, nothing of that name, or it leads out of the root.
    """
    if root is None:
        raise StateError("the detector was started without a folder for this", where=name, remedy=f"start it with {option} DIR")
    try:
        base = root.resolve(strict=True)
        path = (base / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise StateError("there is nothing of this name", where=name, remedy=f"name something below {option}") from error
    if path == base or not path.is_relative_to(base):
        raise StateError("this leads out of the folder that may be used", where=name, remedy=f"name something below {option}")
    return path


def result_file(root: Path, name: str, option: str = "--results") -> Path:
    """Return where the results of a scene belong that a client has named: `name`.geojson below a root.

    The folder they lie in may not be there yet, and no link on the way may lead out of the root. What `name` itself leads to
    is not asked: a result is called what was asked for.

    Raises:
        StateError: the name is no text, or no plain path below a root, or it leads out of the root.
    """
    plain = PurePosixPath(name)
    remedy = f"name a scene below --scenes, without .. and from no other root, or start without {option}"
    try:
        base = root.resolve()
        target = (base / plain.parent).resolve() / f"{plain.name}{RESULT_ENDING}"
        str(target).encode()  # it stands in an answer
    except (OSError, ValueError, RuntimeError) as error:
        raise StateError("results cannot have this name", where=ascii(name), remedy=remedy) from error
    if plain.is_absolute() or ".." in plain.parts or not plain.name or not target.is_relative_to(base):
        raise StateError("results of this name would lie outside of their folder", where=name, remedy=remedy)
    return target


def load_folder(folder: Path, threads: int, engine: str = "onnxruntime", digest: str = "") -> Loaded:
    """Load a model's folder; return the engine and the weights' digest.

    Raises:
        ModelError: a file is absent, no regular file, malformed or too large, or the weights have another digest than `digest`.
    """
    graph = read_bounded(folder / GRAPH_FILE, MAX_GRAPH_BYTES)
    try:
        weights = load_weights(read_bounded(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES))
    except OrbitloopError as error:
        raise ModelError(error.what, where=str(folder / WEIGHTS_FILE)) from error
    found = digest_tensors(weights)
    if digest and found != digest:
        raise ModelError(f"the weights are {found}, not {digest}", where=str(folder), remedy="name the model that you mean")
    return open_engine(engine, graph, weights, threads=threads), found


def self_check(engine: Engine, folder: Path) -> None:
    """Run a new model on one picture, the same each time: a ramp of colours. Not finite, or no answer: it does not fly.

    Raises:
        ModelError: it fails.
    """
    side = engine.metadata.preprocessing.tile_px
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    tile = np.stack([np.broadcast_to(ramp, (side, side)), np.broadcast_to(ramp[:, None], (side, side))], axis=-1)
    picture = np.concatenate([tile, tile[..., :1][::-1]], axis=-1)[None]
    try:
        engine.infer(np.ascontiguousarray(picture))
    except ModelError as error:
        raise ModelError(f"the model fails its self-check: {error.what}", where=str(folder), remedy=error.remedy) from error


def read_bounded(file: Path, limit: int) -> bytes:
    """Return a regular file's bytes, at most `limit`.

    Raises:
        ModelError: it cannot be read, is something else, or longer.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would block
        with os.fdopen(handle, "rb") as stream:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise ModelError(f"{file.name} is no regular file", where=str(file.parent))
            if about.st_size > limit:
                raise ModelError(f"{file.name} is over the limit of {limit} bytes", where=str(file.parent))
            return stream.read(about.st_size)  # the limit alone would be allocated
    except OSError as error:
        raise ModelError(
            f"no model here: {file.name} cannot be read ({error.strerror})",
            where=str(file.parent),
            remedy="name a folder that `orbitloop train` or `orbitloop run` wrote",
        ) from error
