# Q5 Q7 disk_limit: many large files
import time

number = 0
while True:
    with open(f"part-{number}", "wb") as file:
        file.write(bytes(4 << 20))
    number += 1
    time.sleep(0.01)
