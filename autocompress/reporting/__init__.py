"""A search's result for people: tables, pictures, a page, and what was learnt."""
