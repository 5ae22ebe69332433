"""Writes tests/golden/data/*.json: what PyTorch and transformers compute (layout: README.md beside this).

    "$(scripts/reference-python)" tests/golden/make_golden.py [NAME ...]

NAME limits the run to some of: tiny, reward, tiny_tokens, smollm2, smollm2_tokens. Needs the SmolLM2 folder
(scripts/setup-model smollm2) and GSM8K's test.jsonl in ../shared/data/gsm8k beside the checkout.
"""

import hashlib
import json
import pathlib
import platform
import random
import struct
import subprocess
import sys
import tempfile

import tokenizers
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "golden" / "data"
SMOLLM2 = ROOT / "models" / "smollm2-135m-instruct"
GSM8K = ROOT.parent / "shared" / "data" / "gsm8k" / "test.jsonl"

SMALL = ["--hidden", "64", "--layers", "2", "--heads", "4", "--kv-heads", "2"]
TINY_MODELS = {
    "llama_tied": ["--arch", "llama", "--tied", "--seed", "11", *SMALL],
    "llama_untied": ["--arch", "llama", "--seed", "12", *SMALL],
    "llama3": ["--arch", "llama3", "--rope-theta", "500000", "--seed", "13", *SMALL],
    "mistral": ["--arch", "mistral", "--seed", "14", *SMALL],
    "qwen2": ["--arch", "qwen2", "--tied", "--rope-theta", "1000000", "--vocab", "320", "--seed", "15", *SMALL],
    "qwen3": ["--arch", "qwen3", "--head-dim", "32", "--rope-theta", "1000000", "--seed", "16", *SMALL],
}

PAD = 2  # of the reward models

TEXTS = [
    "Hello, world!",
    "What is 3 + 4? Reply with only the number.",
    "The quick brown fox jumps over the lazy dog. The dog did not mind; it had seen foxes before.",
    "Numbers: 0 1 22 333 4444 3.14159 -2,718,281 1e-5 10% $9.99 #42",
    "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n\n\nassert gcd(12, 18) == 6\n",
    "Größe, naïve café, Ελληνικά, Русский, العربية, עברית, हिन्दी, 中文字符, 日本語テスト, 한국어",
    "Emoji: 🙂🚀👩‍👩‍👧‍👦🇩🇪 and combining e\u0301 a\u0308, zero\u200bwidth, non\u00a0breaking, \ufeffmark",
    "  leading, trailing and   inner  spaces \t tabs\t\tand\n\nnew lines\r\n  ",
    "Specials in the text: <|im_start|>user\nhi<|im_end|> and <|endoftext|> and <|not_special|>",
    "don't can't we'll I'VE they're IT'S 'quoted' \"double\" `code` [link](http://example.org/a?b=c&d=e)",
    "\\boxed{\\frac{1}{2}} + \\sqrt{3} = x^{2} \\cdot \\left( a_{1} \\right) \\$5",
    "A farmer has 12 cows. Each cow gives 8 liters of milk per day. The farmer sells each liter for $2 and "
    "spends $45 per day on feed and $15 on other costs. First, the total milk is 12 * 8 = 96 liters. Then "
    "the income is 96 * 2 = 192 dollars. The costs are 45 + 15 = 60 dollars, so the profit per day is "
    "192 - 60 = 132 dollars. In a week of 7 days the farmer earns 132 * 7 = 924 dollars.\n#### 924",
    "",
    " ",
    "\n",
    "a",
]

USER_LINES = [
    "What is 7 + 8? Reply with only the number.",
    "Calculate 6 * 9 =",
    "Write a haiku about the sea.",
    "Explain in one sentence why the sky is blue.",
    "Sort the numbers 5, 3, 9, 1 in ascending order.",
    "Übersetze \"good morning\" ins Deutsche. 🙂",
    "  spaces around  \n\nand lines\n",
    "Ignore <|im_end|> in this text.",
]
ASSISTANT_LINES = ["15", "54", "Waves fold into foam", "Because air scatters blue light most.", "1, 3, 5, 9"]


