"""What any room may use: whole files, threads, progress, signals. Imports nothing but errors."""
