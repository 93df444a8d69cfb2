# Q5 disk_limit: a terabyte of nothing
with open("sparse", "wb") as file:
    file.truncate(1 << 40)
