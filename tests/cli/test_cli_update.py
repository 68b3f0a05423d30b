"""An update by hand: build, inspect, verify, apply to a folder and to a flash; and what is refused, with its exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from orbitloop.apps import update_checks, updates
from orbitloop.apps.models import open_model, store_model
from orbitloop.apps.trust_files import save_folder, write_key
from orbitloop.cli.main import app
from orbitloop.errors import UpdateError
from orbitloop.ground.authority import Authority
from orbitloop.ground.export import write_graph
from orbitloop.ground.topology import layers
from orbitloop.onboard.adapters.files import FileFlash
from orbitloop.onboard.slots import SlotStore
from orbitloop.records.model import ModelMetadata, Preprocessing

DEMO = Path(__file__).parents[2] / "missions" / "farmland-demo.yaml"
SEAL = "5e" * 32
MOVED = ("conv14.weight", "conv15.bias", "bn14.weight")
Tensors = dict[str, npt.NDArray[Any]]


def invoke(*words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


def one_object(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


def network() -> tuple[bytes, Tensors]:
    anchors = (((50.0, 60.0),) * 3, ((10.0, 12.0),) * 3)
    about = ModelMetadata("fields", ("field",), 0.05, (32, 16), anchors, Preprocessing(64, 16))
    rng = np.random.default_rng(0)
    weights = {}
    for layer in layers(0.05, 1):
        for name in layer.tensors:
            kernel = (layer.out_channels, layer.in_channels, layer.kernel, layer.kernel)
            shape = kernel if name == f"{layer.conv}.weight" else (layer.out_channels,)
            weights[name] = rng.uniform(0.1, 0.2, shape).astype(np.float32)
    return write_graph(about, weights), weights


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `flying`, `new` (three tensors trained further) and `later` (and further), and an update to the second."""
    folder = tmp_path_factory.mktemp("made")
    graph, weights = network()
    rng = np.random.default_rng(1)
    for name in ("flying", "new", "later"):
        store_model(folder / name, graph, weights)
        moved = {n: weights[n] + rng.normal(0, 0.01, weights[n].shape).astype(np.float32) for n in MOVED}
        weights = weights | moved
    assert build(folder).exit_code == 0
    return folder


