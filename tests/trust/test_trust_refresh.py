"""What a satellite comes to believe, and the attacks on it: each is refused with its reason, and what is believed stays."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import tuf
from hypothesis import given, settings
from hypothesis import strategies as st
from tuf_world import (
    CUSTODY,
    DAY_S,
    FARM,
    NEW_ONLINE,
    NEW_ROOT,
    NOW_S,
    ONLINE,
    ROOT,
    SHIPS,
    STRANGERS,
    TARGETS,
    YEAR_S,
    World,
    trusted,
)

from orbitloop.errors import TrustError
from orbitloop.ground.ceremony import (
    Custody,
    add_tenant,
    draft_targets,
    revoke_tenant,
    rotate_root,
    sign_with,
)
from orbitloop.ground.repository import Lifetimes
from orbitloop.trust.form import CONTACTS, MAX_METADATA_BYTES, SIGNED_AT
from orbitloop.trust.keys import key_id
from orbitloop.trust.refresh import Believed, Files, Policy, Refresh, Verified, refresh, verify_target

PATH, MANIFEST = "farm/fields/1-a", b"manifest 1"
Carried = dict[str, bytes]


def take(believed: Believed, files: Carried, path: str = PATH, content: bytes = MANIFEST, **about) -> Verified:
    about = {"tenant": "farm", "satellite": "sat-1"} | about
    return verify_target(believed, Files(files), path, content, **about)


def refused(believed: Believed, files: Carried, why: str, path: str = PATH, content: bytes = MANIFEST, **about) -> None:
    before = (dict(believed.roles), believed.contacts)
    with pytest.raises(TrustError, match=why):
        take(believed, files, path, content, **about)
    assert (dict(believed.roles), believed.contacts) == before


def forge(data: bytes, by, change: Callable[[dict], None]) -> bytes:
    """Change the signed part of metadata and sign it again."""
    value = json.loads(data)
    change(value["signed"])
    value["signatures"] = []
    return sign_with(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), by)


def named(files: Carried, role: str) -> str:
    return next(name for name in files if name.endswith(f"{role}.json"))


@pytest.fixture
def world() -> World:
    return World()


def started(world: World) -> tuple[Believed, Carried]:
    """A satellite that has taken one release, and the files of that release."""
    files = world.release()
    return take(Believed.anchor(world.anchor), files).believed, files


def test_tuf_is_the_version_whose_internals_are_used():
    assert tuf.__version__.split(".")[0] == "7"


def test_a_release_is_believed_and_again_changes_nothing(world):
    files = world.release()
    first = take(Believed.anchor(world.anchor), files)
    assert (first.role, first.target, first.time_s) == ("farm", MANIFEST, int(world.now_s))
    assert set(first.believed.roles) == {"root", "timestamp", "snapshot", "targets", "farm"}
    assert take(first.believed, files).believed == first.believed


def test_in_steady_state_only_what_changed_need_come(world):
    believed, _ = started(world)
    files = world.release("farm/fields/2-b", b"manifest 2")
    del files[named(files, "targets")]
    again = take(believed, files, "farm/fields/2-b", b"manifest 2")
    assert again.believed.roles["targets"] == believed.roles["targets"]


def test_trust_may_come_alone(world):
    believed, _ = started(world)
    world.root(rotate_root(world.anchor, CUSTODY, now_s=world.now_s, expires_s=world.now_s + YEAR_S), ROOT[1:])
    after = refresh(believed, Files(world.publish(None)), satellite="sat-1")
    assert Refresh(after, Files({})).version("root") == 2


# --- A1, A10, A12: who signs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "by"),
    [
        ("timestamp", STRANGERS[:1]),
        ("timestamp", ROOT[:2]),
        ("snapshot", STRANGERS[:1]),
        ("targets", TARGETS[:1]),
        ("targets", STRANGERS),
        ("targets", ONLINE),
        ("targets", ROOT[:2]),
        ("farm", FARM[:1]),
        ("farm", STRANGERS),
        ("farm", SHIPS),
        ("farm", TARGETS[:2]),
        ("farm", []),
    ],
)
def test_fewer_keys_than_the_threshold_or_others_keys_are_refused(world, role, by):
    files = world.release()
    name = named(files, role)
    files[name] = forge(files[name], by, lambda signed: None)
    refused(Believed.anchor(world.anchor), files, "signed by [01]/[12] keys")


def test_one_key_that_signs_twice_counts_once(world):
    files = world.release()
    name = named(files, "farm")
    value = json.loads(files[name])
    value["signatures"] = [value["signatures"][0]] * 2
    files[name] = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    refused(Believed.anchor(world.anchor), files, "Multiple signatures")


def test_one_key_under_two_names_is_refused(world):
    """A delegation by enough targets keys that names the tenant's one key twice: not even they may."""
    files = world.release()
    key = FARM[0]

    def twice(signed: dict) -> None:
        alias = key_id(b"alias" + bytes(27))
        signed["delegations"]["keys"][alias] = signed["delegations"]["keys"][key.key_id]
        signed["delegations"]["roles"][0]["keyids"] = [key.key_id, alias]

    name = named(files, "targets")
    value = json.loads(files[name])
    twice(value["signed"])
    files[name] = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    refused(Believed.anchor(world.anchor), files, "under the name that its bytes give it")


