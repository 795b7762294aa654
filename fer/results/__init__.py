"""From predictions to numbers that can be trusted: scores, thresholds, the terminal table and the report."""
