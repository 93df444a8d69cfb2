# Q3 out_of_memory: one tensor larger than the machine
import torch

torch.ones(1 << 40)
