#!/usr/bin/env python3
"""Writes small networks with random weights as ONNX files, by PyTorch's exporter: outside judges for espalier's importer and exporter.

usage: onnx_zoo.py OUT_DIR
"""
import os
import pathlib
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch  # noqa: E402
import torchvision.models as vision  # noqa: E402
import transformers as hf  # noqa: E402

IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
SMALL_IMAGE = IMAGE[:, :, :32, :32]
IDS = torch.arange(12).reshape(1, 12) * 7 % 90
BATCH, TEXT = {0: "batch"}, {0: "batch", 1: "tokens"}


def randomised(model):
    """Biases, norms and running statistics that are not all 0 or 1."""
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def swin(**more):
    return vision.SwinTransformer(patch_size=[4, 4], embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4],
                                  num_classes=10, **more)


def convnext():
    block = vision.convnext.CNBlockConfig
    return vision.convnext.ConvNeXt([block(16, 32, 2), block(32, 64, 2), block(64, None, 1)], num_classes=10)


VISION = {
    "resnet18": (11, lambda: vision.resnet18(num_classes=10)),
    "mobilenet_v2": (13, lambda: vision.mobilenet_v2(num_classes=10, width_mult=0.35)),
    "shufflenet": (17, lambda: vision.shufflenet_v2_x0_5(num_classes=10)),
    "squeezenet": (17, lambda: vision.squeezenet1_1(num_classes=10)),
    "densenet": (17, lambda: vision.DenseNet(growth_rate=8, block_config=(2, 3, 2), num_init_features=16, num_classes=10)),
    "efficientnet": (17, lambda: vision.efficientnet_b0(num_classes=10)),
    "regnet": (18, lambda: vision.regnet_y_400mf(num_classes=10)),
    "googlenet": (17, lambda: vision.googlenet(num_classes=10, aux_logits=False, init_weights=False)),
    "convnext": (17, convnext),
    "vit": (17, lambda: vision.VisionTransformer(image_size=64, patch_size=16, num_layers=3, num_heads=4, hidden_dim=64,
                                                 mlp_dim=128, num_classes=10)),
    "swin": (17, swin),
    "swin_v2": (17, lambda: swin(block=vision.swin_transformer.SwinTransformerBlockV2,
                                 downsample_layer=vision.swin_transformer.PatchMergingV2)),
}


def transformers_models(attention):
    text = {"vocab_size": 100, "attn_implementation": attention}
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    mask = torch.ones_like(IDS)
    yield "bert", hf.BertForSequenceClassification(hf.BertConfig(**text, **wide, max_position_embeddings=64)), (IDS, mask)
    yield "llama", hf.LlamaForCausalLM(hf.LlamaConfig(**text, **wide, num_key_value_heads=2, max_position_embeddings=64)), (IDS,)
    yield "distilbert", hf.DistilBertForSequenceClassification(hf.DistilBertConfig(
        **text, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64)), (IDS, mask)
    yield "gpt2", hf.GPT2LMHeadModel(hf.GPT2Config(**text, n_embd=32, n_layer=2, n_head=4, n_positions=64)), (IDS,)
    yield "vit_hf", hf.ViTForImageClassification(hf.ViTConfig(
        **wide, image_size=32, patch_size=8, num_labels=10, attn_implementation=attention)), (SMALL_IMAGE,)


class Block(torch.nn.Module):
    """A pre-norm block of width 32 with 4 heads; subclasses write attention in one way each."""

    WIDE = 32

    def __init__(self):
        super().__init__()
        layer = torch.nn.Linear
        self.embed, self.out, self.up, self.down, self.head = layer(12, 32), layer(32, 32), layer(32, 64), layer(64, 32), layer(32, 5)
        self.first, self.second, self.qkv = torch.nn.LayerNorm(32), torch.nn.LayerNorm(32), layer(32, 96 if self.WIDE == 32 else self.WIDE)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.out(self.attend(self.first(x)))
        return self.head((x + self.down(torch.relu(self.up(self.second(x))))).mean(1))


