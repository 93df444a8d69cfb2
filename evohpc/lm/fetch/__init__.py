"""How a language model gets onto a disk, with or without a model hub."""
