"""evohpc: a language model as the mutation and crossover operator of a search over neural-network code."""