def test_keys_of_another_kind_are_refused(world):
    files = world.release()
    name = named(files, "targets")
    value = json.loads(files[name])
    next(iter(value["signed"]["delegations"]["keys"].values()))["scheme"] = "rsassa-pss-sha256"
    files[name] = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    refused(Believed.anchor(world.anchor), files, "not Ed25519|malformed")


def test_a_root_that_signs_itself_is_refused(world):
    own = Custody(trusted(STRANGERS, 2), trusted(STRANGERS, 2), trusted(NEW_ONLINE, 1))
    files = world.release()
    files["2.root.json"] = sign_with(rotate_root(world.anchor, own, now_s=NOW_S, expires_s=NOW_S + YEAR_S), STRANGERS)
    refused(Believed.anchor(world.anchor), files, "signed by 0/2")


# --- A11: the chain of roots -----------------------------------------------------------------------------------------------


def rotated(world: World) -> World:
    new = Custody(trusted(NEW_ROOT, 2), CUSTODY.targets, trusted(NEW_ONLINE, 1))
    draft = rotate_root(world.repository.root, new, now_s=world.now_s, expires_s=world.now_s + YEAR_S)
    world.root(draft, [*ROOT[:2], *NEW_ROOT[:2]])
    world.online = list(NEW_ONLINE)
    return world


def test_a_rotation_is_followed_and_old_keys_are_worth_nothing_after_it(world):
    believed, old = started(world)
    before = world.clone()
    files = rotated(world).release("farm/fields/2-b", b"manifest 2")
    after = take(believed, files, "farm/fields/2-b", b"manifest 2").believed
    assert Refresh(after, Files({})).version("root") == 2
    by_old_keys = before.release("farm/fields/3-c", b"manifest 3")
    refused(after, by_old_keys, "signed by 0/1", "farm/fields/3-c", b"manifest 3")
    refused(after, old, "signed by 0/1")


@pytest.mark.parametrize("by", [ROOT[:2], NEW_ROOT[:2], [ROOT[0], *NEW_ROOT], [*ROOT, NEW_ROOT[0]], []])
def test_a_new_root_needs_the_old_threshold_and_its_own(world, by):
    believed, files = started(world)
    new = Custody(trusted(NEW_ROOT, 2), CUSTODY.targets, CUSTODY.online)
    files["2.root.json"] = sign_with(rotate_root(world.anchor, new, now_s=NOW_S, expires_s=NOW_S + YEAR_S), by)
    refused(believed, files, "root.*signed by [01]/2")


def test_a_root_must_follow_the_one_before(world):
    believed, files = started(world)
    rotated(world)
    third = sign_with(
        rotate_root(world.repository.root, CUSTODY, now_s=world.now_s, expires_s=world.now_s + YEAR_S), [*ROOT, *NEW_ROOT]
    )
    refused(believed, files | {"2.root.json": third}, "root 2")
    refused(believed, files | {"2.root.json": world.anchor}, "Expected root version 2")


def test_a_satellite_that_slept_through_three_rotations_takes_all_of_them(world):
    believed, _ = started(world)
    for _ in range(3):
        world.root(rotate_root(world.repository.root, CUSTODY, now_s=world.now_s, expires_s=world.now_s + YEAR_S), ROOT[:2])
    files = world.release("farm/fields/2-b", b"manifest 2")
    after = take(believed, files, "farm/fields/2-b", b"manifest 2").believed
    assert Refresh(after, Files({})).version("root") == 4


def test_roots_without_end_are_refused(world):
    believed, files = started(world)
    data = world.anchor
    for number in range(2, 7):
        data = sign_with(rotate_root(data, CUSTODY, now_s=NOW_S, expires_s=NOW_S + YEAR_S), ROOT[:2])
        files[f"{number}.root.json"] = data
    refused(believed, files, "over 4 new roots", policy=Policy(max_roots=4))


