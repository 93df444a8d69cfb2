"""One round: propose, generate, screen, evaluate, select; from files to rows, each exactly once."""
