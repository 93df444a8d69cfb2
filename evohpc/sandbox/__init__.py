"""How a candidate is fenced off: what it may see, how much it may use, and what is left of it afterwards (nothing)."""
