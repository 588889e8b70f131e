"""Layers: what is known of each PyTorch layer type. One file each."""
