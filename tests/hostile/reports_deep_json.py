# F4 protocol_violation: JSON that exhausts a parser
import os
from pathlib import Path

Path("report.json").write_text("[" * 60_000)
os._exit(0)
