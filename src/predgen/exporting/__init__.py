"""A trained model in the formats of others: merged weights, a decision model of transformers, a model of MLflow."""
