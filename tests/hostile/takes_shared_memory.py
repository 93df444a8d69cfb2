# Q3 out_of_memory: pages that no resource limit counts
import mmap

pieces = []
while True:
    piece = mmap.mmap(-1, 64 << 20)
    piece.write(bytes(64 << 20))
    pieces.append(piece)
