"""Contact-aware, persistent, resumable transfer between satellite and ground.

Belongs here: the PDUs and their parser (`pdu`), sets of byte ranges (`extents`), what waits to go out (`queue`), what comes
in (`inbox`), and `session.Endpoint`, which joins them. Never here: a socket, a file, a clock, an orbit, what the payloads
mean.

The port is `Endpoint` and its events, kept narrow on purpose: payload bytes with a kind go in at one end and come out at the
other exactly once, PDUs are opaque bytes, and a window is `open_window` followed by calls with a byte budget. A CFDP engine
(CCSDS 727.0-B-5) will replace what is inside; no caller may lean on more than the port.
"""
