"""What a search tries before the sampler."""
