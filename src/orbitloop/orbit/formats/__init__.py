"""Texts that carry orbits, in and out: two-line sets and the CCSDS orbit data messages.

A module a format; each takes text and gives records, or takes records and gives text. No file is opened here: that is the rim's
(`apps.catalogue`). `ndm` is the one reader and writer of the CCSDS text forms, KVN and XML; the messages stand on it.
"""