# --- A2, A4, A7: versions -------------------------------------------------------------------------------------------------


def test_old_bundles_are_refused_after_newer_ones(world):
    _, first = started(world)
    second = world.release("farm/fields/2-b", b"manifest 2")
    after = take(Believed.anchor(world.anchor), second, "farm/fields/2-b", b"manifest 2").believed
    refused(after, first, "timestamp version 2 must|New timestamp version 1")


@pytest.mark.parametrize("role", ["snapshot", "targets", "farm"])
def test_a_role_of_another_release_does_not_mix_with_this_one(world, role):
    first = world.release()
    held, later_s = world.repository.roles["targets"], world.now_s + YEAR_S
    world.targets(draft_targets({"farm": trusted(FARM, 2)}, now_s=world.now_s, expires_s=later_s, previous=held), TARGETS[:2])
    second = world.release("farm/fields/2-b", b"manifest 2")
    mixed = second | {named(second, role): first[named(first, role)]}
    refused(Believed.anchor(world.anchor), mixed, "xpected", "farm/fields/2-b", b"manifest 2")


def test_a_snapshot_in_which_a_role_goes_back_or_vanishes_is_refused(world):
    world.release()
    second = world.release("farm/fields/2-b", b"manifest 2")
    believed = take(Believed.anchor(world.anchor), second, "farm/fields/2-b", b"manifest 2").believed
    third = world.release("farm/fields/3-c", b"manifest 3")
    name = named(third, "snapshot")
    back = forge(third[name], ONLINE, lambda s: s["meta"]["farm.json"].update(version=1))
    refused(believed, third | {name: back}, "farm.json", "farm/fields/3-c", b"manifest 3")
    gone = forge(third[name], ONLINE, lambda s: s["meta"].pop("farm.json"))
    refused(believed, third | {name: gone}, "missing info", "farm/fields/3-c", b"manifest 3")


def test_a_version_does_not_leap(world):
    believed, _ = started(world)
    files = world.release("farm/fields/2-b", b"manifest 2")
    leap = forge(files["timestamp.json"], ONLINE, lambda s: s.update(version=2**31 - 1))
    refused(believed, files | {"timestamp.json": leap}, "more than 10000 above 1", "farm/fields/2-b", b"manifest 2")
    name = named(files, "snapshot")
    leap = forge(files[name], ONLINE, lambda s: s["meta"].update({"ships.json": {"version": 2**31 - 1}}))
    refused(believed, files | {name: leap}, "ships.json.*more than 10000", "farm/fields/2-b", b"manifest 2")


def test_after_a_fast_forward_new_online_keys_bring_versions_and_time_back(world):
    """A stolen online key has leapt as far as it may; a root with other online keys voids what it said."""
    believed, _ = started(world)
    thief = world.clone()
    thief.repository = thief.repository.__class__(
        thief.repository.roots, thief.repository.roles, {**thief.repository.versions, "timestamp": 9_000, "snapshot": 9_000}
    )
    thief.now_s += 300 * DAY_S
    poisoned = refresh(believed, Files(thief.publish(None)), satellite="sat-1")
    refused(poisoned, world.release("farm/fields/2-b", b"manifest 2"), "timestamp", "farm/fields/2-b", b"manifest 2")
    files = rotated(world).release("farm/fields/3-c", b"manifest 3")
    got = take(poisoned, files, "farm/fields/3-c", b"manifest 3")
    assert got.time_s == int(world.now_s) < thief.now_s


# --- A3: expiry, withholding, the clock ---------------------------------------------------------------------------------


def test_a_tenant_whose_metadata_has_expired_by_signed_time_is_refused(world):
    world.release(lives_s=DAY_S)
    world.now_s += 2 * DAY_S
    refused(Believed.anchor(world.anchor), world.publish(), "farm.*expired")


def test_each_top_level_role_expires(world):
    world.lifetimes = Lifetimes(snapshot_s=100 * DAY_S, timestamp_s=90 * DAY_S)
    files = world.release()
    for role, by in (("timestamp", ONLINE), ("snapshot", ONLINE), ("targets", TARGETS[:2])):
        name = named(files, role)
        past = forge(files[name], by, lambda s: s.update(expires="2001-01-01T00:00:00Z"))
        refused(Believed.anchor(world.anchor), files | {name: past}, "expired")


