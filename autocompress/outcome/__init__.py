"""What a search is judged by: objectives, limits, and results. Knows no torch and no Optuna."""
