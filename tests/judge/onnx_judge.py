#!/usr/bin/env python3
"""Compares espalier's ONNX reader and writer with the libraries `onnx` and `onnxruntime`.

usage: onnx_judge.py REWRITE_PROGRAM      rewrites the models of $ESPALIER_SHARED_DIR and models made here; checks that the
                                          results are valid, hold the same messages and compute the same, and that
                                          hostile files are refused
       onnx_judge.py --fixtures OUT_DIR   writes the small models of tests/io/data/onnx, with the numbers that the
                                          library reads from them

REWRITE_PROGRAM is the built onnx_rewrite. The libraries are taken from the running Python, or from the virtual
environment of judge_setup.py. Exit 1 if anything differs.
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
from onnx import TensorProto as T  # noqa: E402
from onnx import checker, external_data_helper as external, helper as build, numpy_helper as arrays  # noqa: E402

rng = np.random.default_rng(1)


def info(name, shape, kind=T.FLOAT):
    return build.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, initializers=(), opset=17, ir=8, imports=(), functions=(), **more):
    graph = build.make_graph(nodes, "g", inputs, outputs, list(initializers), **more)
    opsets = [build.make_opsetid("", opset), *(build.make_opsetid(d, v) for d, v in imports)]
    return build.make_model(graph, opset_imports=opsets, ir_version=ir, functions=list(functions), producer_name="judge")


def typed_and_raw(name, kind, values, shape):
    """The same tensor twice: in its typed field and as raw_data."""
    typed = build.make_tensor(name + "_typed", kind, shape, values)
    raw = arrays.from_array(arrays.to_array(typed), name + "_raw")
    assert raw.HasField("raw_data") and raw.data_type == kind, name
    return [typed, raw]


NUMERIC = {
    "float": (T.FLOAT, [0.5, -1.25, 3e38, 1e-40], [2, 2]),
    "uint8": (T.UINT8, [0, 1, 255], [3]),
    "int8": (T.INT8, [-128, -1, 127], [3]),
    "uint16": (T.UINT16, [0, 65535], [2]),
    "int16": (T.INT16, [-32768, 32767], [1, 2]),
    "int32": (T.INT32, [-2147483648, -1, 2147483647], [3]),
    "int64": (T.INT64, [-(2**63), 2**63 - 1, 0], [3]),
    "bool": (T.BOOL, [True, False, True], [3]),
    "float16": (T.FLOAT16, [0.5, -2.0, 65504.0], [3]),
    "double": (T.DOUBLE, [0.1, -1e300], [2]),
    "uint32": (T.UINT32, [0, 4294967295], [2]),
    "uint64": (T.UINT64, [0, 2**64 - 1], [2]),
    "bfloat16": (T.BFLOAT16, [1.0, -3.140625, 1e30], [3]),
    "float8e4m3fn": (T.FLOAT8E4M3FN, [1.0, -448.0, 0.015625], [3]),
    "float8e5m2": (T.FLOAT8E5M2, [1.0, -57344.0, 0.25], [3]),
    "int4": (T.INT4, [-8, 7, 0, -1, 3], [5]),
    "uint4": (T.UINT4, [15, 0, 9], [3, 1]),
    "int2": (T.INT2, [-2, 1, 0, -1, 1], [5]),
    "uint2": (T.UINT2, [3, 0, 2, 1, 1, 3], [2, 3]),
}


def types_model():
    tensors = []
    for name, (kind, values, shape) in NUMERIC.items():
        tensors += typed_and_raw(name, kind, values, shape)
    tensors.append(build.make_tensor("scalar", T.FLOAT, [], [7.0]))
    tensors.append(build.make_tensor("empty", T.FLOAT, [0, 3], []))
    node = build.make_node("Identity", ["x"], ["y"])
    return model([node], [info("x", ["n", 2])], [info("y", ["n", 2])], tensors, opset=21, ir=13)


def sparse_model():
    def sparse(name, indices):
        values = arrays.from_array(np.array([1.5, -2.0, 3.0], np.float32), name)
        return build.make_sparse_tensor(values, arrays.from_array(np.array(indices, np.int64), ""), [3, 4])

    nodes = [build.make_node("Add", ["x", "linear"], ["h"]), build.make_node("Add", ["h", "pairs"], ["y"])]
    tensors = [sparse("linear", [1, 4, 11]), sparse("pairs", [[0, 1], [1, 0], [2, 3]])]
    return model(nodes, [info("x", [3, 4])], [info("y", [3, 4])], sparse_initializer=tensors)


def control_model():
    """If and Loop whose bodies capture names of the outer graph."""
    then = build.make_graph([build.make_node("Add", ["h", "w"], ["t"])], "then", [], [info("t", [2])])
    other = build.make_graph([build.make_node("Sub", ["h", "w"], ["e"])], "else", [], [info("e", [2])])
    body = build.make_graph(
        [build.make_node("Mul", ["state", "w"], ["next"]), build.make_node("Identity", ["going"], ["still"])], "body",
        [info("step", [], T.INT64), info("going", [], T.BOOL), info("state", [2])],
        [info("still", [], T.BOOL), info("next", [2])])
    nodes = [
        build.make_node("Neg", ["x"], ["h"], name="neg"),
        build.make_node("If", ["c"], ["i"], then_branch=then, else_branch=other),
        build.make_node("Loop", ["trips", "c", "i"], ["y"], body=body),
    ]
    tensors = [arrays.from_array(np.array([2, 3], np.float32), "w"), arrays.from_array(np.array(3, np.int64), "trips")]
    return model(nodes, [info("x", [2]), info("c", [], T.BOOL)], [info("y", [2])], tensors)


def functions_model():
    scaled = build.make_node("LeakyRelu", ["a"], ["t"])
    reference = onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    scaled.attribute.append(reference)
    leaky = build.make_function("own", "Leaky", ["a"], ["b"], [scaled, build.make_node("Neg", ["t"], ["b"])],
                                 [build.make_opsetid("", 17)], ["slope"])
    outer = build.make_function("own", "Twice", ["a"], ["b"],
                                 [build.make_node("Leaky", ["a"], ["t"], domain="own", slope=0.5),
                                  build.make_node("Leaky", ["t"], ["b"], domain="own", slope=0.25)],
                                 [build.make_opsetid("", 17), build.make_opsetid("own", 1)])
    node = build.make_node("Twice", ["x"], ["y"], domain="own")
    return model([node], [info("x", [2, 3])], [info("y", [2, 3])], imports=[("own", 1)], functions=[leaky, outer])


def linear_model():
    """Weights large enough to move to a data file, one of them in a typed list."""
    w = rng.standard_normal((64, 64)).astype(np.float32)
    nodes = [build.make_node("MatMul", ["x", "w"], ["h"]), build.make_node("Add", ["h", "b"], ["s"]),
             build.make_node("Reshape", ["s", "shape"], ["r"]), build.make_node("Gather", ["r", "order"], ["y"], axis=1)]
    tensors = [arrays.from_array(w, "w"), build.make_tensor("b", T.FLOAT, [64], rng.standard_normal(64)),
               build.make_tensor("shape", T.INT64, [2], [-1, 64]),
               build.make_tensor("order", T.INT64, [200], rng.integers(0, 64, 200))]
    return model(nodes, [info("x", ["n", 64])], [info("y", ["n", 200])], tensors)


def pack_proto3(data):
    """A file as writers of the proto3 form make it: lists of numbers packed, zeros left out."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    pool, file = descriptor_pool.DescriptorPool(), descriptor_pb2.FileDescriptorProto()
    onnx.ModelProto.DESCRIPTOR.file.CopyToProto(file)
    file.syntax = "proto3"
    file.ClearField("options")

    def convert(message):
        del message.reserved_range[:]
        del message.reserved_name[:]
        for field in message.field:
            field.ClearField("options")
        for nested in message.nested_type:
            convert(nested)

    for message in file.message_type:
        convert(message)
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("onnx.ModelProto"))
    return kind.FromString(data).SerializeToString()


