#!/usr/bin/env python3
"""Imports ONNX files of other exporters, exports them again, and compares in onnxruntime.

usage: onnx_roundtrip_judge.py ROUNDTRIP_PROGRAM

The files are those of $ESPALIER_ONNX_ZOO, else made by onnx_zoo.py, and those of $ESPALIER_SHARED_DIR/data. For each: the checker
accepts what was written, onnxruntime computes the same from it as from the original and as espalier's interpreter, and inputs and
outputs have the same names, types and symbolic sizes. Then the same after about 30 % of every group was cut: onnxruntime agrees
with the interpreter, and the file is smaller. ROUNDTRIP_PROGRAM is the built onnx_roundtrip. Exit 1 if anything differs.
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
ATTRIBUTES = ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string")


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def make_inputs(network, folder, batch=1):
    """Arrays by name, also written into the folder for the program."""
    random, feeds, entries = np.random.default_rng(3), {}, []
    for value in network.get_inputs():
        open_size = lambda axis: batch if axis == 0 else TOKENS  # noqa: E731
        shape = [size if isinstance(size, int) else open_size(axis) for axis, size in enumerate(value.shape)]
        if "int64" in value.type:
            array = np.ones(shape, np.int64) if "mask" in value.name else random.integers(0, 90, shape)
        else:
            # Pictures of bytes; with smaller values that model's own rounding is of the size of 1e-4.
            scale = 100 if shape == [1, 3, 416, 416] else 1
            array = (scale * random.standard_normal(shape)).astype(np.float16 if "float16" in value.type else np.float32)
        feeds[value.name] = array
        kind = "int64" if array.dtype == np.int64 else "float32"
        (array if kind == "int64" else array.astype(np.float32)).tofile(folder / f"in.{len(entries)}")
        entries.append({"name": value.name, "type": kind, "shape": shape, "file": f"in.{len(entries)}"})
    (folder / "inputs.json").write_text(json.dumps(entries))
    return feeds


def difference(a, b):
    if a.shape != b.shape:
        return f"shape {a.shape}, expected {b.shape}"
    both_nan = np.isnan(a) & np.isnan(b)
    error = np.abs(a.astype(np.float64) - b) / np.maximum(1, np.abs(b))
    return float(np.where(both_nan, 0, error).max(initial=0))


class Judge:
    def __init__(self, program):
        self.program, self.checks, self.failures = program, 0, 0

    def report(self, name, good, why):
        self.checks += 1
        if not good:
            self.failures += 1
            print(f"FAIL {name}: {why}", flush=True)
        return good

    def close(self, name, found, expected, limit):
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            how_far = difference(a, b)
            self.report(f"{name}: output {i}", isinstance(how_far, float) and how_far <= limit, f"differs by {how_far}")

    def export(self, name, source, folder, *seed):
        target = folder / "again.onnx"
        run = subprocess.run([self.program, source, target, folder, *seed], capture_output=True, text=True)
        if not self.report(name, run.returncode == 0, run.stderr.strip()[-300:]):
            return None, None
        try:
            onnx.checker.check_model(str(target), full_check=True)
        except Exception as error:  # noqa: BLE001
            self.report(name, False, str(error)[:300])
        return target, json.loads(run.stdout)

    def interpreted(self, told, folder):
        return [np.fromfile(folder / f"out.{i}", np.float32).reshape(shape) for i, shape in enumerate(told["outputs"])]

    def same_frame(self, name, source, target):
        before, after = onnx.load(source, load_external_data=False), onnx.load(target, load_external_data=False)
        raised = max([o.version for o in before.opset_import if o.domain in ("", "ai.onnx")]) < 11
        for attribute in ATTRIBUTES[1 if raised else 0:]:
            self.report(f"{name}: {attribute}", getattr(before, attribute) == getattr(after, attribute), "is another")
        self.report(f"{name}: metadata", list(before.metadata_props) == list(after.metadata_props), "is another")
        weights = {tensor.name for tensor in before.graph.initializer}
        inputs = [value for value in before.graph.input if value.name not in weights]
        self.report(f"{name}: inputs", inputs == [v for v in after.graph.input if v.name not in weights], "are others")
        self.report(f"{name}: outputs", list(before.graph.output) == list(after.graph.output), "are others")

    def judge(self, source, folder):
        name = source.name
        network = session(source)
        feeds = make_inputs(network, folder)
        expected = network.run(None, feeds)
        target, told = self.export(name, source, folder)
        if target is None:
            return
        self.same_frame(name, source, target)
        again = session(target)
        self.close(f"{name} exported", again.run(None, feeds), expected, 1e-5)
        if "outputs" in told:
            half = any("float16" in value.type for value in network.get_inputs())
            limit = 3e-3 if half else 5e-5 if "yolox" in name else 1e-5
            self.close(f"{name} interpreted", self.interpreted(told, folder), expected, limit)
        if any(not isinstance(value.shape[0], int) for value in network.get_inputs()):
            feeds = make_inputs(network, folder, batch=3)
            self.close(f"{name} exported, batch of 3", again.run(None, feeds), network.run(None, feeds), 1e-5)
        self.judge_cut(source, folder, network, told["opaque"], target.stat().st_size)

    def judge_cut(self, source, folder, network, opaque, size):
        feeds = make_inputs(network, folder)
        name = source.name + " cut"
        target, told = self.export(name, source, folder, "7")
        if target is None:
            return
        found = session(target).run(None, feeds)
        if not opaque:
            half = any("float16" in value.type for value in network.get_inputs())
            self.close(name, found, self.interpreted(told, folder), 3e-3 if half else 1e-4)
        before, after = told["bytes"]
        self.report(f"{name}: anything", opaque or told["cuts"] > 0, "nothing was cut")
        # What is no weight stays as large as it was, or grows by the indices of layout chains.
        removed, gone = size - target.stat().st_size, before - after
        self.report(f"{name}: size", removed > 0.9 * gone - 30000, f"{gone} bytes of weights less, but the file only {removed}")
        print(f"{name}: {told['cuts']} groups, {before} -> {after} bytes of weights, file {size} -> {target.stat().st_size}")


def zoo(folder):
    named = os.environ.get("ESPALIER_ONNX_ZOO")
    if not named:
        named = folder / "zoo"
        subprocess.run([sys.executable, pathlib.Path(__file__).with_name("onnx_zoo.py"), named], check=True)
    return sorted(pathlib.Path(named).glob("*.onnx"))


def main():
    judge = Judge(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        only = os.environ.get("ESPALIER_ONNX_ONLY", "")
        for source in [*zoo(folder), *sorted(judge_setup.shared_dir().glob("data/*/*.onnx"))]:
            if only in source.name:
                judge.judge(source, folder)
    print(f"{judge.checks} checks, {judge.failures} failures")
    sys.exit(1 if judge.failures or not judge.checks else 0)


main()
