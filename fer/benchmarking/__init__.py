"""What `fer.benchmark` measures: a room per stage, all built of the product's own code."""
