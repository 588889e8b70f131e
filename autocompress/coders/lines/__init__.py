"""Files of lines, such as vocabularies, in few bytes: counts in contexts, mixed bit by bit.

Of bytes in the order of a list of words, and of the words before, many contexts tell something.
Each counts how often a decision fell either way; the logarithms of their odds are weighted, and
added. The weights learn from every decision, as in PAQ (M. Mahoney, "Adaptive weighing of context
models for lossless data compression", Florida Tech. CS-2005-16). All of it is done in whole
numbers, so that every machine decodes the same. Many parts of the file, the lanes, go side by
side: in one array for each operation, which makes it fast in numpy.
"""

from autocompress.coders.lines.files import MAX_LINES_BYTES, pack_lines, unpack_lines

__all__ = ["MAX_LINES_BYTES", "pack_lines", "unpack_lines"]
