"""Hyperparameter search with Optuna: the space, the study that workers share, pruning, and what is left at the end."""
