"""Ceremonies on carried files, and the repository that takes in only what a satellite would."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
from tuf_world import (
    CUSTODY,
    FARM,
    NEW_ONLINE,
    NEW_ROOT,
    NOW_S,
    ONLINE,
    ROOT,
    SHIPS,
    STRANGERS,
    TARGETS,
    TENANTS,
    YEAR_S,
    World,
    trusted,
)

from orbitloop.errors import TrustError
from orbitloop.ground.ceremony import (
    Custody,
    add_signature,
    add_tenant,
    custody_of,
    draft_root,
    draft_targets,
    revoke_tenant,
    rotate_root,
    sign_with,
    signed_by,
    tenants_of,
)
from orbitloop.ground.repository import Repository, accept, carried, draft_release, from_files, publish

WHEN = {"now_s": NOW_S, "expires_s": NOW_S + YEAR_S}


def test_signatures_gather_in_any_order_and_twice_is_once():
    draft = draft_root(CUSTODY, **WHEN)
    one = add_signature(draft, ROOT[0])
    assert signed_by(one, one, "root").names == (ROOT[0].key_id,)
    assert not signed_by(one, one, "root").enough
    assert add_signature(one, ROOT[0]) == one
    both = add_signature(one, ROOT[2])
    assert both == add_signature(add_signature(draft, ROOT[2]), ROOT[0])
    state = signed_by(both, both, "root")
    assert (state.enough, state.missing, state.threshold) == (True, (ROOT[1].key_id,), 2)
    assert signed_by(add_signature(draft, STRANGERS[0]), draft, "root").names == ()


def test_who_holds_what_can_be_read_back():
    assert custody_of(draft_root(CUSTODY, **WHEN)) == CUSTODY
    assert tenants_of(draft_targets(TENANTS, **WHEN)) == TENANTS


def test_an_online_key_must_not_be_an_offline_one():
    with pytest.raises(TrustError, match="offline and online"):
        draft_root(Custody(trusted(ROOT, 2), trusted(TARGETS, 2), trusted([*ONLINE, ROOT[0]], 1)), **WHEN)


@pytest.mark.parametrize(
    "name", ["", "root", "targets", "snapshot", "timestamp", "A", "a/b", "*", "a.json", "..", "a" * 33, "-a"]
)
def test_not_everything_is_a_tenants_name(name):
    with pytest.raises(TrustError, match="not a tenant"):
        draft_targets({name: TENANTS["farm"]}, **WHEN)


def test_tenants_do_not_share_keys():
    with pytest.raises(TrustError, match="shares a key"):
        draft_targets({"farm": trusted(FARM, 2), "ships": trusted([*SHIPS, FARM[2]], 1)}, **WHEN)


def test_root_is_taken_only_with_enough_signatures_and_in_order():
    draft = draft_root(CUSTODY, **WHEN)
    with pytest.raises(TrustError, match="1 of 2"):
        accept(Repository(), add_signature(draft, ROOT[0]), "root")
    repository = accept(Repository(), sign_with(draft, ROOT[:2]), "root")
    new = rotate_root(repository.root, Custody(trusted(NEW_ROOT, 2), CUSTODY.targets, trusted(NEW_ONLINE, 1)), **WHEN)
    for by in (ROOT[:2], NEW_ROOT, []):
        with pytest.raises(TrustError, match="needed signatures"):
            accept(repository, sign_with(new, by), "root")
    with pytest.raises(TrustError, match="not version 2"):
        accept(repository, repository.root, "root")
    assert len(accept(repository, sign_with(new, [*ROOT[1:], *NEW_ROOT[:2]]), "root").roots) == 2


def test_targets_and_tenants_are_held_to_their_delegators():
    world = World()
    for role, by in (("farm", SHIPS), ("farm", FARM[:1]), ("ships", FARM)):
        draft = draft_release(world.repository, role, {f"{role}/m/1": b"x"}, **WHEN)
        with pytest.raises(TrustError, match="needed signatures"):
            accept(world.repository, sign_with(draft, by), role)
    with pytest.raises(TrustError):
        accept(world.repository, world.repository.root, "targets")
    with pytest.raises(TrustError):
        accept(world.repository, world.repository.roles["targets"], "mallory")
    with pytest.raises(TrustError, match="does not follow"):
        accept(world.repository, world.repository.roles["targets"], "targets")
    with pytest.raises(TrustError, match="has no root"):
        accept(Repository(), world.repository.roles["targets"], "targets")


@pytest.mark.parametrize("path", ["ships/m/1", "farm/1", "farm/m/n/1", "/farm/m", "farm"])
def test_a_tenant_releases_under_its_own_path_only(path):
    with pytest.raises(TrustError, match="not a path of farm"):
        draft_release(World().repository, "farm", {path: b"x"}, **WHEN)


def test_a_tenants_metadata_names_the_newest_few():
    world = World()
    for number in range(1, 13):
        world.release(f"farm/fields/{number}-a")
    row = world.repository.roles["farm"]
    assert [n for n in range(1, 13) if f"/{n}-a".encode() in row] == [8, 9, 10, 11, 12]


def test_time_must_not_go_back_on_the_ground_either():
    world = World()
    world.release()
    with pytest.raises(TrustError, match="time went back"):
        publish(world.repository, ONLINE, now_s=NOW_S)


def test_only_the_roots_online_keys_publish():
    world = World()
    for by in (STRANGERS, ROOT, []):
        with pytest.raises(TrustError, match="0 of 1"):
            publish(world.repository, by, now_s=world.now_s)


def test_a_snapshot_is_made_only_when_something_changed():
    world = World()
    world.release()
    before = world.repository
    world.publish()
    assert world.repository.versions["snapshot"] == before.versions["snapshot"]
    assert world.repository.versions["timestamp"] == before.versions["timestamp"] + 1


def test_the_repository_is_a_folder_of_files():
    world = World()
    world.release()
    draft = revoke_tenant(world.repository.roles["targets"], "farm", **WHEN)
    world.targets(draft, TARGETS[:2])
    world.root(rotate_root(world.anchor, CUSTODY, **WHEN), ROOT[:2])
    world.publish(None)
    again = from_files(world.repository.files())
    assert again == world.repository
    assert "farm" not in again.roles
    assert again.versions["farm"] == 1, "a revoked tenant's version stays in the snapshot"


def test_a_tenant_that_comes_back_goes_on_counting():
    world = World()
    world.release()
    for draft in (revoke_tenant, add_tenant):
        about = (TENANTS["farm"],) if draft is add_tenant else ()
        world.targets(draft(world.repository.roles["targets"], "farm", *about, **WHEN), TARGETS[:2])
    files = world.release("farm/fields/2-b")
    assert "2.farm.json" in files


def test_only_what_a_satellite_lacks_is_carried():
    world = World()
    world.release()
    world.root(rotate_root(world.anchor, CUSTODY, **WHEN), ROOT[:2])
    world.release("farm/fields/2-b")
    assert set(carried(world.repository, "farm", root_held=1)) == {
        "2.root.json",
        "timestamp.json",
        "2.snapshot.json",
        "1.targets.json",
        "2.farm.json",
    }
    assert set(carried(world.repository, None, root_held=2, targets_held=1)) == {"timestamp.json", "2.snapshot.json"}
    with pytest.raises(TrustError, match="has not been signed"):
        carried(world.repository, "ships")
    with pytest.raises(TrustError, match="no tenant"):
        revoke_tenant(world.repository.roles["targets"], "mallory", **WHEN)


@pytest.mark.parametrize("files", [{"x.root.json": b""}, {"1.root.json": b"{}"}, {"1.targets.json": b"null"}])
def test_a_folder_of_something_else_is_refused(files):
    with pytest.raises(TrustError):
        from_files(files)
