"""What a mission achieved, from records only; one structure, rendered as HTML, Markdown and JSON."""
