"""Engines: from an artifact to something that runs. One folder each."""
