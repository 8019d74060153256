"""Language model + prompts + answer space -> log-probabilities and states."""