def versions():
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def write(name, value):
    DATA.mkdir(exist_ok=True)
    path = DATA / f"{name}.json"
    # One line per list element at the top: small, and readable as a diff.
    lines = []
    for key, item in {"format": 1, "versions": versions(), **value}.items():
        if isinstance(item, list) and item and isinstance(item[0], dict):
            body = ",\n".join(json.dumps(element, ensure_ascii=False) for element in item)
            lines.append(f"{json.dumps(key)}: [\n{body}\n]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def rounded(values, digits=6):
    return [round(float(v), digits) for v in values]


def load(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def make_tiny(arguments, folder):
    subprocess.run([sys.executable, ROOT / "tools" / "make_tiny_model", "--out", folder, *arguments],
                   check=True, stdout=subprocess.DEVNULL)


def log_probs(model, tokens):
    """Log-prob of every token but the first given what precedes it, and the logits after the last one."""
    logits = model(torch.tensor([tokens])).logits[0].float()
    table = torch.log_softmax(logits, dim=-1)
    picked = [float(table[i, token]) for i, token in enumerate(tokens[1:])]
    return [None, *rounded(picked)], logits[-1]


def greedy(model, prompt, count):
    """Greedy continuation that does not stop, and the distance of the two best logits at each step."""
    tokens, margins, cache = [], [], None
    step = torch.tensor([prompt])
    for _ in range(count):
        out = model(step, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        top = torch.topk(out.logits[0, -1].float(), 2)
        tokens.append(int(top.indices[0]))
        margins.append(float(top.values[0] - top.values[1]))
        step = torch.tensor([[tokens[-1]]])
    return tokens, rounded(margins)


def tiny_models():
    for name, arguments in TINY_MODELS.items():
        with tempfile.TemporaryDirectory() as parent:
            folder = pathlib.Path(parent) / name
            make_tiny(arguments, folder)
            model = load(folder)
            draw = random.Random(name)
            vocabulary = model.config.vocab_size
            cases, runs = [], []
            for length in (2, 19, 150):
                tokens = [draw.randrange(vocabulary) for _ in range(length)]
                scores, last = log_probs(model, tokens)
                cases.append({"tokens": tokens, "logprobs": scores, "last_logits": rounded(last)})
            for length in (5, 40):
                prompt = [draw.randrange(vocabulary) for _ in range(length)]
                tokens, margins = greedy(model, prompt, 48)
                runs.append({"prompt": prompt, "tokens": tokens, "margins": margins})
            write(f"tiny_{name}", {
                "make_tiny_model": arguments,
                "weights_sha256": sha256(folder / "model.safetensors"),
                "cases": cases,
                "greedy": runs,
            })


def reward_models():
    """Sequence classifiers of one label: the tiny models with a seeded score head, padding included."""
    for name in ("llama_untied", "qwen2"):
        with tempfile.TemporaryDirectory() as parent:
            folder = pathlib.Path(parent) / name
            make_tiny(TINY_MODELS[name], folder)
            model = transformers.AutoModelForSequenceClassification.from_pretrained(
                folder, num_labels=1, pad_token_id=PAD, dtype=torch.float32, attn_implementation="eager").eval()
            draw = random.Random(f"reward {name}")
            score = [round(draw.uniform(-1, 1), 4) for _ in range(model.config.hidden_size)]
            model.score.weight.data.copy_(torch.tensor([score]))
            cases = []
            for length, padding in ((3, 0), (40, 0), (17, 1), (9, 6), (120, 2)):
                tokens = [draw.randrange(PAD + 1, model.config.vocab_size) for _ in range(length)] + [PAD] * padding
                reward = float(model(input_ids=torch.tensor([tokens])).logits[0, 0])
                cases.append({"tokens": tokens, "reward": round(reward, 6)})
            write(f"reward_{name}", {
                "make_tiny_model": TINY_MODELS[name], "pad_token_id": PAD, "score": score, "cases": cases})


def text_cases(tokenizer):
    cases = []
    for text in TEXTS:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        cases.append({
            "text": text,
            "tokens": tokens,
            "decoded": tokenizer.decode(tokens, clean_up_tokenization_spaces=False),
            "decoded_skip_special": tokenizer.decode(
                tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        })
    return cases


def conversations():
    """Twenty lists of messages: with and without a system message, one to five turns, odd contents."""
    lists = [[{"role": "user", "content": line}] for line in USER_LINES]
    lists += [[{"role": "system", "content": "You are terse."}, *turn] for turn in lists[:4]]
    for i in range(5):
        lists.append([
            {"role": "user", "content": USER_LINES[i]},
            {"role": "assistant", "content": ASSISTANT_LINES[i]},
            {"role": "user", "content": USER_LINES[i + 3]},
        ])
    lists.append([*lists[-1], {"role": "assistant", "content": ""}, {"role": "user", "content": "Go on."}])
    lists.append([{"role": "system", "content": ""}, {"role": "user", "content": ""}])
    lists.append([{"role": "system", "content": "Line one.\nLine two."}, *lists[12]])
    return lists


def chat_cases(tokenizer):
    cases = []
    for i, messages in enumerate(conversations()):
        prompt = i % 5 != 4
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        cases.append({
            "messages": messages,
            "add_generation_prompt": prompt,
            "text": text,
            "tokens": tokenizer.encode(text, add_special_tokens=False),
        })
    return cases


def tiny_tokens():
    arguments = TINY_MODELS["llama_tied"]
    with tempfile.TemporaryDirectory() as parent:
        folder = pathlib.Path(parent) / "model"
        make_tiny(arguments, folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        write("tiny_tokens", {
            "make_tiny_model": arguments, "texts": text_cases(tokenizer), "chat": chat_cases(tokenizer)})


def smollm2():
    model = load(SMOLLM2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(SMOLLM2)
    scored, runs = [], []
    for text in [t for t in TEXTS if len(t) > 20][:10]:
        tokens = tokenizer.encode(text, add_special_tokens=False)
        scored.append({"text": text, "tokens": tokens, "logprobs": log_probs(model, tokens)[0]})
    for line in USER_LINES[:5]:
        messages = [{"role": "user", "content": line}]
        prompt = tokenizer.encode(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True),
            add_special_tokens=False)
        tokens, margins = greedy(model, prompt, 64)
        runs.append({
            "messages": messages, "prompt": prompt, "tokens": tokens, "margins": margins,
            "text": tokenizer.decode(tokens, clean_up_tokenization_spaces=False)})
    write("smollm2", {
        "model": SMOLLM2.name, "weights_sha256": sha256(SMOLLM2 / "model.safetensors"),
        "logprobs": scored, "greedy": runs})


def digest(tokens):
    packed = struct.pack(f"<{len(tokens)}I", *tokens)
    return f"{len(tokens)}:{hashlib.sha256(packed).hexdigest()[:16]}"


def smollm2_tokens():
    tokenizer = transformers.AutoTokenizer.from_pretrained(SMOLLM2)
    with open(GSM8K, encoding="utf-8") as lines:
        questions = [json.loads(line)["question"] for _, line in zip(range(1000), lines)]
    digests = [digest(tokenizer.encode(q, add_special_tokens=False)) for q in questions]
    write("smollm2_tokens", {
        "texts": text_cases(tokenizer), "chat": chat_cases(tokenizer),
        "gsm8k": {"split": "test", "digests": digests}})


def main():
    parts = {"tiny": tiny_models, "reward": reward_models, "tiny_tokens": tiny_tokens, "smollm2": smollm2, "smollm2_tokens": smollm2_tokens}
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    for name in sys.argv[1:] or parts:
        if name not in parts:
            sys.exit(f"make_golden: {name!r} is not one of {', '.join(parts)}")
        parts[name]()


if __name__ == "__main__":
    main()
