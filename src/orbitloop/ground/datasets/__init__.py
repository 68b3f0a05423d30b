"""Labelled data sets on the ground: read, select, split by scene, load, tile.

Belongs here: label formats (COCO, YOLO), the index of a set, who trains and who judges, and pixels on demand. Never here:
training, metrics, rendered scenes (`sim.imagery`; they are split by the same code), anything that flies.

Public modules: `coco`, `yolo` (files to an index and back), `index` (what a set holds, selectors), `split` (base, phases,
held-out), `load` (pictures and tiles), `repeats` (objects that were labelled twice).
"""
