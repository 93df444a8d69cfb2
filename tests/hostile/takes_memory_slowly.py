# Q3 out_of_memory: piece by piece
pieces = []
while True:
    pieces.append(bytearray(16 << 20))
