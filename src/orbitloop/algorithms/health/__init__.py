"""Health that flies: limits with latches, a streaming detector, drift, missed passes. numpy and the standard library only.

Each object keeps bounded state, and gives and takes it as JSON, so that a reboot loses nothing. Batch methods are
`ground.health`.
"""
