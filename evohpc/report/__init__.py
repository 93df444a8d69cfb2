"""What people and programs read of a run: from a snapshot, never from the database."""
