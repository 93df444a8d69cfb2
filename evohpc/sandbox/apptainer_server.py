"""The first process in the container of a candidate: `python -m evohpc.sandbox.apptainer_server ENTRY`, a fork server.

It does not watch its parent as a fork server of this host does: it ends with the container's first process, as all
processes in a container do, and the kernel would take the end of a mere thread of that for its own.
"""

from __future__ import annotations

import os
import sys

from evohpc.sandbox import fork_server
from evohpc.sandbox.apptainer_command import READY

if __name__ == "__main__":
    os.write(1, READY + b"\n")
    fork_server.serve(sys.argv[1])
