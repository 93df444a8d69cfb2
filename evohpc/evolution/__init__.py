"""The algorithm of the paper (EvoPrompting, arXiv 2302.14838). Pure: rows in, values out."""
