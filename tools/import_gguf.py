#!/usr/bin/env python3
"""Turns a GGUF file of the Llama, Mistral, Qwen2 or Qwen3 family into a Hugging Face folder.

    import_gguf.py FILE.gguf OUT_DIR

Weights are dequantised to fp32 (dequantised values have no exact bf16 form) and written as one
model.safetensors; the tokenizer and the chat template come from the GGUF's metadata. Needs the Python
packages gguf, numpy, safetensors and tokenizers; scripts/setup-model makes an environment for it.
"""

import json
import os
import re
import shutil
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file
from tokenizers import Tokenizer

ARCHITECTURES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "mistral": ("mistral", "MistralForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
}

BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}

# GPT-2's split is what ByteLevel does by itself; the others bring their own pattern.
SPLIT_PATTERNS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}

TOKEN_TYPE_CONTROL = 3
TOKEN_TYPE_USER_DEFINED = 4


class ImportFailure(Exception):
    """What is wrong with the file, in one line."""


class Metadata:
    """Typed access to the key-value part of a GGUF file."""

    def __init__(self, reader):
        self._fields = reader.fields
        self.architecture = self.get("general.architecture")

    def get(self, key, default=None):
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def need(self, key):
        value = self.get(key)
        if value is None:
            raise ImportFailure(f"expected the metadata key {key}, found none")
        return value

    def model(self, key, default=None):
        value = self.get(f"{self.architecture}.{key}", default)
        if value is None:
            raise ImportFailure(f"expected the metadata key {self.architecture}.{key}, found none")
        return value


def round_to_short_decimal(value):
    """1e-5 is stored as fp32 and read back as 9.999999747378752e-06; the short form is what was meant."""
    return float(np.format_float_positional(np.float32(value), unique=True))


def model_config(meta, tensors):
    if meta.architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ImportFailure(f"expected general.architecture to be one of {known}, found {meta.architecture!r}")
    if "rope_freqs.weight" in tensors or meta.get(f"{meta.architecture}.rope.scaling.type", "none") != "none":
        raise ImportFailure("rope scaling in GGUF form is not supported: import the safetensors release instead")
    model_type, class_name = ARCHITECTURES[meta.architecture]
    heads = meta.model("attention.head_count")
    hidden = meta.model("embedding_length")
    eos = meta.need("tokenizer.ggml.eos_token_id")
    bos = meta.get("tokenizer.ggml.bos_token_id")
    return {
        "architectures": [class_name],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "head_dim": meta.get(f"{meta.architecture}.attention.key_length", hidden // heads),
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": meta.model("feed_forward_length"),
        "max_position_embeddings": meta.model("context_length"),
        "mlp_bias": False,
        "model_type": model_type,
        "num_attention_heads": heads,
        "num_hidden_layers": meta.model("block_count"),
        "num_key_value_heads": meta.model("attention.head_count_kv", heads),
        "pad_token_id": meta.get("tokenizer.ggml.padding_token_id", eos),
        "rms_norm_eps": round_to_short_decimal(meta.model("attention.layer_norm_rms_epsilon")),
        "rope_scaling": None,
        "rope_theta": round_to_short_decimal(meta.model("rope.freq_base", 10000.0)),
        "tie_word_embeddings": "output.weight" not in tensors,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": len(meta.need("tokenizer.ggml.tokens")),
    }


def hugging_face_name(name):
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if not match or match.group(2) not in BLOCK_NAMES:
        raise ImportFailure(f"tensor {name} has no counterpart in a Hugging Face checkpoint")
    return f"model.layers.{match.group(1)}.{BLOCK_NAMES[match.group(2)]}.{match.group(3)}"


def undo_permutation(array, heads):
    """llama.cpp interleaves the two rotary halves of each head of q and k; Hugging Face keeps them apart."""
    rows = array.shape[0]
    split = array.reshape(heads, rows // heads // 2, 2, *array.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(array.shape)


def convert_tensors(meta, config, tensors):
    permuted = {}
    if meta.architecture in ("llama", "mistral"):
        permuted = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    converted = {}
    for name, tensor in tensors.items():
        target = hugging_face_name(name)
        shape = [int(n) for n in reversed(tensor.shape)]
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
        heads = permuted.get(target.split(".")[-2])
        converted[target] = undo_permutation(values, heads) if heads else np.ascontiguousarray(values)
    return converted


def pre_tokenizer(kind):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    if kind in ("gpt-2", "default"):
        return byte_level
    if kind == "smollm":
        return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]}
    if kind in SPLIT_PATTERNS:
        split = {"type": "Split", "pattern": {"Regex": SPLIT_PATTERNS[kind]}, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]}
    raise ImportFailure(f"pre-tokenizer {kind!r} is not known; known: gpt-2, smollm, {', '.join(SPLIT_PATTERNS)}")


def added_tokens(meta):
    tokens = meta.need("tokenizer.ggml.tokens")
    types = meta.need("tokenizer.ggml.token_type")
    return [
        {
            "id": i,
            "content": tokens[i],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == TOKEN_TYPE_CONTROL,
        }
        for i, kind in enumerate(types)
        if kind in (TOKEN_TYPE_CONTROL, TOKEN_TYPE_USER_DEFINED)
    ]


def tokenizer_json(meta):
    kind = meta.need("tokenizer.ggml.model")
    if kind != "gpt2":
        raise ImportFailure(f"expected a byte-level BPE tokenizer (gpt2), found {kind!r}")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(meta),
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer(meta.get("tokenizer.ggml.pre", "default")),
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": meta.get("tokenizer.ggml.pre") == "llama-bpe",
            "vocab": {token: i for i, token in enumerate(meta.need("tokenizer.ggml.tokens"))},
            "merges": [merge.split(" ", 1) for merge in meta.need("tokenizer.ggml.merges")],
        },
    }


def special_tokens(meta):
    tokens = meta.need("tokenizer.ggml.tokens")
    names = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    ids = {name: meta.get(f"tokenizer.ggml.{short}_token_id") for name, short in names.items()}
    return {name: tokens[i] for name, i in ids.items() if i is not None}


def tokenizer_config(meta):
    decoder = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added_tokens(meta)}
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        **special_tokens(meta),
        "chat_template": meta.get("tokenizer.chat_template"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": meta.model("context_length"),
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=False, indent=2)
        out.write("\n")


def import_gguf(path, folder):
    reader = GGUFReader(path)
    meta = Metadata(reader)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = model_config(meta, tensors)
    converted = convert_tensors(meta, config, tensors)

    temporary = folder.rstrip("/") + ".partial"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    write_json(temporary, "config.json", config)
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(temporary, "generation_config.json", generation)
    write_json(temporary, "tokenizer.json", tokenizer_json(meta))
    write_json(temporary, "tokenizer_config.json", tokenizer_config(meta))
    write_json(temporary, "special_tokens_map.json", special_tokens(meta))
    Tokenizer.from_file(os.path.join(temporary, "tokenizer.json"))
    weights = os.path.join(temporary, "model.safetensors")
    save_file(converted, weights, metadata={"format": "pt"})
    os.chmod(weights, 0o644)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(temporary, folder)
    return sum(array.size for array in converted.values())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        parameters = import_gguf(sys.argv[1], sys.argv[2])
    except (ImportFailure, ValueError, OSError) as error:
        sys.exit(f"import_gguf: {sys.argv[1]}: {error}")
    print(f"{sys.argv[2]}: {parameters:,} parameters")


if __name__ == "__main__":
    main()
