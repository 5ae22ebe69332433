"""This machine's arithmetic limit, measured in the run that a bench compares with it."""

import time


def matrix_rate(dtype_name, threads):
    """GFLOP/s of a [660, 576] x [576, 1536] product: the shape of the learner's largest layers."""
    import torch

    torch.set_num_threads(threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype_name]
    x, w = torch.randn(660, 576, dtype=dtype), torch.randn(1536, 576, dtype=dtype)
    best = 1e9
    for _ in range(30):
        start = time.perf_counter()
        torch.nn.functional.linear(x, w)
        best = min(best, time.perf_counter() - start)
    return 2 * 660 * 576 * 1536 / best / 1e9
