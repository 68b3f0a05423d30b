"""Where satellites are and what follows from it: pure functions of elements and time.

Belongs here: elements and their text forms, propagation, frames, passes, eclipse, link capacity, the contact plan, energy.
Never here: I/O, clocks, policy of what to send or train, anything that flies. The satellite holds only the resulting
`records.contact.ContactPlan`. One propagator (SGP4, the `sgp4` package); times are UTC seconds since the Unix epoch, and
UT1 is taken as UTC and the pole as fixed, which costs at most 0.9 s of Earth rotation and some metres on the ground.
"""
