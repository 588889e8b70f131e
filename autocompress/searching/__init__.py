"""The search: from a model and a budget to the front. Optuna is used in `study` alone."""
