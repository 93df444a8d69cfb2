# Q2 protocol_violation: starts threads without end
import contextlib
import threading
import time

threading.stack_size(64 << 10)
while True:
    with contextlib.suppress(RuntimeError):  # no more for now, if the supervisor is slow to see them
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
