"""Several models of one task under one budget: a search for each, one front over all."""