class Packed(Block):  # timm
    def attend(self, x):
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        return ((q * 8**-0.5 @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(x.shape)


class Interleaved(Block):  # BLOOM: a query, a key and a value for each head; batch and heads as one dim
    def attend(self, x):
        n, t, _ = x.shape
        q, k, v = (part.squeeze(3).transpose(1, 2).reshape(n * 4, t, 8) for part in self.qkv(x).view(n, t, 4, 3, 8).split(1, 3))
        mixed = torch.bmm((torch.bmm(q, k.transpose(1, 2)) * 8**-0.5).softmax(-1), v)
        return mixed.view(n, 4, t, 8).permute(0, 2, 1, 3).reshape(x.shape)


class TokensFirst(Block):  # PyTorch's attention before it was fused
    def attend(self, x):
        n, t, _ = x.shape
        q, k, v = (part.contiguous().view(t, n * 4, 8).transpose(0, 1) for part in self.qkv(x.transpose(0, 1)).chunk(3, -1))
        mixed = torch.bmm(torch.bmm(q * 8**-0.5, k.transpose(1, 2)).softmax(-1), v)
        return mixed.transpose(0, 1).contiguous().view(t, n, 32).transpose(0, 1)


class Einsums(Block):
    def attend(self, x):
        q, k, v = (part.reshape(*x.shape[:2], 4, 8) for part in self.qkv(x).chunk(3, -1))
        weights = (torch.einsum("bihd,bjhd->bhij", q, k) * 8**-0.5).softmax(-1)
        return torch.einsum("bhij,bjhd->bihd", weights, v).reshape(x.shape)


class OneKeyForAll(Block):  # multi-query, in a window of the past
    WIDE = 48

    def attend(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).split((32, 8, 8), -1)
        behind = torch.arange(t)[:, None] - torch.arange(t)[None]
        scores = q.view(n, t, 4, 8).transpose(1, 2) @ k.unsqueeze(1).transpose(-1, -2) * 8**-0.5
        weights = scores.masked_fill((behind < 0) | (behind > 2), float("-inf")).softmax(-1)
        return (weights @ v.unsqueeze(1)).transpose(1, 2).reshape(x.shape)


class OneOutput(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model.eval()
        self.model.config.use_cache = False

    def forward(self, first, mask=None):
        result = self.model(first) if mask is None else self.model(first, attention_mask=mask)
        return result.logits


class Half(torch.nn.Module):
    """fp16 weights and values all through."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(16, 24), torch.nn.LayerNorm(24), torch.nn.GELU(), torch.nn.Linear(24, 8),
                                        torch.nn.SiLU(), torch.nn.Hardswish())

    def forward(self, x):
        return torch.clamp(self.body(x), -1, 3).softmax(-1)


def export(out, name, model, arguments, names, axes, opset):
    # With gradients on: without them PyTorch takes a fused attention that it cannot export.
    torch.onnx.export(model, arguments, str(out / f"{name}.onnx"), opset_version=opset, input_names=names,
                      output_names=["out"], dynamic_axes=axes, dynamo=False)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name, (opset, make) in VISION.items():
        model = randomised(make())
        export(out, name, model, (IMAGE,), ["image"], {"image": BATCH, "out": BATCH}, opset)
        if name in ("resnet18", "vit", "swin"):
            export(out, name + "_fixed", model, (IMAGE,), ["image"], None, 14)
    for attention in ("eager", "sdpa"):
        for name, model, arguments in transformers_models(attention):
            names = ["first", "mask"][: len(arguments)]
            axes = {key: BATCH if arguments[0].dim() == 4 else TEXT for key in names}
            export(out, f"{name}_{attention}", OneOutput(model), arguments, names, axes, 14)
    for kind in (Packed, Interleaved, TokensFirst, Einsums, OneKeyForAll):
        export(out, f"attention_{kind.__name__.lower()}", kind().eval(), (torch.randn(2, 7, 12),), ["x"], {"x": BATCH, "out": BATCH}, 17)
    export(out, "half", Half().half().eval(), (torch.randn(2, 5, 16).half(),), ["x"], {"x": BATCH, "out": BATCH}, 17)


main()
