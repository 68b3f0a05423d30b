"""What a satellite believes and why: keys, signatures."""
