"""What a satellite believes and why: TUF metadata (python-tuf), Ed25519 keys, sealed payloads. Bytes in, verdict out.

Never here: signing (`ground`), where what is believed is kept (`onboard.trust_store`), what the signed bytes mean (`delta`,
`onboard`). See the decision record on TUF in `docs/adr/`.
"""
