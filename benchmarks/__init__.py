"""Benchmark suite: what predgen costs beside what one would use instead. Run by `make bench`; not shipped."""
