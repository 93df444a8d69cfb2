# F1 protocol_violation: claims success and leaves
import os
from pathlib import Path

Path("report.json").write_text('{"status": "ok", "detail": "", "seconds": {}, "last_row": {}}')
os._exit(0)
