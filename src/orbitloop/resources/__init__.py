"""Declarative resources: pydantic models of manifests. Ground only."""
