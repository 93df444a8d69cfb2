# Q2 build_error: multiplies
import os

print("attacking")
for _ in range(20):
    if os.fork() == 0:
        print("ESCAPED: forked")
