"""The trust commands: what they refuse, what they never show, and that keys are kept."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orbitloop.apps.trust_files import open_folder, read_key, save_folder
from orbitloop.cli.main import app
from orbitloop.errors import TrustError
from orbitloop.trust.keys import generate_key, load_signing_key, save_signing_key


def run(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["trust", *map(str, words)])


def ok(*words: str | Path) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, (words, result.output)
    assert "PRIVATE" not in result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def line(words: str) -> dict[str, Any]:
    return ok(*words.split())


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with keys and a repository that is published once."""
    monkeypatch.chdir(tmp_path)
    for name in ("r1", "r2", "r3", "t1", "t2", "on", "on2", "f1", "f2", "x"):
        ok("key", "new", name)
    line("root draft --root r1.pub --root r2.pub --root r3.pub --targets t1.pub --targets t2.pub --online on.pub -o root")
    for key in ("r1", "r2"):
        ok("sign", "root", "--key", key)
    ok("accept", "repo", "root")
    line("tenant add repo farm --key f1.pub --key f2.pub --out targets")
    for key in ("t1", "t2"):
        ok("sign", "targets", "--key", key)
    ok("accept", "repo", "targets")
    ok("publish", "repo", "--key", "on", "--contacts", "sat-1=3")
    return tmp_path


def test_a_private_key_is_its_owners_alone_and_never_overwritten(at: Path) -> None:
    assert stat.S_IMODE((at / "r1").stat().st_mode) == 0o600
    before = (at / "r1").read_bytes()
    assert run("key", "new", "r1").exit_code == 16
    assert (at / "r1").read_bytes() == before
    (at / "r1").chmod(0o644)
    result = run("sign", "root", "--key", "r1")
    assert (result.exit_code, "chmod 600" in result.output) == (16, True)


def test_an_encrypted_key_wants_its_passphrase(at: Path) -> None:
    (at / "words").write_text("correct horse\n")
    (at / "wrong").write_text("battery staple\n")
    (at / "empty").write_text("\n")
    assert ok("key", "new", "secret", "--passphrase", "words")["encrypted"] is True
    assert b"ENCRYPTED" in (at / "secret").read_bytes()
    for given in ([], ["--passphrase", "wrong"], ["--passphrase", "empty"], ["--passphrase", "nowhere"]):
        assert run("sign", "root", "--key", "secret", *given).exit_code == 16
    assert len(ok("sign", "root", "--key", "secret", "--passphrase", "words")["signed_by"]) == 3
    assert read_key(at / "secret", b"correct horse").key_id == ok("key", "show", "secret.pub")["secret.pub"][0]


def test_encrypted_and_plain_keys_come_back(at: Path) -> None:
    key = generate_key(bytes(range(32)))
    assert load_signing_key(save_signing_key(key), b"not needed") == key
    assert load_signing_key(save_signing_key(key, b"x"), b"x") == key
    for passphrase in (b"", b"y"):
        with pytest.raises(TrustError):
            load_signing_key(save_signing_key(key, b"x"), passphrase)


def test_too_few_signatures_and_strangers_are_told_and_not_accepted(at: Path) -> None:
    line("root rotate repo --online on2.pub --out root-2")
    ok("sign", "root-2", "--key", "x")
    ok("sign", "root-2", "--key", "r3")
    result = run("check", "root-2", "--in", "repo", "--json")
    assert (result.exit_code, json.loads(result.stdout)["enough"]) == (1, False)
    assert run("accept", "repo", "root-2").exit_code == 16
    assert not (at / "repo" / "2.root.json").exists()
    ok("sign", "root-2", "--key", "r1")
    assert ok("check", "root-2", "--in", "repo")["enough"] is True
    assert ok("accept", "repo", "root-2")["written"] == ["2.root.json"]
    assert run("publish", "repo", "--key", "on").exit_code == 16, "the old online key signs nothing more"
    assert set(ok("publish", "repo", "--key", "on2")["written"]) == {"2.snapshot.json", "timestamp.json"}
    assert all(len(row["signed"]) >= row["threshold"] for row in ok("show", "repo")["roles"] if row["role"] != "farm")


def test_new_targets_keys_must_have_signed_before_anything_is_published(at: Path) -> None:
    line("root rotate repo --targets t1.pub --targets x.pub --out root-2")
    for key in ("r1", "r2"):
        ok("sign", "root-2", "--key", key)
    ok("accept", "repo", "root-2")
    assert run("publish", "repo", "--key", "on").exit_code == 16
    line("tenant add repo farm --key f1.pub --key f2.pub --out targets-2")
    for key in ("t1", "x"):
        ok("sign", "targets-2", "--key", key)
    assert ok("accept", "repo", "targets-2")["written"] == ["2.targets.json"]
    ok("publish", "repo", "--key", "on")


@pytest.mark.parametrize(
    "words",
    [
        "root draft --root r1.pub --targets t1.pub --out o",
        "root draft --root r1.pub --targets t1.pub --online r1.pub --out o",
        "root draft --root r1 --targets t1.pub --online on.pub --out o",
        "root draft --root r1.pub --root-threshold 2 --targets t1.pub --online on.pub --out o",
        "root rotate nowhere --out o",
        "tenant add repo Farm --key f1.pub --out o",
        "tenant add repo ships --key f1.pub --out o",
        "tenant add repo ships --key root --out o",
        "tenant revoke repo ships --out o",
        "sign targets --key r1.pub",
        "sign r1.pub --key r1",
        "sign nowhere --key r1",
        "accept repo repo/timestamp.json",
        "accept repo root",
        "publish repo --key f1",
        "pack nowhere --out o",
        "show nowhere",
        "release nowhere root --out o",
        "key show root",
    ],
)
def test_what_does_not_go_is_refused_and_the_repository_stays(at: Path, words: str) -> None:
    before = {p.name: p.read_bytes() for p in (at / "repo").iterdir()}
    result = run(*words.split())
    assert result.exit_code == 16, result.output
    assert "error: " in result.output
    assert {p.name: p.read_bytes() for p in (at / "repo").iterdir()} == before
    assert not (at / "o").exists()


def test_contacts_that_are_no_counts_are_a_wrong_command_line(at: Path) -> None:
    assert run("publish", "repo", "--key", "on", "--contacts", "sat-1").exit_code == 2
    assert run("release", "repo", "root", "--out", "o").exit_code == 15


def test_people_are_shown_who_may_sign_what(at: Path) -> None:
    shown = run("show", "repo").output
    assert "2 of 3" in shown
    assert "not signed yet" in shown, "farm has released nothing"
    assert "farm" in run("tenant", "list", "repo").output
    assert json.loads(run("show", "root").stdout)["signed"]["version"] == 1
    assert save_folder(at / "repo", open_folder(at / "repo")) == []
