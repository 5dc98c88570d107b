#!/usr/bin/env python3
"""Writes small Keras networks with random weights as ONNX files, by tf2onnx. Their pictures and convolutions are NHWC, depthwise
layers come as grouped convolutions, and attention as einsum's reshapes and products.

usage: keras_zoo.py OUT_DIR, in an environment with tensorflow and tf2onnx; then ESPALIER_ONNX_ZOO=OUT_DIR onnx_roundtrip_judge.py
"""
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402
from tensorflow.keras import Model, layers as L  # noqa: E402

RANDOM = np.random.default_rng(1)


def norm_relu(x, most=None):
    return L.ReLU(most)(L.BatchNormalization()(x))


def residual_cnn():
    inputs = L.Input((32, 32, 3))
    x = norm_relu(L.Conv2D(16, 3, padding="same", use_bias=False)(inputs))
    x = norm_relu(L.Conv2D(24, 3, strides=2, padding="same")(x))
    branch = L.BatchNormalization()(L.Conv2D(24, 3, padding="same")(x))
    x = L.Flatten()(L.MaxPooling2D()(L.ReLU()(L.Add()([x, branch]))))
    return Model(inputs, L.Dense(10, activation="softmax")(L.Dense(32, activation="relu")(x)))


def depthwise_cnn():
    inputs = L.Input((32, 32, 3))
    x = norm_relu(L.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(inputs), 6.0)
    for width, stride in ((24, 1), (32, 2)):
        x = norm_relu(L.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x), 6.0)
        x = norm_relu(L.Conv2D(width, 1, use_bias=False)(x), 6.0)
    x = L.Activation("swish")(L.SeparableConv2D(40, 3, padding="same")(x))
    gate = L.Conv2D(10, 1, activation="relu")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply()([x, L.Conv2D(40, 1, activation="sigmoid")(gate)])
    return Model(inputs, L.Dense(10)(L.GlobalAveragePooling2D()(x)))


def transformer():
    inputs = L.Input((16, 32))
    x = L.LayerNormalization()(inputs + L.MultiHeadAttention(4, 8)(inputs, inputs))
    # tf2onnx has no Erfc, which the exact GELU becomes.
    hidden = L.Dense(64, activation=lambda t: tf.keras.activations.gelu(t, approximate=True))(x)
    x = L.LayerNormalization()(x + L.Dense(32)(hidden))
    return Model(inputs, L.Dense(10)(L.GlobalAveragePooling1D()(x)))


def randomised(model):
    """Biases, norms and running statistics that are not all 0 or 1."""
    for weight in model.weights:
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(RANDOM.uniform(0.5, 1.5, weight.shape))
        elif any(word in weight.path for word in ("bias", "beta", "mean")):
            weight.assign(RANDOM.normal(0, 0.1, weight.shape))
    return model


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(3)
    for make in (residual_cnn, depthwise_cnn, transformer):
        model = randomised(make())
        signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name="input")]
        function = tf.function(lambda x, model=model: model(x, training=False), input_signature=signature)
        layouts = {"nhwc": None, "nchw": ["input"]} if len(signature[0].shape) == 4 else {"sequence": None}
        for layout, as_nchw in layouts.items():
            for opset in (13, 17):
                name = folder / f"keras_{make.__name__}_{layout}_{opset}.onnx"
                tf2onnx.convert.from_function(function, input_signature=signature, opset=opset, output_path=str(name), inputs_as_nchw=as_nchw)


main()
