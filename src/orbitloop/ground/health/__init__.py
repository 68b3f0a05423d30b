"""Telemetry as the ground judges it: forests, matrix profiles, ensembles, event scores, diagnosis, proposals.

What flies is in `algorithms.health`. Reading telemetry files and writing proposals belongs to `apps.health`.
"""
