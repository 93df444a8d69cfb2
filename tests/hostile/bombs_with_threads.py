# Q2 protocol_violation: starts threads without end
import threading
import time

threading.stack_size(64 << 10)
while True:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
