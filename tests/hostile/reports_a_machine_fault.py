# F1 protocol_violation: blames the machine, to be tried again
import os
from pathlib import Path

Path("report.json").write_text('{"status": "node_fail", "detail": "", "seconds": {}, "last_row": {}}')
os._exit(0)