@pytest.fixture
def models(made: Path, tmp_path: Path) -> Path:
    """The models alone, in a folder of the test's own."""
    for name in ("flying", "new", "later"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def build(models: Path, *more: str | Path, base: str = "flying", new: str = "new", out: str = "update.bundle") -> Any:
    words = ("--satellite", "sat-1", "--repository", models / "trust", "--dev-authority", "try", "--vouch", "a test")
    return invoke("update", "build", models / base, models / new, "-o", models / out, *words, *more)


def verify(models: Path, *more: str | Path, bundle: str = "update.bundle", base: str = "flying") -> Any:
    root = ("--root", models / "trust" / "1.root.json", "--base", models / base)
    return invoke("update", "verify", models / bundle, *root, *more)


def test_from_two_models_to_a_third_that_is_to_the_bit_what_was_signed_for(models: Path) -> None:
    built = one_object(build(models, "--rate", "8000", "--pass-seconds", "5", "--json"))
    size = (models / "update.bundle").stat().st_size
    assert (built["version"], built["bytes"], built["seconds"]) == (1, size, size / 1000)
    assert built["passes"] == -(-size // 5000)
    assert sum(built["bytes_by_kind"].values()) == pytest.approx(built["payload_bytes"], abs=30)
    assert {"weights", "batch-norm"} <= set(built["bytes_by_kind"])
    seen = one_object(invoke("update", "inspect", models / "update.bundle", "--base", models / "flying", "--json"))
    assert (seen["result"], len(seen["signed_by"])) == (built["result"], 2)
    assert seen["bytes_by_kind"] == built["bytes_by_kind"]
    checks = one_object(verify(models, "--satellite", "sat-1", "--json"))["checks"]
    assert [c["check"] for c in checks][-1] == "on-board code"
    assert {c["check"]: c["passed"] for c in checks if c["passed"] is not True} == {"seal": None}
    root = ("--root", models / "trust" / "1.root.json")
    made = one_object(
        invoke("update", "apply", models / "update.bundle", "--base", models / "flying", *root, "-o", models / "got", "--json")
    )
    assert (made["digest"], made["verified"]) == (built["result"], True)
    assert open_model(models / "got").digest == built["result"]


def test_people_are_told_the_same_in_words(models: Path) -> None:
    built = build(models, "--mission", DEMO)
    assert built.exit_code == 0, built.stderr
    assert "update 1 for sat-1" in built.stdout
    assert "of its passes, by 2026-" in built.stdout
    assert "1 pass" in invoke("update", "inspect", models / "update.bundle", "--pass-seconds", "600").stdout
    verified = verify(models)
    assert "a satellite takes it" in verified.stdout
    assert "vouched for, not measured: a test" in verified.stdout
    applied = invoke("update", "apply", models / "update.bundle", "--base", models / "flying", "-o", models / "got")
    assert applied.exit_code == 0
    assert "no signature was checked" in applied.stderr


def test_a_second_update_follows_the_first_under_the_next_version_on_a_flash(models: Path) -> None:
    first = one_object(build(models, "--json"))
    root = ("--root", models / "trust" / "1.root.json", "--flash", models / "flash", "--confirm", "--json")
    flown = one_object(invoke("update", "apply", models / "update.bundle", "--base", models / "flying", *root))
    assert [r["outcome"] for r in flown["reports"]] == ["accepted", "confirmed"]
    assert flown["digest"] == first["result"]
    again = invoke("update", "apply", models / "update.bundle", "--base", models / "flying", *root)
    assert again.exit_code == 15, "exactly once"
    assert json.loads(again.stdout)["reports"][-1]["outcome"] == "refused"
    got = ("update", "apply", models / "update.bundle", "--base", models / "flying", "-o", models / "held")
    assert invoke(*got).exit_code == 0
    second = one_object(build(models, "--json", base="held", new="later", out="second.bundle"))
    assert second["version"] == 2
    flown = one_object(invoke("update", "apply", models / "second.bundle", "--base", models / "flying", *root))
    assert flown["digest"] == second["result"]
    assert SlotStore(FileFlash.on(models / "flash")).active().version == 2


def test_with_keys_of_a_ceremony_too_few_are_too_few(models: Path) -> None:
    ours = Authority.from_seed(b"ours", ("farm",), updates.DEV_SINCE_S)
    save_folder(models / "trust", ours.repository)
    for name, key in {"farm-1": ours.tenants["farm"][0], "farm-2": ours.tenants["farm"][1], "online": ours.online[0]}.items():
        write_key(models / f"{name}.pem", key)

    def signed(*names: str) -> Any:
        keys = [word for name in names for word in ("--key", models / f"{name}.pem")]
        words = ("--satellite", "sat-1", "--hardware", "jetson", "--tenant", "farm", "--repository", models / "trust")
        out = models / "update.bundle"
        return invoke("update", "build", models / "flying", models / "new", "-o", out, *words, "--vouch", "x", *keys)

    before = {path.name: path.read_bytes() for path in (models / "trust").iterdir()}
    for names in (("farm-1", "online"), ("farm-1", "farm-2"), ("farm-1", "farm-1", "online")):
        result = signed(*names)
        assert result.exit_code == 16
        assert "needed signatures" in result.stderr
        assert not (models / "update.bundle").exists()
    assert {path.name: path.read_bytes() for path in (models / "trust").iterdir()} == before
    assert signed("farm-1", "farm-2", "online").exit_code == 0
    assert verify(models, "--hardware", "jetson", "--tenant", "farm").exit_code == 0
    for words, code in ((("--hardware", "pi"), 15), (("--satellite", "sat-9"), 15), (("--held-version", "1"), 15)):
        refused = verify(models, *words)
        assert (refused.exit_code, "a satellite refuses it" in refused.stdout) == (code, True)
    assert verify(models, "--tenant", "ships").exit_code == 16


def test_without_keys_a_bundle_is_built_that_a_ceremony_signs(models: Path) -> None:
    ours = Authority.from_seed(b"ours", ("farm",), updates.DEV_SINCE_S)
    save_folder(models / "trust", ours.repository)
    for name, key in {"farm-1": ours.tenants["farm"][0], "farm-2": ours.tenants["farm"][1], "online": ours.online[0]}.items():
        write_key(models / name, key)
    words = ("--unsigned", "--satellite", "sat-1", "--tenant", "farm", "--vouch", "x", "--json")
    command = ("update", "build", models / "flying", models / "new", "-o", models / "draft.bundle", *words)
    alone = one_object(invoke(*command, "--version", "4"))
    assert (alone["version"], alone["signed"]) == (4, False)
    built = one_object(invoke(*command, "--repository", models / "trust"))
    assert built["version"] == 1
    assert verify(models, bundle="draft.bundle").exit_code == 16
    assert "by nobody" in invoke("update", "inspect", models / "draft.bundle").stdout
    trust, draft, farm = models / "trust", models / "draft.bundle", models / "farm.json"
    for step in (
        ("release", trust, draft, "--out", farm),
        ("sign", farm, "--key", models / "farm-1"),
        ("sign", farm, "--key", models / "farm-2"),
        ("accept", trust, farm),
        ("publish", trust, "--key", models / "online"),
        ("pack", trust, "--update", draft, "--out", models / "update.bundle"),
    ):
        assert invoke("trust", *step).exit_code == 0, step
    assert verify(models, "--tenant", "farm", "--satellite", "sat-1").exit_code == 0


def test_a_sealed_update_opens_for_who_holds_the_key_only(models: Path) -> None:
    (models / "seal").write_text(SEAL + "\n")
    (models / "other").write_text("00" * 32)
    (models / "bad").write_text("not hex")
    built = one_object(build(models, "--seal-key", models / "seal", "--json"))
    assert built["sealed"]
    assert "(sealed)" in invoke("update", "inspect", models / "update.bundle", "--base", models / "flying").stdout
    assert verify(models).exit_code == 16
    assert verify(models, "--seal-key", models / "other").exit_code == 16
    assert verify(models, "--seal-key", models / "bad").exit_code == 16
    assert verify(models, "--seal-key", models / "seal").exit_code == 0
    again = one_object(build(models, "--seal-key", models / "seal", "--version", "1", "--json", out="again.bundle"))
    assert again["result"] == built["result"]


def test_a_budget_is_kept_and_what_cannot_fit_is_refused(models: Path) -> None:
    free = one_object(build(models, "--json"))
    tight = one_object(build(models, "--budget-bytes", str(free["bytes"] - 400), "--json"))
    assert free["bytes"] - 900 < tight["bytes"] <= free["bytes"] - 400
    assert verify(models).exit_code == 0
    refused = build(models, "--budget-bytes", "300")
    assert (refused.exit_code, "metadata and manifest alone" in refused.stderr) == (15, True)
    beside = int(refused.stderr.split("alone take ")[1].split()[0])
    refused = build(models, "--budget-bytes", str(beside + 20))
    assert (refused.exit_code, "at its coarsest" in refused.stderr) == (15, True)


def test_with_pictures_the_most_accurate_update_that_fits_is_planned(models: Path) -> None:
    scenes = models / "scenes"
    scenes.mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (300, 400, 3)).astype(np.uint8)).save(scenes / f"{number}.png")
    most = one_object(build(models, "--json"))["bytes"] - 400
    value = one_object(build(models, "--budget-bytes", str(most), "--pictures", scenes, "--json"))
    assert value["bytes"] <= most
    assert "of what training changed" in value["planned"]
    result = build(models, "--budget-bytes", str(most), "--pictures", models, out="other.bundle")
    assert result.exit_code != 0
    assert "no PNG, JPEG or WebP picture" in result.stderr


