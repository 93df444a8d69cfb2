# Q5 disk_limit: files that have no name any more
import os
import time

held = []
while True:
    file = open(f"part-{len(held)}", "wb")  # noqa: SIM115
    file.write(bytes(4 << 20))
    file.flush()
    os.unlink(file.name)
    held.append(file)
    time.sleep(0.01)