FIXTURES = {"types": types_model, "sparse": sparse_model, "control": control_model, "functions": functions_model}


def write_fixtures(out):
    out.mkdir(parents=True, exist_ok=True)
    for name, make in FIXTURES.items():
        made = make()
        checker.check_model(made)
        (out / f"{name}.onnx").write_bytes(made.SerializeToString())
    conv = model([build.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], group=1)], [info("x", [1, 2, 4, 4])],
                 [info("y", [1, 3, 4, 4])], [build.make_tensor("w", T.FLOAT, [3, 2, 3, 3], np.arange(54) / 8.0)])
    (out / "proto3.onnx").write_bytes(pack_proto3(conv.SerializeToString()))
    expected = {}
    for tensor in types_model().graph.initializer:
        array = arrays.to_array(tensor)
        expected[tensor.name] = {"shape": list(array.shape), "values": [float(v) for v in array.astype(np.float64).ravel()]}
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


class Judge:
    def __init__(self, program, folder):
        self.program, self.folder, self.failures, self.checks = program, folder, 0, 0

    def report(self, name, good, why=""):
        self.checks += 1
        if not good:
            self.failures += 1
            print(f"FAIL {name}: {why}")

    def rewrite(self, source, mode="auto"):
        target = self.folder / f"out-{self.checks}" / "rewritten.onnx"
        target.parent.mkdir()
        run = subprocess.run([self.program, source, target, mode], capture_output=True, text=True)
        return target, run

    def outputs(self, path):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        network = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feeds, random = {}, np.random.default_rng(7)
        for value in network.get_inputs():
            shape = [d if isinstance(d, int) and d > 0 else 3 for d in value.shape]
            is_bool = value.type == "tensor(bool)"
            feeds[value.name] = np.array(True) if is_bool else random.standard_normal(shape).astype(np.float32)
        return network.run(None, feeds)

    def same(self, name, source, mode, runs=True):
        target, run = self.rewrite(source, mode)
        if run.returncode != 0:
            return self.report(name, False, run.stderr.strip())
        before, after = onnx.load(source), onnx.load(target)
        checker.check_model(str(target))
        for a, b in zip(all_tensors(before), all_tensors(after), strict=True):
            equal = a.name == b.name and (arrays.to_array(a).tobytes() == arrays.to_array(b).tobytes())
            self.report(f"{name}: tensor {a.name}", equal, "other elements")
        for message in (before, after):
            for tensor in all_tensors(message):
                for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data",
                              "external_data", "data_location"):
                    tensor.ClearField(field)
        self.report(f"{name}: messages", before == after, "other messages")
        if mode == "auto" and not (source.parent / (source.name + ".data")).exists():
            self.report(f"{name}: bytes", source.read_bytes() == target.read_bytes(), "other bytes")
        if runs:
            equal = all(np.array_equal(a, b) for a, b in zip(self.outputs(source), self.outputs(target), strict=True))
            self.report(f"{name}: outputs", equal, "other outputs")

    def refused(self, name, source, words):
        target, run = self.rewrite(source)
        lines = run.stderr.strip().splitlines()
        good = run.returncode == 2 and len(lines) == 1 and words in lines[0] and not target.exists()
        self.report(f"refuse {name}", good, f"exit {run.returncode}, {run.stderr.strip()!r}, expected {words!r}")


