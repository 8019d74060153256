"""The model card of a saved model."""

import json
from typing import Any

from predgen.config import RunConfig
from predgen.inference.trained import TrainedModel


def model_card(trained: TrainedModel) -> str:
    """Return the card: what the model is, what it was measured on, how to use it, and what it was made from."""
    task, config, setup = trained.task, trained.config, trained.model.setup
    fields = {name: "..." for _, name in trained.encoder.pieces if name}
    metrics = trained.report.get("validation", {})
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in metrics.items()) or "| none measured | |"
    what = f"one of: {', '.join(setup.labels)}" if setup.labels else "a number"
    return f"""---
library_name: predgen
base_model: {json.dumps(trained.base.name)}
tags: [predgen, {setup.kind}]
---
# {task.name}: {setup.method} on {trained.base.name}

Predicts `{task.target}` ({what}) from the prompt

```text
{task.prompt}
```

Use it with `predgen`:

```python
import predgen

model = predgen.load("FOLDER")
model.predict([{json.dumps(fields)}])[0].value
```

## Measured on validation rows ({trained.report.get("validation_rows", 0)}), which also selected the checkpoint

| metric | value |
| --- | ---: |
{rows}

## Made from

| | |
| --- | --- |
| base model | {trained.base.name} |
| method | {_method(setup)} |
| fine-tuning | {config.peft} |
| training rows | {trained.report.get("train_rows", "not recorded")} |
| data | {_data(config)}, licence: {task.licence} |
| data source | {task.source or "not stated"} |

The full configuration is in `predgen.json`.
"""


def _data(config: RunConfig) -> str:
    """Where the training rows came from."""
    return config.task or ("a file of the user's" if config.data is not None else "rows in memory, read from no file")


def _method(setup: Any) -> str:  # noqa: ANN401
    """Method with what matters for it."""
    if setup.method == "predictor":
        return f"predictor, pooling {setup.pooling}"
    if setup.method == "predgen":
        return f"predgen, director {setup.director}, loss {setup.loss}, sampling {setup.sampling}"
    return str(setup.method)
