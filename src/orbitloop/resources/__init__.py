"""Declarative resources: what people write in mission files, as pydantic models. Ground only.

Here belong the kinds, their defaults and ranges, how a file is read with line-numbered errors, and what is generated from
the models (JSON Schema, the reference page). Nothing here acts on a resource: that is `sim` today and `control` later.
"""
