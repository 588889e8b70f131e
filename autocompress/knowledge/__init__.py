"""What is known of a model before any plan: its weights, its task, what errors in it cost."""
