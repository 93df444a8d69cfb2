"""What runs inside the sandbox: one stage of a candidate."""
