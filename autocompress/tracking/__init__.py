"""MLflow: one parent run for a search, one child run for every finished trial."""
