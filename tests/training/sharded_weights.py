"""One rank of two with weights sharded by torch's FSDP2: python -m torch.distributed.run ... sharded_weights.py BASE PEFT.

The first rank prints loss and gradients of one batch, beside those of a process that has all weights.
"""

import json
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from predgen.data.collate import collate
from predgen.sampling.draws import SamplingPlan
from predgen.training.run import zero_shot
from tiny_runs import tiny_config, tiny_data

if __name__ == "__main__":
    base, peft = sys.argv[1:]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, mesh = distributed.get_rank(), init_device_mesh("cpu", (2,))
    data = tiny_data("classification", 8)
    trained = zero_shot(tiny_config(Path(base), "classification", method="predgen", peft=peft), data)
    model, plan = trained.model.train(), SamplingPlan(0.5, 0, 0)
    rows = [trained.encoder.encode(example) for example in data.train]
    alone = model(collate(rows, trained.pad_id, torch.device("cpu")), plan, "example").total
    alone.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    for layer in trained.base.lm.get_base_model().model.layers if peft == "lora" else trained.base.lm.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    own = model(collate(rows[rank::2], trained.pad_id, torch.device("cpu")), plan, "example").total
    (2 * own).backward()  # it takes the mean over ranks
    total = own.detach().clone()
    distributed.all_reduce(total)
    differ, largest = 0.0, 0.0
    for name, p in model.named_parameters():
        if name in expected:
            differ = max(differ, float((p.grad.full_tensor() - expected[name]).abs().max()))
            largest = max(largest, float(expected[name].abs().max()))
    if rank == 0:
        told = {"alone": float(alone.detach()), "sharded": float(total)}
        print(json.dumps({**told, "gradients_differ_by": differ, "largest_gradient": largest}))
    distributed.destroy_process_group()