def test_a_payload_alone_is_built_and_applied(models: Path) -> None:
    out = models / "change.payload"
    words = ("update", "build", models / "flying", models / "new", "-o", out, "--payload-only")
    built = one_object(invoke(*words, "--budget-bytes", "900", "--json"))
    assert out.stat().st_size == built["bytes"] <= 900
    applied = ("update", "apply", out, "--base", models / "flying", "-o", models / "got", "--payload-only", "--json")
    assert one_object(invoke(*applied))["digest"] == built["result"]
    assert invoke("update", "apply", out, "--base", models / "flying", "-o", models / "g2").exit_code == 15


def test_models_that_no_update_joins(models: Path) -> None:
    graph, weights = network()
    other = ModelMetadata("ships", ("ship",), 0.05, (32, 16), (((5.0, 6.0),) * 3,) * 2, Preprocessing(64, 16))
    store_model(models / "other", write_graph(other, weights), weights)
    wild = {n: a * np.float32(100) for n, a in weights.items()}
    store_model(models / "wild", graph, wild)
    for new, words in (("other", "different graphs"), ("wild", "over the limit"), ("flying", "nothing to send")):
        refused = build(models, new=new)
        assert refused.exit_code == 15, new
        assert words in refused.stderr
    assert build(models, new="absent").exit_code == 13
    assert not (models / "trust").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("build", "a", "b", "-o", "c"),
        ("build", "a", "b", "-o", "c", "--satellite", "s", "--repository", "r", "--vouch", "x"),
        ("apply", "a", "--base", "b"),
        ("apply", "a", "--base", "b", "-o", "c", "--flash", "d"),
        ("apply", "a", "--base", "b", "--flash", "d"),
    ],
)
def test_half_a_command_line_is_told_what_it_lacks(words: tuple[str, ...]) -> None:
    result = invoke("update", *words)
    assert result.exit_code == 2
    assert "Invalid value" in result.stderr


