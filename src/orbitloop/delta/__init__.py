"""Partial-model updates: made on the ground, applied in orbit, bit-exact.

Belongs here: the codecs of one tensor, the payload that holds many, and the bundle that carries payload and signed envelope.
Never here: keys and signatures (`trust`), slots (`onboard`), the choice of what to train (`ground`).
"""
