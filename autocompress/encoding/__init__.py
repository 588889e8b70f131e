"""From a model, what is known of it and a plan to the bytes of an artifact."""
