"""Estimators of mutual information; `registries.mi_estimators` lists them."""
