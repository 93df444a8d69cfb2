"""Slurm, and nothing else: its commands, states, arrays and scripts."""
