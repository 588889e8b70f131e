"""Search spaces: their language, and how questions become plans."""
