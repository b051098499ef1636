"""Processes that train one net together, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from training.device import Device
from training.ranks import ALONE, Ranks

TORCHRUN = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
PATIENCE = timedelta(days=7)
"""For the others, while the first rank takes a step alone; PyTorch's own half an hour is less than some take."""


class Joined(Ranks):
    """One rank of several, connected to the others."""

    def replicate(self, net: nn.Module, device: Device) -> nn.Module:
        return DistributedDataParallel(net, device_ids=device.indices or None)

    def align_buffers(self, net: nn.Module) -> None:
        for buffer in net.buffers():
            distributed.broadcast(buffer, src=0)

    def any(self, flag: bool) -> bool:
        flags = torch.tensor(int(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def from_first(self, content: bytes) -> bytes:
        length = torch.tensor(len(content))
        distributed.broadcast(length, src=0)
        held = torch.zeros(int(length), dtype=torch.uint8)
        if self.first and content:
            held = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        distributed.broadcast(held, src=0)
        return held.numpy().tobytes()


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process among the others of its torchrun, connected until the end of the block; ALONE without a torchrun.

    torchrun tells by the environment: https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables.
    """
    if not os.environ.keys() >= TORCHRUN:
        yield ALONE
        return
    # What is on the CPU, flags and files, goes over gloo also where gradients go over NCCL: no device has to wait.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        count = distributed.get_world_size()
        kind = Joined if count > 1 else Ranks
        yield kind(distributed.get_rank(), count, int(os.environ["LOCAL_RANK"]))
    finally:
        distributed.destroy_process_group()
