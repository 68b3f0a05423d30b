"""Malicious bundles, the classes A1 to A28: each delivered to a real updater, none accepted, not a byte of flash changed.

The classes are those of The Update Framework and of Uptane (their threat models), and our own for what a bundle carries. What a
flipped label does to a model that is signed, finite and within bounds is for the gate and the canary, see `bad candidates`.

The controls take one check out of the source of one module and run a class again: it must be caught that the check is gone.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import malicious_content
import malicious_files
import malicious_link
import malicious_trust
import malicious_world
from malicious_world import Variant, deliver_all
from torture_section import Outcome, Section, Tick

from orbitloop.delta import bounds, bundle
from orbitloop.onboard import updates
from orbitloop.trust import form, refresh

Variants = Callable[[], list[Variant]]
FULL = 1000


def without(module: types.ModuleType, check: str, instead: str) -> types.ModuleType:
    """Return a copy of a module whose source has one text replaced."""
    source = inspect.getsource(module)
    if source.count(check) != 1:
        raise AssertionError(f"{module.__name__} holds {check!r} {source.count(check)} times")
    copy = types.ModuleType(module.__name__)
    exec(compile(source.replace(check, instead), f"{module.__name__} without a check", "exec"), copy.__dict__)
    return copy


@contextmanager
def broken(module: types.ModuleType, check: str, instead: str) -> Iterator[None]:
    """Let the updater under test be one without this check; the ground keeps the right one."""
    copy = without(module, check, instead)
    if module is updates:
        with patch.object(malicious_world.updates, "Updater", copy.Updater):
            yield
        return
    names = {
        refresh: ("verify_target", "refresh"),
        bundle: ("open_bundle", "check_payload", "read_manifest"),
        bounds: ("check_change",),
    }
    if module is form:
        with (
            patch.object(refresh, "read_metadata", copy.read_metadata),
            patch.object(refresh, "heard_contacts", copy.heard_contacts),
        ):
            yield
        return
    originals = {name: getattr(updates, name) for name in names[module]}
    try:
        for name in originals:
            setattr(updates, name, getattr(copy, name))
        yield
    finally:
        for name, value in originals.items():
            setattr(updates, name, value)


def control(name: str, module: types.ModuleType, check: str, instead: str, attack: Variants) -> Section:
    def run(count: int, tick: Tick) -> Outcome:
        variants = list(attack())  # made by a ground whose checks are all there
        with broken(module, check, instead):
            outcome = deliver_all(variants, 1, tick, FULL, FULL if count == FULL else 1)
        got_in = sum(line.endswith("ACCEPTED") for line in outcome.bad)
        return Outcome(
            outcome.tried, outcome.bad, outcome.bad_count, f"{got_in} of the first {len(outcome.bad)} lines say accepted"
        )

    return Section(f"control: no {name}", "the suite sees that it is gone", run, FULL, 1, control=True)


def _number(section: Section) -> tuple[int, str]:
    found = re.match(r"malicious A(\d+)", section.name)
    assert found
    return int(found[1]), section.name


_T, _C = malicious_trust, malicious_content
CONTROLS = (
    control("check of the path", updates, "or path != target_path(manifest)", "", _C.a8_wrong_software),
    control("check of the hardware", updates, "if manifest.hardware != self._hardware", "if False", _C.a8_wrong_software),
    control(
        "check of the satellite", updates, "if self._satellite not in manifest.satellites", "if False", _C.a8_wrong_software
    ),
    control("check of the model", updates, "if manifest.model != self._model", "if False", _C.a15_mixed_models),
    control("gate evidence", updates, 'if gate.get("passed") is not True or', "if False and", _C.a19_gate),
    control("rising version", updates, "if manifest.version <= highest", "if False", _T.a2_rollback),
    control(
        "step of versions", updates, "if manifest.version - highest > self._policy.max_step", "if False", _T.a7_fast_forward
    ),
    control("check of the base", updates, "if manifest.base != active.digest", "if False", _C.a17_other_base),
    control("digest of the result", updates, "if digest_tensors(weights) != manifest.result", "if False", _C.a18_other_result),
    control("check for strangers", updates, "if strange:", "if False:", _C.a9_extraneous),
    control(
        "order of saving",
        updates,
        "            check_payload(manifest",
        "            self._trust.save(believed)\n            check_payload(manifest",
        _C.a18_other_result,
    ),
    control("bounded reason", updates, "if c.isprintable() else", "if True else", _C.a5_endless),
    control(
        "digest of the payload", bundle, "if digest_bytes(payload) != manifest.payload_digest", "if False", _T.a1_arbitrary
    ),
    control("canonical manifest", bundle, "if not same:", "if False:", _T.a21_not_canonical),
    control("bound of change", bounds, "if not change <= limit", "if False", _C.a28_poisoned),
    control("role of the tenant", refresh, "if role != tenant", "if False", _T.a20_other_tenant),
    control("window of contacts", refresh, "if contacts - heard > self.policy.max_contacts", "if False", _T.a3_freeze),
    control("expiry", refresh, "if signed.is_expired(self._trusted.reference_time)", "if False", _T.a3_freeze),
    control(
        "step of metadata",
        refresh,
        "if version - held > self.policy.max_step and self.policy.strict",
        "if False",
        _T.a7_fast_forward,
    ),
    control("one form of metadata", form, "if not same:", "if False:", _T.a21_not_canonical),
    control("names of keys", form, "if not _own_name(name, key)", "if False", _T.a10_below_threshold),
)

SECTIONS: tuple[Section, ...] = (
    *sorted(
        (s for m in (malicious_trust, malicious_link, malicious_content, malicious_files) for s in m.sections()), key=_number
    ),
    *CONTROLS,
)
