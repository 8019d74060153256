"""One self-contained HTML page about an experiment: what was asked, what was found, and every run behind it."""
