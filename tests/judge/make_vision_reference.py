"""Outputs of tiny vision models and BERTs computed by torchvision and transformers, for tests to compare with.

    make_vision_reference.py OUT.json      tests/families/data/vision_reference.json

Needs torch, torchvision and transformers (made with 2.6.0, 0.21.0 and 4.51.3). Weights and pictures follow from names
by the formula of tests/families/tiny_models.h, so the file holds configurations, tensor names and shapes, and outputs
only. Architectures that neither library has are written out here from their papers.
"""

import json
import sys

import torch
import torchvision
import transformers
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenetv2, resnet, shufflenetv2, squeezenet, vgg, vision_transformer

from tiny_formula import formula, rounded

CLASSES = 7


class CifarBlock(nn.Module):
    """Basic block; option A pads channels with zeros and takes every second position, option B convolves."""

    def __init__(self, before, width, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.more = stride, width - before
        self.shortcut = nn.Sequential()
        if option == "B" and (stride > 1 or self.more):
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if len(self.shortcut):
            return F.relu(y + self.shortcut(x))
        half = self.more // 2
        return F.relu(y + F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half)))


class CifarResNet(nn.Module):
    def __init__(self, option, depth=1, widths=(8, 16, 32)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        before = widths[0]
        for i, width in enumerate(widths):
            blocks = [CifarBlock(before if j == 0 else width, width, 2 if i > 0 and j == 0 else 1, option) for j in range(depth)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            before = width
        self.linear = nn.Linear(before, CLASSES)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        if before != width or stride > 1:
            self.convShortcut = nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x):
        first = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(first))))
        return y + (self.convShortcut(first) if hasattr(self, "convShortcut") else x)


