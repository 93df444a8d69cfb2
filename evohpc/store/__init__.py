"""The database of a search: rows in, rows out."""
