"""Pictures of orbits and space traffic, drawn with matplotlib, as PNG or SVG; one module per picture."""
