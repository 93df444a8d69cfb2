# F4 protocol_violation: JSON that fills memory
import os
from pathlib import Path

Path("report.json").write_text('{"status": "ok", "detail": "' + "x" * 10_000_000 + '"}')
os._exit(0)
