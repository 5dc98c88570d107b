#!/usr/bin/env python3
"""Loads what espalier writes with Hugging Face transformers and compares the perplexities that both compute.

usage: transformers_judge.py ESPALIER [NAME…]

ESPALIER is the built program; NAMEs choose among the models below (default: all). The libraries come from
judge_setup.py's environment. stories260K is judged when $ESPALIER_SHARED_DIR holds it. For every model and every way of
writing it:
 - AutoModelForCausalLM.from_pretrained reads the output with no key missing, unexpected or of another shape;
 - AutoTokenizer reads it and gives the ids that it gives for the source;
 - transformers' perplexity over the windows of `espalier eval` is that of espalier to 1e-3, the tokens are as many;
 - after a structured pruning the parameters are as many as espalier reports, after a masked one as sparse.
Exit 1 if anything differs.
"""
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import traceback

import judge_setup

judge_setup.ensure(sys.argv[1], "torch", "transformers", "tokenizers", "sentencepiece")
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: E402

ESPALIER = str(pathlib.Path(sys.argv[1]).resolve())
WANTED = sys.argv[2:]
ASSETS = pathlib.Path(__file__).resolve().parents[2] / "assets"
EMBEDDED = ASSETS / "models" / "espalier-tiny"
TOKENS, WINDOW = 1100, 64
TOLERANCE = 1e-3

LLAMA = dict(model_type="llama", hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
             num_hidden_layers=4, vocab_size=2048, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False,
             bos_token_id=0, eos_token_id=0, pad_token_id=0)
GPT2 = dict(model_type="gpt2", n_embd=64, n_head=4, n_layer=4, n_positions=128, vocab_size=2048, bos_token_id=0, eos_token_id=0)
OPT = dict(model_type="opt", hidden_size=64, num_attention_heads=4, ffn_dim=96, num_hidden_layers=4, vocab_size=2048,
           max_position_embeddings=128, word_embed_proj_dim=64, bos_token_id=0, eos_token_id=0, pad_token_id=0)
PHI = dict(model_type="phi", hidden_size=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=96,
           num_hidden_layers=4, vocab_size=2048, max_position_embeddings=128, bos_token_id=0, eos_token_id=0)

# Configurations, and how the source itself is stored.
TINY = {
    "llama": (LLAMA, {}),
    "llama-tied": (LLAMA | dict(tie_word_embeddings=True), {}),
    "llama-biases": (LLAMA | dict(attention_bias=True, mlp_bias=True, head_dim=32), dict(max_shard_size="200KB")),
    "mistral": (LLAMA | dict(model_type="mistral", sliding_window=16), {}),
    "qwen2": (LLAMA | dict(model_type="qwen2", tie_word_embeddings=True, use_sliding_window=False),
              dict(safe_serialization=False)),
    "qwen3": (LLAMA | dict(model_type="qwen3", head_dim=32, use_sliding_window=False), {}),
    "gpt2": (GPT2, {}),
    "opt": (OPT, {}),
    "opt-projected": (OPT | dict(do_layer_norm_before=False, word_embed_proj_dim=32), {}),
    "phi": (PHI, {}),
}

# Ways of writing. Heads of GPT-2 and OPT cannot be fewer for a stock loader (families/layer_plan.h), so there only
# neurons go.
MASKED = {
    "magnitude": ["--method", "magnitude", "--sparsity", "0.5"],
    "wanda": ["--method", "wanda", "--sparsity", "0.5"],
}
STRUCTURED = {
    "shortgpt": ["--method", "shortgpt", "--sparsity", "0.25"],
    "finercut-blocks": ["--method", "26-finercut", "--sparsity", "0.25", "--set", "level=block"],
}


def structured_ways(config):
    amp = ["--method", "03-amp", "--sparsity", "0.2", "--uniform", "--align", "4"]
    ways = STRUCTURED | {"amp-uniform": amp + (["--set", "scope=mlp"] if config["model_type"] in ("gpt2", "opt") else [])}
    # Norms after the sums belong to the residual stream: they outlive both branches, and a stock loader has no such block.
    if not config.get("do_layer_norm_before", True):
        del ways["finercut-blocks"]
    return ways


def espalier(*arguments):
    run = subprocess.run([ESPALIER, *map(str, arguments), "--json", "-q"], capture_output=True, text=True,
                         env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"})
    if run.returncode != 0:
        raise RuntimeError(f"espalier {' '.join(map(str, arguments))}: exit {run.returncode}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def write_tiny(name, directory):
    config, storage = TINY[name]
    torch.manual_seed(len(name))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # wide enough that the logits say something
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.1 * noise if parameter.dim() == 1 and parameter.mean() > 0.5 else 0.15 * noise)
    model.save_pretrained(directory, **storage)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / file, directory)