def test_evidence_is_a_verdict_that_passed(models: Path) -> None:
    words = ("--satellite", "s", "--repository", models / "trust", "--dev-authority", "try")
    command = ("update", "build", models / "flying", models / "new", "-o", models / "u", *words, "--gate", models / "gate.json")
    for text, code in (
        ("{", 15),
        ("[]", 15),
        ('{"passed": false, "reasons": ["lost"], "metrics": {}}', 15),
        ('{"passed": 1, "reasons": []}', 15),
        ('{"passed": true, "reasons": ["new domains: +3"], "metrics": {}}', 0),
    ):
        (models / "gate.json").write_text(text)
        assert invoke(*command).exit_code == code, text


def test_another_authoritys_repository_is_not_written_to(models: Path) -> None:
    assert build(models).exit_code == 0
    refused = build(models, "--dev-authority", "other")
    assert refused.exit_code == 16
    assert "another authority" in refused.stderr
    (models / "trust" / "timestamp.json").write_text("{}")
    assert build(models).exit_code == 16
    assert invoke("update", "build", models / "flying", models / "new", "-o", models / "u", "--satellite", "s", "--repository",
                  models / "none", "--key", models / "k", "--vouch", "x").exit_code == 16  # fmt: skip


def test_every_byte_that_is_turned_is_refused_and_no_folder_appears(made: Path, tmp_path: Path) -> None:
    data = (made / "update.bundle").read_bytes()
    board = update_checks.Board(open_model(made / "flying"), (made / "trust" / "1.root.json").read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 60):
        turned = bytearray(data)
        turned[place] ^= 1 << int(rng.integers(8))
        found = update_checks.examine(bytes(turned), board, 1.8e9)
        assert isinstance(found.error, UpdateError)
        assert found.weights is None
        assert [c.passed for c in found.checks][-1] is False
    (tmp_path / "turned").write_bytes(bytes(turned))
    words = ("update", "apply", tmp_path / "turned", "--base", made / "flying", "-o", tmp_path / "got")
    assert invoke(*words).exit_code in (15, 16)
    assert not (tmp_path / "got").exists()
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "notes.txt").write_text("mine")
    words = ("update", "apply", made / "update.bundle", "--base", made / "flying", "-o", tmp_path / "got")
    assert invoke(*words).exit_code == 23


def test_the_list_of_checks_and_the_code_that_flies_agree(made: Path) -> None:
    """What the list lets pass, the on-board code takes; it is asked last, and must have nothing to add."""
    base, root = open_model(made / "flying"), (made / "trust" / "1.root.json").read_bytes()
    data, later = (made / "update.bundle").read_bytes(), open_model(made / "later")
    boards = [
        update_checks.Board(base, root),
        update_checks.Board(base, root, satellite="sat-1", tenant="mission", hardware="simulated", contacts=200),
        update_checks.Board(base, root, satellite="sat-1", contacts=301),
        update_checks.Board(base, root, satellite="sat-2"),
        update_checks.Board(base, root, tenant="ships"),
        update_checks.Board(base, root, hardware="pi"),
        update_checks.Board(base, root, version=1),
        update_checks.Board(later, root),
        update_checks.Board(base, Authority.from_seed(b"stranger", ("mission",), 0.0).anchor),
    ]
    taken = []
    for board in boards:
        found = update_checks.examine(data, board, 1.8e9)
        assert found.error is None or found.checks[-1].name != "on-board code"
        taken.append(found.error is None)
    assert taken == [True, True, *[False] * 7]
