"""The compiled inside of the Monte Carlo: pairs of orbits drawn, flown, and asked whether and when they first collide."""
