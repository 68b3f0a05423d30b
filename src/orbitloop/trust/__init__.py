"""What a satellite believes and why: Ed25519 keys, thresholds, signed envelopes.

Never here: what the signed bytes mean (`delta`, `onboard`). One flat set of trusted keys is the beginning; TUF's roles (offline
root, targets, tenant delegations, expiry) take its place behind the same two verbs, sign and verify; see the decision record
on trust in `docs/adr/`.
"""
