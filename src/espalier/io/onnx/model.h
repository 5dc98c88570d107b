// An ONNX file as it stands: the messages of onnx.proto (ONNX specification, "Open Neural Network Exchange Intermediate
// Representation", IR versions 3 to 14) as plain structures that may be read, changed, built and written again.
//
// Weights stay in the mapped file: OnnxBytes are views that keep the map alive, and copies of a structure share them.
// Fields that espalier does not know, and those that it does not interpret (training information, device placement,
// quantization annotations, types that are no tensors), stay in `extras` and are written again byte for byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/core/file.h"
#include "espalier/core/tensor.h"
#include "espalier/io/onnx/data_type.h"

namespace espalier {

struct OnnxBytes {
  std::shared_ptr<const void> owner;  // null: the caller keeps the bytes alive
  std::string_view view;

  static OnnxBytes own(std::string bytes);
};

struct OnnxUnknownField {
  uint32_t number = 0;
  OnnxBytes bytes;  // with its key, as it stood in the file
};

// What the plain fields of a structure do not tell about the message that it was read from. Empty for a message made
// by the program.
struct OnnxExtras {
  uint32_t present = 0;   // bit n: field n stood in the file, if only with its default
  uint32_t repacked = 0;  // bit n: a list of numbers, packed where the specification does not pack, or the reverse
  std::vector<OnnxUnknownField> unknown;  // by number

  bool has(uint32_t field) const { return (present >> field & 1) != 0; }
};

// StringStringEntryProto.
struct OnnxEntry {
  std::string key, value;
  OnnxExtras extras;
};

// TensorProto. `data` is, by storage: raw_data or the bytes in the external file (little-endian, sub-byte elements
// packed, lowest bits first), or the packed list of a typed field as protobuf encodes it. to_tensor() of tensor.h
// decodes all of them.
struct OnnxTensor {
  std::string name;
  OnnxDataType data_type = OnnxDataType::kUndefined;
  Shape dims;  // [] is a scalar
  OnnxStorage storage = OnnxStorage::kNone;
  OnnxBytes data;
  std::vector<std::string> strings;      // OnnxStorage::kStrings
  std::vector<OnnxEntry> external_data;  // location, offset, length, checksum
  std::vector<OnnxEntry> metadata_props;
  std::string doc_string;
  OnnxExtras extras;
};

// SparseTensorProto: the values [n] at ascending indices [n] (linear) or [n, rank] of a dense tensor of shape dims that
// is zero elsewhere. As an initialiser it is named by values.name.
struct OnnxSparseTensor {
  OnnxTensor values, indices;
  Shape dims;
  OnnxExtras extras;
};

// TensorShapeProto.Dimension: a number, a name (the same name is the same number), or nothing known. Old exporters
// write -1 where nothing is known.
struct OnnxDim {
  std::optional<int64_t> value;
  std::string param;
  std::string denotation;
  OnnxExtras extras;

  bool fixed() const { return value && *value >= 0; }
};

// TypeProto. Only tensor types are read; the others keep their bytes in `extras`.
struct OnnxType {
  enum class Kind : uint8_t { kNone, kTensor, kSequence, kMap, kOptional, kSparseTensor, kOpaque };
  Kind kind = Kind::kNone;
  OnnxDataType elem_type = OnnxDataType::kUndefined;
  bool has_shape = false;  // false: not even the rank is known
  std::vector<OnnxDim> shape;
  std::string denotation;
  OnnxExtras extras, tensor_extras, shape_extras;

  std::optional<Shape> fixed_shape() const;  // when every dimension is a number
};

struct OnnxValueInfo {
  std::string name;
  OnnxType type;
  std::string doc_string;
  std::vector<OnnxEntry> metadata_props;
  OnnxExtras extras;
};

struct OnnxGraph;

// AttributeProto. `type` says which of the fields holds the value; a single tensor, graph or sparse tensor is the only
// element of its list. A non-empty ref_attr_name instead names an attribute of the enclosing function.
struct OnnxAttribute {
  enum class Type : int32_t {
    kUndefined,
    kFloat,
    kInt,
    kString,
    kTensor,
    kGraph,
    kFloats,
    kInts,
    kStrings,
    kTensors,
    kGraphs,
    kSparseTensor,
    kSparseTensors,
    kTypeProto,
    kTypeProtos
  };
  std::string name;
  Type type = Type::kUndefined;
  float f = 0;
  int64_t i = 0;
  std::string s;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::vector<OnnxTensor> tensors;
  std::vector<OnnxGraph> graphs;
  std::vector<OnnxSparseTensor> sparse_tensors;
  std::string ref_attr_name;
  std::string doc_string;
  OnnxExtras extras;
};

struct OnnxNode {
  std::string name;  // may be empty, and need not be unique
  std::string op_type;
  std::string domain;  // "" and "ai.onnx" are the same, see is_default_domain()
  std::string overload;
  std::vector<std::string> inputs, outputs;  // "": an optional one that is left out
  std::vector<OnnxAttribute> attributes;
  std::string doc_string;
  std::vector<OnnxEntry> metadata_props;
  OnnxExtras extras;
};

struct OnnxGraph {
  std::string name;
  std::vector<OnnxNode> nodes;  // in topological order once validated
  std::vector<OnnxTensor> initializers;
  std::vector<OnnxSparseTensor> sparse_initializers;
  std::vector<OnnxValueInfo> inputs;  // up to IR version 3 the initialisers are among them
  std::vector<OnnxValueInfo> outputs, value_infos;
  std::string doc_string;
  std::vector<OnnxEntry> metadata_props;
  OnnxExtras extras;
};

struct OnnxOpset {
  std::string domain;
  int64_t version = 0;
  OnnxExtras extras;
};

// FunctionProto: the body of an operator that the model brings along.
struct OnnxFunction {
  std::string name, domain, overload;
  std::vector<std::string> inputs, outputs;
  std::vector<std::string> attributes;            // names that a caller must give
  std::vector<OnnxAttribute> attribute_defaults;  // those with a default
  std::vector<OnnxNode> nodes;
  std::vector<OnnxOpset> opset_imports;
  std::vector<OnnxValueInfo> value_infos;
  std::string doc_string;
  std::vector<OnnxEntry> metadata_props;
  OnnxExtras extras;
};

struct OnnxModel {
  int64_t ir_version = 0;
  std::vector<OnnxOpset> opset_imports;
  std::string producer_name, producer_version, domain;
  int64_t model_version = 0;
  std::string doc_string;
  OnnxGraph graph;
  std::vector<OnnxFunction> functions;
  std::vector<OnnxEntry> metadata_props;
  OnnxExtras extras;

  std::filesystem::path path;                            // what it was read from, else empty
  std::vector<std::shared_ptr<const MappedFile>> files;  // the model's, then those of external data
};

bool is_default_domain(std::string_view domain);  // "" or "ai.onnx"

// The version of a domain's operator set; nullopt: not imported.
std::optional<int64_t> opset_version(const std::vector<OnnxOpset>& imports, std::string_view domain);

// "node 'Conv_3' (Conv)" or "node 3 (Conv)", for messages.
std::string describe(const OnnxNode& node, size_t index);

// Every tensor of the model: initialisers, both parts of sparse ones, attributes, in subgraphs and functions too.
void for_each_tensor(const OnnxModel& model, const std::function<void(const OnnxTensor&)>& visit);
void for_each_tensor(OnnxModel& model, const std::function<void(OnnxTensor&)>& visit);

}  // namespace espalier