def load(directory):
    model, report = AutoModelForCausalLM.from_pretrained(
        directory, torch_dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    for key, values in report.items():
        assert not values, f"{key}: {sorted(map(str, values))[:5]}"
    return model.eval()


def perplexity(model, ids):
    nats, tokens = 0.0, 0
    for begin in range(0, len(ids), WINDOW):
        window = torch.tensor([ids[begin:begin + WINDOW]])
        if window.shape[1] < 2:
            continue
        with torch.no_grad():
            logits = model(window, use_cache=False).logits[0, :-1].double()
        nats += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
        tokens += window.shape[1] - 1
    return math.exp(nats / tokens), tokens


def linear_zeros(model):
    """Share of zeros among the matrices inside the blocks."""
    zeros = count = 0
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and any(part.isdigit() for part in name.split(".")):
            zeros += int((parameter == 0).sum())
            count += parameter.numel()
    return zeros / count


class Source:
    def __init__(self, name, directory, text):
        self.name, self.directory, self.text = name, directory, text
        self.structured = structured_ways(json.loads((directory / "config.json").read_text()))
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.ids = self.tokenizer(text.read_text()).input_ids[:TOKENS]

    def compare(self, directory):
        model = load(directory)
        probe = "It was late, \"too late\" for 12 naïve men.\n\nThe end"
        assert AutoTokenizer.from_pretrained(directory)(probe).input_ids == self.tokenizer(probe).input_ids, "other ids"
        theirs, tokens = perplexity(model, self.ids)
        ours = espalier("eval", directory, "--data", self.text, "--limit", TOKENS, "--length", WINDOW)
        assert ours["tokens"] == tokens, f"espalier scored {ours['tokens']} tokens, transformers {tokens}"
        difference = abs(ours["value"] / theirs - 1)
        assert difference < TOLERANCE, f"perplexity: espalier {ours['value']:.5f}, transformers {theirs:.5f}"
        return model, theirs, difference

    def judge(self, way, work):
        out = work / way
        if way == "convert":
            espalier("convert", self.directory, "-o", out)
            model, value, difference = self.compare(out)
            assert perplexity(load(self.directory), self.ids)[0] == value, "converting changed the perplexity"
            return value, difference
        masked = MASKED.get(way)
        report = espalier("prune", self.directory, *(masked or self.structured[way]), "--calib", self.text,
                          "--samples", 8, "--length", WINDOW, "-o", out)
        model, value, difference = self.compare(out)
        if masked:
            assert abs(linear_zeros(model) - 0.5) < 0.01, f"{linear_zeros(model):.4f} of the weights are zeros"
        else:
            count = sum(parameter.numel() for parameter in model.parameters())
            assert count == report["after"]["params"], f"{count} parameters, reported {report['after']['params']}"
            assert count < report["before"]["params"], "nothing was removed"
        return value, difference

    def judge_all(self, work):
        bad = 0
        for way in ["convert", *MASKED, *self.structured]:
            try:
                value, difference = self.judge(way, work)
                print(f"ok   {self.name} {way}: perplexity {value:.4f}, difference {difference:.1e}", flush=True)
            except Exception as error:  # the others are judged all the same
                bad += 1
                detail = error if isinstance(error, (AssertionError, RuntimeError)) else traceback.format_exc()
                print(f"FAIL {self.name} {way}: {detail}", flush=True)
        return bad


def sources(work):
    evaluation = ASSETS / "data" / "evaluation.txt"
    for name in TINY:
        directory = work / name / "source"
        if not WANTED or name in WANTED:
            write_tiny(name, directory)
            yield Source(name, directory, evaluation)
    if not WANTED or "espalier-tiny" in WANTED:
        yield Source("espalier-tiny", EMBEDDED, evaluation)
    data = judge_setup.shared_dir() / "data"
    stories, text = data / "llama2c-stories260K" / "hf", data / "text" / "tinystories-sample" / "tinystories_val.txt"
    if not WANTED or "stories260K" in WANTED:
        if stories.exists() and text.exists():
            yield Source("stories260K", stories, text)
        else:
            print(f"skip stories260K: needs {stories} and {text}")


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    bad = 0
    with tempfile.TemporaryDirectory(prefix="transformers-judge-") as work:
        for source in sources(pathlib.Path(work)):
            place = pathlib.Path(work) / source.name
            place.mkdir(exist_ok=True)
            bad += source.judge_all(place)
    print("everything agrees" if bad == 0 else f"{bad} failed")
    return bad > 0


sys.exit(main())
