"""Pure functions of elements and time: passes, eclipse, link capacity, energy."""
