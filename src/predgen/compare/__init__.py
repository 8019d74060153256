"""Compare methods: make the runs of an experiment, each of which leaves a record. What records show stands in `findings`."""
