"""What evohpc ships beside its code, and the projects made of it: configs, seeds, site profiles, image recipes."""
