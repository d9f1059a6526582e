"""Posts under fire: what is written and reviewed, what must have been decided in the end, and what was."""
