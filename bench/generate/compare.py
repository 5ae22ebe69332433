#!/usr/bin/env python3
"""Generation by Cohort against transformers (and llama.cpp where it is installed), interleaved in one run.

    $(scripts/reference-python) bench/generate/compare.py [--rounds 3] [--batch 1 8 32] [--new-tokens 24]

Work: SmolLM2-135M-Instruct, one prompt of 45 tokens, BATCH samples of exactly NEW tokens at temperature 1,
nothing ends a sample early. transformers runs `generate` with the end-of-sequence token suppressed and in
the same dtype. Times are whole calls: prefill, decoding, sampling. llama.cpp (the Python package
llama_cpp_python) decodes the 4-bit file that the model was made from (--gguf FILE), so it reads a quarter
of the bytes: its ratio is for orientation.

The share of the roofline: the least time in which this machine, as measured in the same run, could read
the weights and do the arithmetic of one decode step, over the time that the step took.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import time

import torch
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARAMETERS = 134.5e6
PROMPT = 45
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=ROOT / "models" / "smollm2-135m-instruct", type=pathlib.Path)
    parser.add_argument("--build", default=ROOT / "build" / "release", type=pathlib.Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--dtype", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--gguf", type=pathlib.Path, help="the model's GGUF file, for llama.cpp")
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers here too")
    return parser.parse_args()


def run_cohort(args, dtype, batch):
    """One process, one warm-up, one timed run: a fresh start for every round."""
    command = [args.build / "bench" / "decode", args.model, dtype, batch, PROMPT, args.new_tokens, 1, args.threads]
    # Alone on the machine, waiting threads may spin; beside a learner they must not (toolchain.md 1).
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run([str(c) for c in command], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def run_transformers(args, model, batch):
    prompt = (torch.arange(PROMPT) * 7 + 1000).unsqueeze(0)
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=batch,
            min_new_tokens=args.new_tokens,
            max_new_tokens=args.new_tokens,
            pad_token_id=0,
        )
    seconds = time.perf_counter() - start
    assert out.shape == (batch, PROMPT + args.new_tokens), out.shape
    return seconds


class LlamaCpp:
    """Decodes BATCH sequences that share one prompt, by the low-level interface of llama_cpp_python."""

    def __init__(self, path, threads):
        import llama_cpp

        self.api = llama_cpp
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        assert self.model, f"llama.cpp does not load {path}"
        self.threads = threads

    def run(self, batch, new_tokens):
        api = self.api
        params = api.llama_context_default_params()
        params.n_ctx = PROMPT + batch * (new_tokens + 1)
        params.n_seq_max = batch
        params.n_threads = params.n_threads_batch = self.threads
        params.kv_unified = True
        context = api.llama_init_from_model(self.model, params)
        try:
            start = time.perf_counter()
            self.decode(context, [(1000 + 7 * i, i, list(range(batch)), i == PROMPT - 1) for i in range(PROMPT)])
            for step in range(new_tokens - 1):
                # Any token costs the same; sampling is not part of llama.cpp's time here.
                self.decode(context, [(500 + s, PROMPT + step, [s], True) for s in range(batch)])
            return time.perf_counter() - start
        finally:
            api.llama_free(context)

    def decode(self, context, tokens):
        batch = self.api.llama_batch_init(len(tokens), 0, max(len(t[2]) for t in tokens))
        batch.n_tokens = len(tokens)
        for i, (token, position, sequences, logits) in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, logits
            batch.n_seq_id[i] = len(sequences)
            for j, sequence in enumerate(sequences):
                batch.seq_id[i][j] = sequence
        failed = self.api.llama_decode(context, batch)
        self.api.llama_batch_free(batch)
        assert failed == 0, f"llama_decode returned {failed}"


def roofline_share(dtype, batch, runs):
    element = 4 if dtype == "fp32" else 2
    read = max(run["read_bytes_per_second"] for run in runs)
    rate = max(run["product_flop_per_second"] for run in runs)
    least = max(PARAMETERS * element / read, 2 * PARAMETERS * batch / rate)
    return least / statistics.median(run["step"] for run in runs)


def compare(args, dtype, batch, model, llama):
    ours, peer, third = [], [], []
    run_transformers(args, model, batch)
    for _ in range(args.rounds):
        ours.append(run_cohort(args, dtype, batch))
        peer.append(run_transformers(args, model, batch))
        if llama:
            third.append(llama.run(batch, args.new_tokens))
    tokens = batch * args.new_tokens
    cohort = statistics.median(run["median"] for run in ours)
    transformers = statistics.median(peer)
    result = {
        "dtype": dtype,
        "batch": batch,
        "cohort_tokens_per_second": tokens / cohort,
        "transformers_tokens_per_second": tokens / transformers,
        "ratio": transformers / cohort,
        "roofline_share": roofline_share(dtype, batch, ours),
    }
    line = (
        f"{dtype} batch {batch:2d}: Cohort {tokens / cohort:6.1f} tok/s, transformers "
        f"{tokens / transformers:6.1f} tok/s, ratio {result['ratio']:.2f}, "
        f"{100 * result['roofline_share']:.0f} % of the roofline"
    )
    if third:
        result["llama_cpp_q4_tokens_per_second"] = tokens / statistics.median(third)
        line += f"; llama.cpp (4 bit) {result['llama_cpp_q4_tokens_per_second']:6.1f} tok/s"
    print(line, flush=True)
    return result


def main():
    args = parse()
    torch.set_num_threads(args.threads)
    llama = LlamaCpp(args.gguf, args.threads) if args.gguf else None
    results = []
    for dtype in args.dtype:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPES[dtype]).eval()
        results += [compare(args, dtype, batch, model, llama) for batch in args.batch]
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
