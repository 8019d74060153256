"""Why a model said what it said of a row: what changes when words of its text are left out."""
