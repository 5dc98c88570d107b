#include "espalier/core/error.h"
#include "espalier/io/onnx/fields.h"
#include "espalier/io/onnx/parse_parts.h"
#include "espalier/io/protobuf.h"

namespace espalier {
namespace {

namespace field = onnx_field;

constexpr int64_t kExternalLocation = 1;

struct DataFields {
  OnnxTensor& tensor;
  std::string seen;
  int count = 0;
  int64_t location = 0;

  void found(OnnxStorage storage) {
    if (tensor.storage == storage) return;
    tensor.storage = storage;
    if (count++ > 0) seen += " and ";
    seen += name_of(storage);
  }
};

void parse_list(MessageReader& fields, DataFields& data, OnnxStorage storage, int wire) {
  OnnxBytes list = data.tensor.storage == storage ? data.tensor.data : OnnxBytes{};
  fields.packed(list, wire);
  if (list.view.empty()) return;
  data.tensor.data = std::move(list);
  data.found(storage);
}

// One of the fields with elements; false for any other field.
bool parse_data(MessageReader& fields, DataFields& data, OnnxParse& parse) {
  switch (fields.field()) {
    case field::tensor::kFloatData:
      parse_list(fields, data, OnnxStorage::kFloats, kFixed32);
      return true;
    case field::tensor::kInt32Data:
      parse_list(fields, data, OnnxStorage::kInt32s, kVarint);
      return true;
    case field::tensor::kInt64Data:
      parse_list(fields, data, OnnxStorage::kInt64s, kVarint);
      return true;
    case field::tensor::kDoubleData:
      parse_list(fields, data, OnnxStorage::kDoubles, kFixed64);
      return true;
    case field::tensor::kUint64Data:
      parse_list(fields, data, OnnxStorage::kUint64s, kVarint);
      return true;
    case field::tensor::kStringData:
      fields.texts(data.tensor.strings);
      data.found(OnnxStorage::kStrings);
      return true;
    case field::tensor::kRawData:
      data.tensor.data = parse.bytes(fields.bytes());
      data.found(OnnxStorage::kRaw);
      return true;
    default:
      return false;
  }
}

void parse_tensor_field(MessageReader& fields, OnnxTensor& tensor, int64_t& location) {
  switch (fields.field()) {
    case field::tensor::kDims:
      return fields.integers(tensor.dims);
    case field::tensor::kDataType:
      return fields.enumeration(tensor.data_type);
    case field::tensor::kName:
      return fields.text(tensor.name);
    case field::tensor::kDoc:
      return fields.text(tensor.doc_string);
    case field::tensor::kExternalData:
      return fields.messages(tensor.external_data, parse_onnx_entry);
    case field::tensor::kDataLocation:
      return fields.integer(location);
    case field::tensor::kMetadata:
      return fields.messages(tensor.metadata_props, parse_onnx_entry);
    default:
      return fields.unknown();
  }
}

void check_data_fields(const DataFields& data, const std::string& where) {
  const std::string label = fmt::format("{}: tensor '{}'", where, printable(data.tensor.name));
  if (data.count > 1) throw UserError(label, "data", "one field with elements", data.seen);
  if (data.location != 0 && data.location != kExternalLocation)
    throw UserError(label, "data_location", "0 (default) or 1 (external)", std::to_string(data.location));
  if (data.location == kExternalLocation && !data.seen.empty())
    throw UserError(label, "data_location", "no elements beside external data", data.seen);
}

}  // namespace

OnnxEntry parse_onnx_entry(OnnxParse& parse, std::string_view message) {
  OnnxEntry entry;
  for (MessageReader fields(parse, message, "StringStringEntryProto", entry.extras); fields.next();) {
    if (fields.field() == field::entry::kKey) {
      fields.text(entry.key);
    } else if (fields.field() == field::entry::kValue) {
      fields.text(entry.value);
    } else {
      fields.unknown();
    }
  }
  return entry;
}

OnnxTensor parse_onnx_tensor(OnnxParse& parse, std::string_view message) {
  OnnxTensor tensor;
  DataFields data{tensor, "", 0, 0};
  for (MessageReader fields(parse, message, "TensorProto", tensor.extras); fields.next();)
    if (!parse_data(fields, data, parse)) parse_tensor_field(fields, tensor, data.location);
  check_data_fields(data, parse.where);
  if (data.location == kExternalLocation) tensor.storage = OnnxStorage::kExternal;
  return tensor;
}

OnnxSparseTensor parse_onnx_sparse(OnnxParse& parse, std::string_view message) {
  OnnxSparseTensor sparse;
  for (MessageReader fields(parse, message, "SparseTensorProto", sparse.extras); fields.next();) {
    if (fields.field() == field::sparse::kValues) {
      fields.message(sparse.values, parse_onnx_tensor);
    } else if (fields.field() == field::sparse::kIndices) {
      fields.message(sparse.indices, parse_onnx_tensor);
    } else if (fields.field() == field::sparse::kDims) {
      fields.integers(sparse.dims);
    } else {
      fields.unknown();
    }
  }
  return sparse;
}

}  // namespace espalier
