#!/usr/bin/env python3
"""Holds imported ONNX files of other exporters against onnxruntime.

usage: onnx_import_judge.py LAB_TESTS

The files are those of $ESPALIER_ONNX_ZOO, else made by onnx_zoo.py, and those of $ESPALIER_SHARED_DIR/data. For each this writes
inputs and onnxruntime's outputs, two rows where the file leaves the batch open; LAB_TESTS (the built lab_tests) then compares its
interpreter with them, batches with their single rows, and masked graphs with cut ones. Exit 1 if anything differs.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import judge_setup

judge_setup.ensure(sys.argv[1], "onnx", "onnxruntime")
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

TOKENS = 12  # of inputs whose length is open; the zoo's models were traced with as many


def without_zeros(path, out):
    """A copy whose matrices of zeros, as fresh heads have, hold numbers: else every output would be the bias."""
    model, random = onnx.load(path), np.random.default_rng(1)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1 and values.size > 16 and not values.any():
            fresh = random.standard_normal(values.shape) / np.sqrt(values.shape[-1])
            tensor.CopyFrom(onnx.numpy_helper.from_array(fresh.astype(np.float32), tensor.name))
    onnx.save(model, str(out))
    return str(out)


def make_input(value, shape, random):
    if value.type == "tensor(int64)":
        ids = random.integers(0, 90, shape)
        if "mask" in value.name:
            ids = np.ones(shape, np.int64)
            ids[:, -3:] = 0
        return ids
    if shape[1:] == [3, 416, 416]:  # pictures of bytes; with smaller values that model's own rounding is of the size of 1e-4
        return (114 + 100 * np.sin(np.arange(np.prod(shape)) * 0.01)).astype(np.float32).reshape(shape)
    return random.standard_normal(shape).astype(np.float32)


def write_case(source, folder):
    name, random = source.stem, np.random.default_rng(0)
    path = without_zeros(source, folder / source.name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    network = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds, inputs, outputs = {}, [], []
    if any(value.type not in ("tensor(float)", "tensor(int64)") for value in network.get_inputs()):
        return
    for value in network.get_inputs():
        shapes = [[size if isinstance(size, int) else (batch if axis == 0 else TOKENS) for axis, size in enumerate(value.shape)]
                  for batch in (2, 1)]
        feeds[value.name] = array = make_input(value, shapes[0], random)
        file = f"{name}.in.{len(inputs)}"
        array.tofile(folder / file)
        inputs.append({"name": value.name, "file": file, "dtype": str(array.dtype), "shape": shapes[0], "import_shape": shapes[1]})
    for value, array in zip(network.get_outputs(), network.run(None, feeds)):
        file = f"{name}.out.{len(outputs)}"
        np.ascontiguousarray(array).tofile(folder / file)
        outputs.append({"name": value.name, "file": file, "dtype": str(array.dtype), "shape": list(array.shape)})
    (folder / f"{name}.json").write_text(json.dumps({"model": path, "inputs": inputs, "outputs": outputs}))


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder, zoo = pathlib.Path(temporary), os.environ.get("ESPALIER_ONNX_ZOO")
        if not zoo:
            judge_setup.ensure(sys.argv[1], "torch", "torchvision", "transformers")
            zoo = folder / "zoo"
            subprocess.run([sys.executable, pathlib.Path(__file__).with_name("onnx_zoo.py"), zoo], check=True)
        for source in sorted(pathlib.Path(zoo).glob("*.onnx")) + sorted((judge_setup.shared_dir() / "data").glob("*/*.onnx")):
            write_case(source, folder)
        environment = {**os.environ, "ESPALIER_ONNX_CASES": temporary, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.argv[1], "--gtest_filter=OnnxCases.*"], env=environment, check=False)
        return done.returncode


sys.exit(main())