def test_an_expired_root_ends_trust_until_a_new_one_comes(world):
    believed, _ = started(world)
    world.root(rotate_root(world.anchor, CUSTODY, now_s=world.now_s, expires_s=world.now_s + DAY_S), ROOT[:2])
    world.now_s += 2 * DAY_S
    refused(believed, world.publish(), "root.*expired|expired")
    world.root(rotate_root(world.repository.root, CUSTODY, now_s=world.now_s, expires_s=world.now_s + YEAR_S), ROOT[:2])
    take(believed, world.publish())


@pytest.mark.parametrize("now_s", [0.0, NOW_S - YEAR_S, NOW_S + 40 * YEAR_S, None])
def test_a_clock_that_is_not_disciplined_makes_nothing_expire_and_nothing_fresh(world, now_s):
    files = world.release()
    assert take(Believed.anchor(world.anchor), files, now_s=now_s).time_s == int(world.now_s)


def test_a_disciplined_clock_makes_a_withheld_bundle_expire_after_the_grace(world):
    files = world.release()
    policy = Policy(use_clock=True, grace_s=21 * DAY_S)
    anchor = Believed.anchor(world.anchor)
    take(anchor, files, now_s=world.now_s + 80 * DAY_S, policy=policy)
    refused(anchor, files, "expired", now_s=world.now_s + 82 * DAY_S, policy=policy)


def test_trusted_time_only_rises(world):
    believed, _ = started(world)
    first_s = int(world.now_s)
    files = world.release("farm/fields/2-b", b"manifest 2")
    early = forge(files["timestamp.json"], ONLINE, lambda s: s.update({SIGNED_AT: 5}))
    got = take(believed, files | {"timestamp.json": early}, "farm/fields/2-b", b"manifest 2")
    assert got.time_s == first_s, "that of the timestamp held, not the root's"


def test_a_timestamp_from_far_ahead_makes_itself_worthless(world):
    """Who holds the online key can say any time, but a time at which the offline roles have expired is refused."""
    believed, files = started(world)
    ahead = forge(
        files["timestamp.json"],
        ONLINE,
        lambda s: s.update({SIGNED_AT: int(NOW_S + 5 * YEAR_S), "version": 2, "expires": "2099-01-01T00:00:00Z"}),
    )
    refused(believed, files | {"timestamp.json": ahead}, "expired")


@pytest.mark.parametrize(("heard", "holds"), [(None, False), (99, False), (100, True), (400, True)])
def test_without_any_clock_a_withheld_bundle_ages_by_contacts(world, heard, holds):
    world.contacts = {} if heard is None else {"sat-1": heard}
    files = world.release()
    believed = Believed({"root": world.anchor}, contacts=400)
    if holds:
        assert take(believed, files).believed.contacts == 400
    else:
        refused(believed, files, "contacts old")


def test_a_contact_counter_that_was_lost_is_taken_from_the_ground(world):
    world.contacts = {"sat-1": 500, "sat-2": 900}
    assert take(Believed.anchor(world.anchor), world.release()).believed.contacts == 500


# --- A8, A20: whose is it -------------------------------------------------------------------------------------------------


def test_a_tenant_signs_only_under_its_own_path(world):
    files = world.release()
    name = named(files, "farm")

    def stray(signed: dict) -> None:
        signed["targets"] = {"ships/fields/1-a": signed["targets"][PATH]}

    files[name] = forge(files[name], FARM[:2], stray)
    refused(Believed.anchor(world.anchor), files, "ships|nobody", "ships/fields/1-a")


def test_a_target_of_another_tenant_is_refused_though_all_signatures_are_good(world):
    files = world.release("ships/fields/1-a", MANIFEST)
    take(Believed.anchor(world.anchor), files, "ships/fields/1-a", tenant="ships")
    refused(Believed.anchor(world.anchor), files, "signed by ships, not by farm", "ships/fields/1-a")


def test_top_level_targets_keys_do_not_speak_for_a_tenant(world):
    files = world.release()
    row = json.loads(files[named(files, "farm")])["signed"]["targets"]
    name = named(files, "targets")
    files[name] = forge(files[name], TARGETS[:2], lambda s: s.update(targets=row))
    refused(Believed.anchor(world.anchor), files, "signed by targets, not by farm")


def test_a_revoked_tenant_is_refused(world):
    believed, old = started(world)
    draft = revoke_tenant(world.repository.roles["targets"], "farm", now_s=world.now_s, expires_s=world.now_s + YEAR_S)
    world.targets(draft, TARGETS[1:])
    files = world.publish(None)
    refused(believed, old | files, "nobody who may")
    after = refresh(believed, Files(files), satellite="sat-1")
    refused(after, old, "timestamp")


