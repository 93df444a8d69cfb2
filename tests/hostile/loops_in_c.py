# Q1 timeout: holds the interpreter's lock for ever
import itertools

sum(itertools.repeat(0))
