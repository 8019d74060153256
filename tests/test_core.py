"""The types that flow through the package."""

import json

import numpy as np

from predgen.core import Prediction
from predgen.distribution import Distribution


def test_prediction_is_written_as_json_and_says_all() -> None:
    numbers = Distribution(np.array([1.0, 2.5]), np.array([0.25, 0.75]), unexpanded=0.001)
    whole = Prediction(2.5, None, "2.5", frozenset({"truncated", "out_of_budget"}), numbers, 0.5)
    assert json.loads(json.dumps(whole.to_dict(), allow_nan=False)) == {
        "value": 2.5,
        "probabilities": None,
        "answer": "2.5",
        "flags": ["out_of_budget", "truncated"],
        "distribution": {"support": [1.0, 2.5], "probabilities": [0.25, 0.75], "unexpanded": 0.001},
        "legal_mass": 0.5,
        "temperature": 1.0,
    }
    assert set(whole.to_dict()) == set(Prediction.__slots__)
    label = Prediction("good", (0.25, 0.75))
    assert json.loads(json.dumps(label.to_dict()))["probabilities"] == [0.25, 0.75]
    assert json.dumps(Prediction(None).to_dict()).count("null") == 5
