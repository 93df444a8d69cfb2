"""Where evaluations run: on this machine (local.py) or as Slurm job arrays (slurm.py), behind one seam (base.py)."""