def test_a_tenant_with_new_keys_speaks_with_those_alone(world):
    believed, _ = started(world)
    old = FARM[:2]
    draft = add_tenant(
        world.repository.roles["targets"], "farm", trusted(STRANGERS, 2), now_s=world.now_s, expires_s=world.now_s + YEAR_S
    )
    world.targets(draft, TARGETS[:2])
    files = world.release("farm/fields/2-b", b"manifest 2", by=STRANGERS[:2])
    take(believed, files, "farm/fields/2-b", b"manifest 2")
    name = named(files, "farm")
    refused(believed, files | {name: forge(files[name], old, lambda s: None)}, "0/2", "farm/fields/2-b", b"manifest 2")


@pytest.mark.parametrize("content", [b"", b"manifest 2", MANIFEST + b"\0", MANIFEST[:-1]])
def test_a_target_with_other_content_is_refused(world, content):
    refused(Believed.anchor(world.anchor), world.release(), "fields/1-a", PATH, content)


@pytest.mark.parametrize(
    "path", ["", "farm", "farm/fields", "farm/fields/../1-a", "farm/fields/1-a/x", "/farm/fields/1-a", "*/*/*"]
)
def test_a_path_that_nobody_signed_is_refused(world, path):
    refused(Believed.anchor(world.anchor), world.release(), "nobody|targets", path)


# --- A5, A13, A21: form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "farm"])
def test_a_bundle_without_a_role_is_refused(world, role):
    files = world.release()
    del files[named(files, role)]
    refused(Believed.anchor(world.anchor), files, "did not come")


ANYHOW = {
    "space": lambda d: d.replace(b":", b": ", 1),
    "duplicate key": lambda d: d.replace(b'"version":', b'"version":99,"version":', 1),
    "escape": lambda d: d.replace(b'"signed"', b'"\\u0073igned"', 1),
    "float": lambda d: d.replace(b'"version":1', b'"version":1.0', 1),
    "order": lambda d: d.replace(b'{"signatures"', b'{"zz":0,"signatures"', 1),
    "trailing": lambda d: d + b"\n",
    "byte order mark": lambda d: b"\xef\xbb\xbf" + d,
    "nan": lambda d: d.replace(b'"version":1', b'"version":NaN', 1),
    "negative": lambda d: d.replace(b'"version":1', b'"version":-1', 1),
    "huge number": lambda d: d.replace(b'"version":1', b'"version":1' + b"0" * 5000, 1),
    "deep": lambda d: b"[" * 100_000,
    "empty": lambda d: b"",
    "null": lambda d: b"null",
    "other type": lambda d: d.replace(b'"_type":"', b'"_type":"mirrors', 1),
    "too long": lambda d: d + b" " * MAX_METADATA_BYTES,
    "no signing time": lambda d: d.replace(SIGNED_AT.encode(), b"x-other", 1),
    "endless signatures": lambda d: d.replace(
        b'"signatures":[', b'"signatures":[' + b"".join(b'{"keyid":"%064x","sig":"00"},' % i for i in range(100)), 1
    ),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "farm"])
@pytest.mark.parametrize("how", ANYHOW)
def test_metadata_in_any_other_form_is_refused(world, role, how):
    files = world.release()
    name = named(files, role)
    files[name] = ANYHOW[how](files[name])
    refused(Believed.anchor(world.anchor), files, "malformed|canonical|limit|when it was signed")


@pytest.mark.parametrize("table", [[], "x", {"sat-1": "7"}, {"sat-1": -1}, {"sat-1": True}])
def test_contact_counters_that_are_none_are_refused(world, table):
    files = world.release()
    files["timestamp.json"] = forge(files["timestamp.json"], ONLINE, lambda s: s.update({CONTACTS: table}))
    refused(Believed.anchor(world.anchor), files, "counter")


WORLD = World()
GOOD = WORLD.release()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_changed_is_refused_with_the_one_error(data):
    name = data.draw(st.sampled_from(sorted(GOOD)))
    raw = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                raw[place] ^= data.draw(st.integers(1, 255))
            case "cut":
                del raw[place : place + data.draw(st.integers(1, 40))]
            case _:
                raw[place:place] = data.draw(st.binary(min_size=1, max_size=40))
        if not raw:
            break
    if bytes(raw) == GOOD[name]:
        return
    with pytest.raises(TrustError):
        take(Believed.anchor(WORLD.anchor), GOOD | {name: bytes(raw)})


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD, "2.root.json"]), st.binary(max_size=300), min_size=1))
def test_any_bytes_are_refused_with_the_one_error(files):
    with pytest.raises(TrustError):
        take(Believed.anchor(WORLD.anchor), GOOD | files)
