// ONNX files made field by field, so that tests can say what no writer would. Fields stand in the order of their
// numbers, as in real files.
#pragma once

#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/onnx/reader.h"
#include "espalier/io/onnx/validate.h"
#include "tests/io/sentencepiece_bytes.h"

namespace espalier::test::pb {

using spm::bytes;
using spm::number;
using spm::single;
using spm::varint;

using Names = std::initializer_list<std::string>;
using Dims = std::initializer_list<int64_t>;

inline constexpr int kFloat = 1, kUint8 = 2, kInt8 = 3, kInt64 = 7, kString = 8, kBool = 9, kFloat16 = 10,
                     kBfloat16 = 16, kUint4 = 21, kInt4 = 22;

inline std::string entry(const std::string& key, const std::string& value) { return bytes(1, key) + bytes(2, value); }

// `before_name` holds the fields 3 to 7, `after_name` those from 9 on.
inline std::string tensor(const std::string& name, int type, Dims dims, const std::string& after_name,
                          const std::string& before_name = "") {
  std::string out;
  for (int64_t size : dims) out += number(1, size);
  return out + number(2, type) + before_name + bytes(8, name) + after_name;
}
inline std::string raw(const std::string& data) { return bytes(9, data); }
inline std::string floats(size_t count) { return raw(std::string(count * 4, '\0')); }
inline std::string packed(uint64_t field, std::initializer_list<uint64_t> values) {
  std::string list;
  for (uint64_t value : values) list += varint(value);
  return bytes(field, list);
}
inline std::string external(std::initializer_list<std::pair<std::string, std::string>> entries) {
  std::string out;
  for (const auto& [key, value] : entries) out += bytes(13, entry(key, value));
  return out + number(14, 1);
}

inline std::string value(const std::string& name, int type, const std::string& dims) {
  return bytes(1, name) + bytes(2, bytes(1, number(1, type) + bytes(2, dims)));
}
inline std::string dim(int64_t size) { return bytes(1, number(1, size)); }
inline std::string dim(const std::string& param) { return bytes(1, bytes(2, param)); }

inline std::string node(const std::string& type, Names inputs, Names outputs, const std::string& more = "",
                        const std::string& name = "") {
  std::string out;
  for (const std::string& input : inputs) out += bytes(1, input);
  for (const std::string& output : outputs) out += bytes(2, output);
  if (!name.empty()) out += bytes(3, name);
  return out + bytes(4, type) + more;
}
inline std::string attribute(const std::string& name, int type, const std::string& value) {
  return bytes(5, bytes(1, name) + value + number(20, type));
}
inline std::string subgraph(const std::string& name, const std::string& graph) {
  return attribute(name, 5, bytes(6, graph));
}

// The nodes, tensors, inputs and outputs of a graph.
struct Parts {
  std::vector<std::string> nodes;
  std::vector<std::string> tensors = {};
  std::vector<std::string> inputs = {"x"};
  std::vector<std::string> outputs = {"y"};
  std::string more = {};
};

inline std::string graph(const Parts& parts, const std::string& name = "g") {
  std::string out;
  for (const std::string& item : parts.nodes) out += bytes(1, item);
  out += bytes(2, name);
  for (const std::string& item : parts.tensors) out += bytes(5, item);
  for (const std::string& item : parts.inputs) out += bytes(11, value(item, kFloat, dim("n") + dim(2)));
  for (const std::string& item : parts.outputs) out += bytes(12, value(item, kFloat, dim("n") + dim(2)));
  return out + parts.more;
}

inline std::string opset(const std::string& domain, int64_t version) {
  return bytes(8, bytes(1, domain) + number(2, version));
}
inline std::string model_of(const std::string& graph, const std::string& more = opset("", 17), int64_t ir = 8) {
  return number(1, ir) + bytes(7, graph) + more;
}
inline std::string model(const Parts& parts) { return model_of(graph(parts)); }
inline std::string with_tensor(const std::string& tensor) { return model({{node("Relu", {"x"}, {"y"})}, {tensor}}); }

// Parsed and validated, without external data; `file` must outlive the model.
inline OnnxModel load(std::string_view file) {
  OnnxModel result = parse_onnx(std::as_bytes(std::span(file)), "m.onnx");
  validate_onnx(result, "m.onnx");
  return result;
}

inline void put(const std::filesystem::path& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

}  // namespace espalier::test::pb
