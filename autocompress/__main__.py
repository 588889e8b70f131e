"""`python -m autocompress` is `autocompress`."""

from autocompress.cli import main

main(prog_name="autocompress")
