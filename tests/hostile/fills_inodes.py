# Q5 disk_limit: files without content
number = 0
while True:
    open(f"empty-{number}", "w").close()
    number += 1
