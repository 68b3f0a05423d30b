"""Updates built outside of a mission: two model folders in, a signed bundle out; and what it takes to send one.

The change is coded as a mission codes it (`ground.release`), signed with the files of a TUF repository and the keys of those
who may sign, and written. A repository is a folder of TUF's files (`1.root.json`, `timestamp.json`, ...); keys are PEM files,
in any order, each counting where its role has it. What a satellite makes of the bundle is `apps.update_checks`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from orbitloop.apps.models import OpenModel, open_model
from orbitloop.apps.trust_files import open_folder, read_key
from orbitloop.delta.bounds import check_change
from orbitloop.delta.bundle import manifest_bytes, pack_bundle, target_path
from orbitloop.delta.choice import USUAL_BITS, USUAL_STEP
from orbitloop.delta.make import Compact
from orbitloop.errors import ImageError, StateError, TrustError, UpdateError
from orbitloop.ground.authority import TENANT_LIVES_S, Authority
from orbitloop.ground.ceremony import custody_of, sign_with, tenants_of
from orbitloop.ground.release import CodedUpdate, code_update, coded_update, make_manifest, pack_release
from orbitloop.ground.repository import Repository, accept, draft_release, publish
from orbitloop.ground.sealing import parse_seal_key, seal_for
from orbitloop.records.label import Boxes, LabelledImage
from orbitloop.records.pixels import decode_image
from orbitloop.records.update import UpdateManifest
from orbitloop.records.verdict import GateVerdict
from orbitloop.sim.checkpoint import write_whole
from orbitloop.trust.carried import pack_metadata
from orbitloop.trust.form import read_metadata
from orbitloop.trust.keys import MAX_FILE_BYTES, SigningKey

MAX_EVIDENCE_BYTES = 1 << 18
COARSEST_STEP = 32.0
DEV_SINCE_S = 1767225600.0
"""When an authority that follows from a word was founded: always then, so that its root is always the same."""
MAX_WORDS = 500
SLACK_BYTES = 32
"""By how much metadata and manifest may differ in size between two signings: digits, compression."""
MAX_PICTURES = 200
"""Of more, every second, third, ... is looked at."""
MAX_PICTURE_BYTES = 1 << 26
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
METADATA_BYTES = 1200
"""What an unsigned bundle will grow by when it is signed, about."""
FITTINGS = 7
"""How often a change is coded at most until it fits its budget."""


@dataclass(frozen=True, slots=True)
class Addressees:
    """Whom an update is for, and what is known of them from their beacons."""

    tenant: str
    satellites: tuple[str, ...]
    hardware: str
    contacts: Mapping[str, int] = field(default_factory=dict)
    root_held: int = 1
    targets_held: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The model that flies and the one that shall fly."""

    base: OpenModel
    new: OpenModel


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A bundle, what it says, and the repository as it is with it."""

    bundle: bytes
    manifest: UpdateManifest
    repository: Repository


def open_pair(base: Path, new: Path) -> Pair:
    """Open both model folders and see that an update can lead from one to the other.

    Raises:
        ModelError: one of them is not a model that loads.
        UpdateError: they are different networks.
    """
    pair = Pair(open_model(base), open_model(new))
    if pair.base.engine.metadata.form != pair.new.engine.metadata.form:
        forms = f"{pair.base.engine.metadata.form} and {pair.new.engine.metadata.form}"
        remedy = "orbitloop quantise turns a float32 model into the form that flies"
        raise UpdateError(f"the models are of two forms, {forms}", where=str(new), remedy=remedy)
    if pair.base.graph != pair.new.graph:
        remedy = "an update changes weights, never the graph: train from the model that flies"
        raise UpdateError("the models have different graphs", where=str(new), remedy=remedy)
    return pair


def read_pictures(folder: Path) -> list[LabelledImage]:
    """Read the pictures of a folder that a planner may look at, without labels, in the order of their names.

    Raises:
        ImageError: there is none, or one is damaged.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES) if folder.is_dir() else []
    if not files:
        raise ImageError(
            "there is no PNG, JPEG or WebP picture", where=str(folder), remedy="give scenes or tiles of the domains"
        )
    found = []
    for file in files[:: max(1, -(-len(files) // MAX_PICTURES))]:
        with file.open("rb") as stream:
            data = stream.read(MAX_PICTURE_BYTES + 1)
        if len(data) > MAX_PICTURE_BYTES:
            raise ImageError(f"over {MAX_PICTURE_BYTES} bytes", where=str(file), remedy="cut it into tiles")
        nothing = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int32))
        found.append(LabelledImage(file.stem, "", decode_image(data, where=str(file)), nothing))
    return found


def code_pair(
    pair: Pair,
    payload_bytes: int | None = None,
    *,
    step: float = USUAL_STEP,
    pictures: Sequence[LabelledImage] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> CodedUpdate:
    """Code the change; with a budget, as finely as fits; with pictures too, the most accurate update that fits.

    Args:
        pair: the two models.
        payload_bytes: most bytes that the payload may take.
        step: of the weights, without a budget the one that is taken, see `delta.choice.usual`.
        pictures: of the domains where the new model shall be good; see `sim.planning.plan_pair`.
        tell: told what fewer or more bytes would have bought.

    Raises:
        UpdateError: nothing that fits is left of the change, or a satellite would refuse it for how far a tensor moves.
    """
    check_change(pair.base.weights, pair.new.weights)
    if payload_bytes is not None and pictures:
        from orbitloop.sim.planning import plan_pair, told  # torch is loaded only where it is needed

        metadata = pair.base.engine.metadata
        fitted = plan_pair(metadata, pair.base.weights, pair.new.weights, pictures, payload_bytes)
        tell(told(fitted))
        coded = coded_update(pair.base.weights, fitted.plan.payload)
        check_change(pair.base.weights, coded.result)
        return coded
    coded = code_update(pair.base.weights, pair.new.weights, Compact(step, _bits(step)))
    if payload_bytes is not None and len(coded.payload) > payload_bytes:
        coded = _fitted(pair, payload_bytes, step)
    if coded.result_digest == coded.base_digest:
        raise UpdateError("there is nothing to send: the models are equal, or no change fits", remedy="raise --budget-bytes")
    return coded


def _fitted(pair: Pair, payload_bytes: int, step: float) -> CodedUpdate:
    """Look for the finest step whose payload fits, by halving the span between one that does not and one that does."""
    fine, coarse, best = math.log(step), math.log(COARSEST_STEP), None
    for _ in range(FITTINGS):
        at = coarse if best is None else (fine + coarse) / 2
        coded = code_update(pair.base.weights, pair.new.weights, Compact(math.exp(at), _bits(math.exp(at))))
        if len(coded.payload) <= payload_bytes:
            best, coarse = coded, at
        elif best is None:
            break
        else:
            fine = at
    if best is None:
        what = f"at its coarsest the change takes {len(coded.payload)} B, over the {payload_bytes} B that are left for it"
        raise UpdateError(what, remedy="raise --budget-bytes, or train fewer tensors")
    return best


def _bits(step: float) -> int:
    """Return the precision of vectors that goes with a step of matrices: coarser as those are."""
    return max(4, min(USUAL_BITS, round(USUAL_BITS - math.log2(max(1.0, step / USUAL_STEP)))))


def make_bundle(
    coded: CodedUpdate,
    to: Addressees,
    *,
    model: str,
    version: int,
    verdict: GateVerdict,
    repository: Repository,
    keys: Sequence[SigningKey] | None,
    now_s: float,
    seal_key: bytes | None = None,
) -> Built:
    """Sign an update and pack it; nothing is written. Without keys it is packed unsigned, for a ceremony to sign.

    Raises:
        TrustError: there is no such tenant, the keys are too few, or time went back.
    """
    seal = None
    if seal_key:
        seal = seal_for(seal_key, coded, version=version, model=model, tenant=to.tenant, hardware=to.hardware)
    manifest, payload = make_manifest(
        coded,
        version=version,
        model=model,
        satellites=to.satellites,
        verdict=verdict,
        canary=(),
        tenant=to.tenant,
        hardware=to.hardware,
        seal_with=seal,
    )
    if keys is None:
        unsigned = pack_bundle(pack_metadata({}), target_path(manifest), manifest_bytes(manifest), payload)
        return Built(unsigned, manifest, repository)
    tenants = tenants_of(repository.roles["targets"]) if "targets" in repository.roles else {}
    if to.tenant not in tenants:
        known = ", ".join(tenants) or "none"
        raise TrustError(f"the repository knows no tenant {to.tenant!r}", remedy=f"it knows {known}; add it by a ceremony")
    theirs = [key for key in keys if key.key_id in tenants[to.tenant].keys]
    online = [key for key in keys if key.key_id in custody_of(repository.root).online.keys]
    targets = {target_path(manifest): manifest_bytes(manifest)}
    draft = draft_release(repository, to.tenant, targets, now_s=now_s, expires_s=now_s + TENANT_LIVES_S)
    repository = accept(repository, sign_with(draft, theirs), to.tenant)
    repository = publish(repository, online, now_s=now_s, contacts=dict(to.contacts))
    bundle = pack_release(repository, manifest, payload, root_held=to.root_held, targets_held=to.targets_held)
    return Built(bundle, manifest, repository)


def build(
    pair: Pair,
    to: Addressees,
    budget_bytes: int | None,
    *,
    version: int,
    verdict: GateVerdict,
    repository: Repository,
    keys: Sequence[SigningKey] | None,
    now_s: float,
    seal_key: bytes | None = None,
    pictures: Sequence[LabelledImage] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[CodedUpdate, Built]:
    """Code a pair so that the whole bundle keeps to its budget, and sign it; nothing is written.

    Raises:
        UpdateError: see `code_pair`.
        TrustError: see `make_bundle`.
    """

    def signed(coded: CodedUpdate) -> Built:
        return make_bundle(
            coded,
            to,
            model=pair.base.engine.metadata.name,
            version=version,
            verdict=verdict,
            repository=repository,
            keys=keys,
            now_s=now_s,
            seal_key=seal_key,
        )

    coded = code_pair(pair)
    built = signed(coded)
    later = METADATA_BYTES if keys is None else 0
    if budget_bytes is not None and len(built.bundle) + later > budget_bytes:
        beside = len(built.bundle) - len(coded.payload) + SLACK_BYTES + later
        if beside >= budget_bytes:
            remedy = f"raise --budget-bytes to {beside} and what the change takes"
            raise UpdateError(
                f"metadata and manifest alone take {beside} B, over the budget of {budget_bytes} B", remedy=remedy
            )
        coded = code_pair(pair, budget_bytes - beside, pictures=pictures, tell=tell)
        built = signed(coded)
    return coded, built


def next_version(repository: Repository, tenant: str, model: str) -> int:
    """Return the version after the newest that the tenant has signed for a model, by its targets' paths."""
    held = repository.roles.get(tenant)
    start = target_path(UpdateManifest(0, model, "", "", "", 0, (), {}, tenant=tenant)).rpartition("/")[0] + "/"
    paths = read_metadata(held, tenant).signed.targets if held else {}
    numbers = [path.removeprefix(start).partition("-")[0] for path in paths if path.startswith(start)]
    return 1 + max((int(n) for n in numbers if n.isdecimal()), default=0)


def open_repository(folder: Path, seed: str, tenant: str) -> tuple[Repository, list[SigningKey]]:
    """Read a repository's folder; with a seed, an empty one is founded, and the keys that follow from the seed are returned.

    Raises:
        TrustError: a file is malformed, or there is no repository and no seed.
        StateError: the folder cannot be read.
    """
    repository = open_folder(folder)
    if not seed:
        if not repository.roots:
            remedy = "name the folder that the key ceremony made, or try with --dev-authority WORD"
            raise TrustError("holds no repository: there is no root", where=str(folder), remedy=remedy)
        return repository, []
    founded = Authority.from_seed(seed.encode(), (tenant,), DEV_SINCE_S)
    keys = [*founded.online, *founded.tenants[tenant]]
    if repository.roots and repository.roots[0] != founded.anchor:
        remedy = "give the word and tenant that it was founded with, or an empty folder"
        raise TrustError("the repository is of another authority", where=str(folder), remedy=remedy)
    return (repository if repository.roots else founded.repository), keys


def read_keys(files: Sequence[Path]) -> list[SigningKey]:
    """Read signing keys that have no passphrase; who holds one that has signs by `orbitloop trust sign`.

    Raises:
        TrustError: a file cannot be read, others may read it, or it is none.
    """
    return [read_key(file) for file in files]


def read_seal_key(file: Path) -> bytes:
    """Read an encryption key, 64 hexadecimal digits.

    Raises:
        UpdateError: the file cannot be read.
        TrustError: it is none.
    """
    return parse_seal_key(read_file(file, MAX_FILE_BYTES), str(file))


def read_file(path: Path, most_bytes: int) -> bytes:
    """Return a file's bytes.

    Raises:
        UpdateError: it cannot be read, or is larger than `most_bytes`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise UpdateError(f"cannot be read ({error.strerror})", where=str(path), remedy="name an existing file") from error
    if len(data) > most_bytes:
        raise UpdateError(f"larger than {most_bytes} bytes", where=str(path))
    return data


def write_file(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        StateError: it cannot be written.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise StateError(f"cannot be written ({error.strerror})", where=str(path), remedy="name another --out") from error


def vouched(words: str) -> GateVerdict:
    """Return what stands in for a gate's verdict where a person answers for an update."""
    return GateVerdict(True, (f"vouched for, not measured: {words[:MAX_WORDS]}",))


def read_verdict(file: Path) -> GateVerdict:
    """Read a gate's verdict: `{"passed": ..., "reasons": [...], "metrics": {...}}`, as it stands in a report's rounds.

    Raises:
        UpdateError: it is none, or says that the model may not fly.
    """
    data = read_file(file, MAX_EVIDENCE_BYTES)
    try:
        value = json.loads(data)
        verdict = GateVerdict(value["passed"] is True, tuple(str(r) for r in value["reasons"]), dict(value.get("metrics", {})))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        remedy = "take the `gate` of a round from a run's report.json"
        raise UpdateError(f"not a gate's verdict ({type(error).__name__})", where=str(file), remedy=remedy) from error
    if not verdict.passed:
        raise UpdateError(f"the gate is shut: {'; '.join(verdict.reasons)}", where=str(file), remedy="train on")
    return verdict
