"""The satellite: pipeline, slots, updates, storage, power guard, agent. Imports nothing that does not fly."""
