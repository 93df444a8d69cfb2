"""One candidate: trained, predicted with, confirmed and scored; and the process that does it."""
