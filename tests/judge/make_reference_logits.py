"""Logits computed by Hugging Face transformers, for tests to compare with.

    make_reference_logits.py OUT.json              tiny models: tests/families/data/reference_logits.json
    make_reference_logits.py OUT.json MODEL_DIR    a trained model: tests/lab/data/stories260K_logits.json

Needs torch and transformers (made with 2.6.0 and 4.51.3). The tiny models' weights follow from the tensors' names by
the formula of tests/families/tiny_models.h, so their file holds configurations, tensor names and shapes, token ids and
logits only. A trained model's holds a text, its ids with BOS, and the logits of the last positions.
"""

import json
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from tiny_formula import formula, rounded

TOKENS = 9

LLAMA = dict(model_type="llama", hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
             num_hidden_layers=2, vocab_size=29, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0,
             hidden_act="silu", tie_word_embeddings=False)
GPT2 = dict(model_type="gpt2", n_embd=32, n_head=4, n_layer=2, n_positions=64, vocab_size=29, n_inner=None,
            activation_function="gelu_new", layer_norm_epsilon=1e-5)
OPT = dict(model_type="opt", hidden_size=32, num_attention_heads=4, ffn_dim=48, num_hidden_layers=2, vocab_size=29,
           max_position_embeddings=64, word_embed_proj_dim=32, do_layer_norm_before=True, activation_function="relu")
PHI = dict(model_type="phi", hidden_size=32, num_attention_heads=4, intermediate_size=48, num_hidden_layers=2, vocab_size=29,
           max_position_embeddings=64, layer_norm_eps=1e-5, rope_theta=10000.0, partial_rotary_factor=0.5,
           hidden_act="gelu_new", tie_word_embeddings=False)

CASES = {
    "llama_gqa": LLAMA,
    "llama_mha": LLAMA | dict(num_key_value_heads=4),
    "llama_mqa_tied": LLAMA | dict(num_key_value_heads=1, tie_word_embeddings=True),
    "llama_biases_head_dim": LLAMA | dict(attention_bias=True, mlp_bias=True, head_dim=16),
    "llama_rope_llama3": LLAMA | dict(rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                                        high_freq_factor=4.0, original_max_position_embeddings=16)),
    "llama_rope_yarn": LLAMA | dict(rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)),
    "llama_rope_linear": LLAMA | dict(rope_scaling=dict(rope_type="linear", factor=2.0)),
    "mistral_window": LLAMA | dict(model_type="mistral", sliding_window=4),
    "qwen2": LLAMA | dict(model_type="qwen2", tie_word_embeddings=True, use_sliding_window=False),
    "qwen3": LLAMA | dict(model_type="qwen3", head_dim=16, use_sliding_window=False),
    "gpt2": GPT2,
    "gpt2_scales": GPT2 | dict(n_inner=40, scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True, activation_function="gelu"),
    "opt": OPT,
    "opt_norm_after_projected": OPT | dict(do_layer_norm_before=False, word_embed_proj_dim=16),
    "opt_plain_norms": OPT | dict(enable_bias=False, layer_norm_elementwise_affine=False),
    "phi": PHI,
    "phi_qk_norm_gqa": PHI | dict(qk_layernorm=True, num_key_value_heads=2, partial_rotary_factor=0.25),
}


def run_case(name, config):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="eager").eval()
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    tensors = {}
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key in tied:
                continue
            value.copy_(formula(key, tuple(value.shape)))
            tensors[key] = list(value.shape)
        ids = [(7 * i + 3 * len(name)) % config["vocab_size"] for i in range(TOKENS)]
        logits = model(torch.tensor([ids])).logits[0]
    return dict(name=name, config=config, tensors=tensors, ids=ids, logits=rounded(logits))


PROMPT = ("Once upon a time, there was a little boy named Tim. He found a shiny red ball under the old tree, and he "
          "wanted to show it to his sister. But the ball rolled away")
LAST_POSITIONS = 4


def run_trained(directory):
    model = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=torch.float32, attn_implementation="eager").eval()
    ids = AutoTokenizer.from_pretrained(directory)(PROMPT).input_ids
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    return dict(text=PROMPT, ids=ids, positions=LAST_POSITIONS, argmax=logits.argmax(1).tolist(),
                logits=rounded(logits[-LAST_POSITIONS:]))


def main():
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
    if len(sys.argv) > 2:
        text = json.dumps(dict(made_with=made_with, **run_trained(sys.argv[2])), separators=(",", ":")) + "\n"
    else:
        lines = [json.dumps(run_case(name, config), separators=(",", ":")) for name, config in CASES.items()]
        text = '{"made_with":' + json.dumps(made_with) + ',"cases":[\n' + ",\n".join(lines) + "\n]}\n"
    with open(sys.argv[1], "w") as file:
        file.write(text)


main()
