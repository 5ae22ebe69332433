"""Loads a saved Hugging Face folder in transformers and compares its logits with another folder's.

    "$(scripts/reference-python)" tests/golden/check_checkpoint.py FOLDER [OTHER] [--tolerance 1e-4]

Without OTHER it checks that FOLDER loads with every weight used and gives finite logits. Ends with exit
code 1 and one line when it does not hold.
"""

import argparse
import sys

import torch
import transformers


def load(folder):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    wrong = {key: sorted(report[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if report.get(key)}
    if wrong:
        sys.exit(f"check_checkpoint: {folder}: {wrong}")
    return model.eval()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("other", nargs="?")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    model = load(args.folder)
    transformers.AutoTokenizer.from_pretrained(args.folder)
    tokens = torch.randint(model.config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))
    logits = model(tokens).logits
    if not torch.isfinite(logits).all():
        sys.exit(f"check_checkpoint: {args.folder}: logits are not finite")
    if not args.other:
        print(f"{args.folder}: loads, logits within ±{float(logits.abs().max()):.2f}")
        return
    difference = float((logits - load(args.other)(tokens).logits).abs().max())
    print(f"{args.folder} and {args.other}: largest difference of a logit {difference:.3g}")
    if not difference <= args.tolerance:
        sys.exit(f"check_checkpoint: expected at most {args.tolerance:g}")


if __name__ == "__main__":
    main()
