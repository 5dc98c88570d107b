#!/usr/bin/env python3
"""Checks espalier's ONNX exporter with the libraries `onnx` and `onnxruntime`.

usage: onnx_export_judge.py CASES_PROGRAM

Every operator and a tiny model of every family, exported at several operator sets: the checker accepts the file with full
shape inference, and onnxruntime computes what espalier's interpreter does. CASES_PROGRAM is the built onnx_cases. Exit 1 if
anything differs.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import judge_setup

judge_setup.ensure(sys.argv[1], "onnx", "onnxruntime")
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def load(folder, entry):
    return np.fromfile(folder / entry["file"], dtype=entry["type"]).reshape(entry["shape"])


def judge(folder, case):
    """What is wrong with the case, or None."""
    path = folder / case["file"]
    onnx.checker.check_model(str(path), full_check=True)
    network = session(path)
    feeds = {entry["name"]: load(folder, entry) for entry in case["inputs"]}
    for entry in case["outputs"]:
        entry["array"] = load(folder, entry)
    for found, expected in zip(network.run(None, feeds), (entry["array"] for entry in case["outputs"]), strict=True):
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return f"{found.dtype} {found.shape}, expected {expected.dtype} {expected.shape}"
        if expected.dtype != np.float32 and not np.array_equal(found, expected):
            return "other integers"
        if expected.dtype == np.float32 and expected.size:
            # Of the size of the tensor: sums of large terms may be small.
            difference = np.abs(found - expected).max() / max(1, np.abs(expected).max())
            if not difference <= case["tolerance"]:
                return f"differs by {difference}"
    return None


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        subprocess.run([program, folder], check=True)
        cases = json.loads((folder / "cases.json").read_text())
        for case in cases:
            try:
                wrong = judge(folder, case)
            except Exception as error:  # noqa: BLE001  the libraries raise whatever they like
                wrong = str(error).replace("\n", " ")[:300]
            if wrong:
                failures += 1
                print(f"FAIL {case['file']} {[entry['shape'] for entry in case['inputs']]}: {wrong}")
    print(f"{len(cases)} checks, {failures} failures")
    sys.exit(1 if failures or not cases else 0)


main()
