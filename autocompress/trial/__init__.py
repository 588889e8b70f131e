"""One plan, measured. Knows neither Optuna nor MLflow."""
