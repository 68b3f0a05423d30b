"""orbitloop closes the learning loop between orbit and ground. Importing it pulls in nothing, and keeps its runtime silent."""

import os

__version__ = "0.1.0"

# ONNX Runtime (1.31) writes a device id and a database under the home folder when it is imported, starts a thread, and reports
# its use to a web service. A satellite has no such service and a ground station may not want it; only this, before the import,
# stops it. Who wants the reports sets it to 0 himself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
