"""What travels the loop: frozen dataclasses in flow order, and their versioned wire form.

Belongs here: records that two packages exchange, and pure functions between a record and bytes. Never here: I/O, policy,
anything that only one package uses. Records import only records of an earlier stage.
"""
