"""Loads a saved Hugging Face folder in transformers and compares its logits with another folder's.

    "$(scripts/reference-python)" tests/golden/check_checkpoint.py FOLDER [OTHER] [--tolerance 1e-4]

Without OTHER it checks that FOLDER loads with every weight used and gives finite logits. Ends with exit
code 1 and one line when it does not hold. check_parity.py runs it on what Cohort saves.
"""

import argparse
import sys

import torch
import transformers


transformers.utils.logging.disable_progress_bar()


def load(folder):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    wrong = {kind: sorted(report[kind]) for kind in kinds if report.get(kind)}
    if wrong:
        sys.exit(f"check_checkpoint: {folder}: {wrong}")
    return model.eval()


def random_tokens(model):
    return torch.randint(model.config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits_of(folder):
    """Of the same seeded tokens for every folder with the same vocabulary."""
    model = load(folder)
    transformers.AutoTokenizer.from_pretrained(folder)
    logits = model(random_tokens(model)).logits
    if not torch.isfinite(logits).all():
        sys.exit(f"check_checkpoint: {folder}: logits are not finite")
    return logits


def largest_difference(folder, other):
    return float((logits_of(folder) - logits_of(other)).abs().max())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("other", nargs="?")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    if not args.other:
        print(f"{args.folder}: loads, logits within ±{float(logits_of(args.folder).abs().max()):.2f}")
        return
    difference = largest_difference(args.folder, args.other)
    print(f"{args.folder} and {args.other}: largest difference of a logit {difference:.3g}")
    if not difference <= args.tolerance:
        sys.exit(f"check_checkpoint: expected at most {args.tolerance:g}")


if __name__ == "__main__":
    main()
