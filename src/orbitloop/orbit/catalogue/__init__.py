"""What becomes of element sets from day to day: snapshots of a catalogue, their differences, and what they give away.

Pure functions of element sets. Belongs here: regimes and ages, differences of two snapshots, histories of objects, and the
detections (stale, decaying, manoeuvred, cross-tagged, lost). Never here: files, the database (`apps.catalogue_store`), clocks,
passes, conjunctions.
"""