def all_tensors(message):
    def of_graph(graph):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                if attribute.HasField("g"):
                    yield from of_graph(attribute.g)
    return list(of_graph(message.graph))


def hostile(folder):
    """Yields (name, path, words of the expected message)."""
    def put(name, made):
        path = folder / f"{name}.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return path

    good = linear_model()
    data = good.SerializeToString()
    yield "truncated", put("truncated", data[: len(data) // 2]), "bytes wanted"
    cyclic = linear_model()
    cyclic.graph.node[0].input[0] = "y"
    yield "cycle", put("cycle", cyclic), "without cycles"
    future = linear_model()
    future.opset_import[0].version = 22
    yield "future opset", put("future", future), "a version from"
    short = linear_model()
    short.graph.initializer[0].raw_data = short.graph.initializer[0].raw_data[:-1]
    yield "short raw_data", put("short", short), "raw_data"
    both = linear_model()
    both.graph.initializer[1].raw_data = b"1234" * 64
    yield "raw and typed", put("both", both), "one field"
    outside = linear_model()
    external.set_external_data(outside.graph.initializer[0], "../secret.bin")
    outside.graph.initializer[0].ClearField("raw_data")
    yield "external data outside", put("outside", outside), "external_data location"
    (folder / "secret.bin").write_bytes(bytes(64 * 64 * 4))
    (folder / "link.bin").symlink_to("secret.bin")
    outside.graph.initializer[0].external_data[0].value = "link.bin"
    yield "symbolic link", put("link", outside), "symbolic link"


def main():
    if sys.argv[1] == "--fixtures":
        return write_fixtures(pathlib.Path(sys.argv[2]))
    program, shared = pathlib.Path(sys.argv[1]).resolve(), judge_setup.shared_dir()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        judge = Judge(program, folder)
        for path in sorted(shared.glob("data/*/*.onnx")):
            for mode in ("auto", "always"):
                judge.same(f"{path.name} {mode}", path, mode)
        makers = {**FIXTURES, "linear": linear_model}
        for name, make in makers.items():
            source = folder / f"{name}.onnx"
            source.write_bytes(make().SerializeToString())
            for mode in ("auto", "always", "never"):
                judge.same(f"{name} {mode}", source, mode, runs=name != "types")
        separate = folder / "separate.onnx"
        onnx.save(linear_model(), separate, save_as_external_data=True, location="separate.onnx.data", size_threshold=0)
        for mode in ("auto", "always", "never"):
            judge.same(f"separate {mode}", separate, mode)
        bad = folder / "hostile"
        bad.mkdir()
        for name, path, words in hostile(bad):
            judge.refused(name, path, words)
        print(f"{judge.checks} checks, {judge.failures} failures")
        sys.exit(1 if judge.failures else 0)


main()
