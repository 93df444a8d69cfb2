"""Where the language model runs: on this machine, as jobs of Slurm's, or scripted, behind one seam (base.py)."""
