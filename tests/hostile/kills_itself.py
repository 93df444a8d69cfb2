# signals train_error: dies of a signal
import os
import signal

os.kill(os.getpid(), signal.SIGSEGV)
