"""How algorithms are found by name: one Protocol per kind, one registry for built-ins and third parties."""
