"""Close approaches: who comes near whom, how probable a collision is, how it is told, and what may be done about it.

Belongs here: screening of catalogues, encounters and their covariances, collision probability by three methods, conjunction
data messages as records. Never here: I/O, clocks, the decision to manoeuvre. Randomness comes in as a generator.
"""
