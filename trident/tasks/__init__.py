"""What the shipped task groups need beyond their libraries: preprocessing, collation, metrics."""