class WideStage(nn.Module):
    def __init__(self, before, width, stride, depth):
        super().__init__()
        self.layer = nn.Sequential(*[WideBlock(before if i == 0 else width, width, stride if i == 0 else 1) for i in range(depth)])

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth=16, factor=1):
        super().__init__()
        n, w = (depth - 4) // 6, [16, 16 * factor, 32 * factor, 64 * factor]
        self.conv1 = nn.Conv2d(3, w[0], 3, 1, 1, bias=False)
        self.block1, self.block2, self.block3 = WideStage(w[0], w[1], 1, n), WideStage(w[1], w[2], 2, n), WideStage(w[2], w[3], 2, n)
        self.bn1 = nn.BatchNorm2d(w[3])
        self.fc = nn.Linear(w[3], CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


class MobileNetV1(nn.Module):
    def __init__(self, multiplier=0.25):
        super().__init__()
        w = lambda n: int(n * multiplier)
        widths, strides = [64, 128, 128, 256, 256] + [512] * 6 + [1024] * 2, [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        layers, before = [nn.Sequential(nn.Conv2d(3, w(32), 3, 2, 1, bias=False), nn.BatchNorm2d(w(32)), nn.ReLU())], w(32)
        for width, stride in zip(widths, strides):
            layers.append(nn.Sequential(nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False), nn.BatchNorm2d(before), nn.ReLU(),
                                        nn.Conv2d(before, w(width), 1, bias=False), nn.BatchNorm2d(w(width)), nn.ReLU()))
            before = w(width)
        self.model = nn.Sequential(*layers)
        self.fc = nn.Linear(before, CLASSES)

    def forward(self, x):
        return self.fc(self.model(x).mean((2, 3)))


def small_vgg(batch_norm):
    model = vgg.VGG(vgg.make_layers([8, "M", 12, 12, "M"], batch_norm=batch_norm), num_classes=CLASSES)
    model.classifier = nn.Sequential(nn.Linear(12 * 49, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 20), nn.ReLU(), nn.Dropout(),
                                     nn.Linear(20, CLASSES))
    return model


VGG = dict(model_type="vgg", features=[8, "M", 12, 12, "M"], classifier=[24, 20], pooled_size=7, image_size=28, num_classes=CLASSES)
VIT = dict(model_type="vit", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=24,
           patch_size=8, num_labels=CLASSES)
SWIN = dict(model_type="swin", image_size=32, patch_size=2, embed_dim=16, depths=[2, 2, 2], num_heads=[2, 4, 8], window_size=4,
            num_labels=CLASSES)
BERT = dict(model_type="bert", vocab_size=31, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
            max_position_embeddings=24)
DISTIL = dict(model_type="distilbert", vocab_size=31, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=24)


def hugging_face(architecture):
    def make(config):
        own = transformers.AutoConfig.for_model(**config, attn_implementation="eager")
        return getattr(transformers, architecture)(own)
    return make


def torchvision_vit(config):
    return vision_transformer.VisionTransformer(24, 8, 2, 4, 32, 48, num_classes=CLASSES)


def torchvision_resnet(block, groups=1, width=64):
    return lambda config: resnet.ResNet(block, [2, 1, 1, 1], num_classes=CLASSES, groups=groups, width_per_group=width)


RESNET = dict(model_type="resnet-torchvision", layers=[2, 1, 1, 1], num_classes=CLASSES, image_size=40)
HF_RESNET = dict(model_type="resnet", embedding_size=8, hidden_sizes=[8, 16, 24], depths=[1, 2, 1], num_labels=CLASSES, image_size=40)

CASES = {
    "resnet_basic": (RESNET | dict(block="basic"), torchvision_resnet(resnet.BasicBlock)),
    "resnext": (RESNET | dict(block="bottleneck", groups=8, width_per_group=4), torchvision_resnet(resnet.Bottleneck, 8, 4)),
    "resnet_hf_basic": (HF_RESNET | dict(layer_type="basic"), hugging_face("ResNetForImageClassification")),
    "resnet_hf_bottleneck": (HF_RESNET | dict(layer_type="bottleneck", downsample_in_first_stage=True),
                             hugging_face("ResNetForImageClassification")),
    "resnet_cifar_a": (dict(model_type="resnet-cifar", depth=14, widths=[8, 16, 32], num_classes=CLASSES), lambda c: CifarResNet("A", 2)),
    "resnet_cifar_b": (dict(model_type="resnet-cifar", layers=[1, 1, 1], widths=[8, 16, 32], shortcut="B", num_classes=CLASSES),
                       lambda c: CifarResNet("B")),
    "wide_resnet": (dict(model_type="wide-resnet", depth=16, widen_factor=1, num_classes=CLASSES), lambda c: WideResNet()),
    "vgg": (VGG | dict(batch_norm=False), lambda c: small_vgg(False)),
    "vgg_bn": (VGG | dict(batch_norm=True), lambda c: small_vgg(True)),
    "mobilenet_v1": (dict(model_type="mobilenet-v1", width_mult=0.25, num_classes=CLASSES, image_size=64), lambda c: MobileNetV1()),
    "mobilenet_v2": (dict(model_type="mobilenet-v2", width_mult=0.25, num_classes=CLASSES, image_size=64),
                     lambda c: mobilenetv2.MobileNetV2(CLASSES, 0.25)),
    "squeezenet_1_0": (dict(model_type="squeezenet", version="1.0", num_classes=CLASSES, image_size=64),
                       lambda c: squeezenet.SqueezeNet("1_0", CLASSES)),
    "squeezenet_1_1": (dict(model_type="squeezenet", version="1.1", num_classes=CLASSES, image_size=64),
                       lambda c: squeezenet.SqueezeNet("1_1", CLASSES)),
    "shufflenet": (dict(model_type="shufflenet-v2", stages_repeats=[2, 2, 2], stages_out_channels=[8, 12, 16, 24, 40],
                        num_classes=CLASSES, image_size=64),
                   lambda c: shufflenetv2.ShuffleNetV2([2, 2, 2], [8, 12, 16, 24, 40], CLASSES)),
    "vit": (VIT, hugging_face("ViTForImageClassification")),
    "vit_torchvision": (VIT | dict(layout="torchvision", layer_norm_eps=1e-6), torchvision_vit),
    "deit": (VIT | dict(model_type="deit", qkv_bias=False), hugging_face("DeiTForImageClassification")),
    "deit_with_teacher": (VIT | dict(model_type="deit", layout="deit-with-teacher"),
                          hugging_face("DeiTForImageClassificationWithTeacher")),
    "swin": (SWIN, hugging_face("SwinForImageClassification")),
    "swin_padded": (SWIN | dict(image_size=35), hugging_face("SwinForImageClassification")),
    "bert": (BERT, hugging_face("BertModel")),
    "bert_classifier": (BERT | dict(num_labels=3), hugging_face("BertForSequenceClassification")),
    "bert_pretraining": (BERT, hugging_face("BertForPreTraining")),
    "distilbert": (DISTIL, hugging_face("DistilBertModel")),
    "distilbert_classifier": (DISTIL | dict(num_labels=3), hugging_face("DistilBertForSequenceClassification")),
    "distilbert_tokens": (DISTIL, hugging_face("DistilBertForMaskedLM")),
}
# Second names of tied weights, and buffers.
LEFT_OUT = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "vocab_projector.weight", "num_batches_tracked",
            "relative_position_index", "position_ids")
OUTPUTS = {"bert_pretraining": ("prediction_logits", "seq_relationship_logits"), "bert": ("last_hidden_state", "pooler_output"),
           "distilbert": ("last_hidden_state",)}


def run_case(name, config, make):
    model = make(config).eval()
    tensors = {}
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith(LEFT_OUT):
                continue
            value.copy_(formula(key, tuple(value.shape)))
            tensors[key] = list(value.shape)
        if "vocab_size" in config:
            shape = [1, 9]
            inputs = torch.tensor([[(7 * i + 3) % config["vocab_size"] for i in range(shape[1])]])
        else:
            side = config.get("image_size", 32)
            shape = [2, 3, side, side]
            inputs = formula("pixel_values", tuple(shape))
        found = model(inputs)
    if isinstance(found, torch.Tensor):
        outputs = [found]
    else:
        outputs = [found[key] for key in OUTPUTS.get(name, ("logits",))]
    return dict(name=name, config=config, tensors=tensors, input=shape, outputs=[rounded(output) for output in outputs])


def main():
    made_with = (f"torchvision {torchvision.__version__.split('+')[0]}, transformers {transformers.__version__}, "
                 f"torch {torch.__version__.split('+')[0]}")
    lines = [json.dumps(run_case(name, *case), separators=(",", ":")) for name, case in CASES.items()]
    with open(sys.argv[1], "w") as file:
        file.write('{"made_with":' + json.dumps(made_with) + ',"cases":[\n' + ",\n".join(lines) + "\n]}\n")


main()
