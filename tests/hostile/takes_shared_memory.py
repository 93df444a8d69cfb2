# Q3 build_error: pages that no resource limit counts, and that stay when nobody has them mapped
import mmap

print("attacking", flush=True)
pieces = []
while True:
    piece = mmap.mmap(-1, 64 << 20)
    piece.write(bytes(64 << 20))
    pieces.append(piece)
    print("ESCAPED: has shared memory", flush=True)
