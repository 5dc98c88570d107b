// Reading a golden file.

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"
#include "runner.h"

namespace espalier::golden {
namespace {

constexpr int64_t kMaxElements = 1 << 26;
constexpr int64_t kLargest = int64_t{1} << 53;

const Json& field(const Json& object, const std::string& key, const std::string& where) {
  if (!object.is_object()) throw UserError(where, "value", "an object", describe(object));
  const auto found = object.find(key);
  if (found == object.end()) user_error("{}: the field '{}' is missing", where, key);
  return *found;
}

const Json& array_field(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = field(object, key, where);
  if (!value.is_array()) throw UserError(where, key, "an array", describe(value));
  return value;
}

std::vector<int64_t> parse_shape(const Json& tensor, const std::string& where) {
  std::vector<int64_t> shape;
  uint64_t count = 1;
  for (const Json& size : array_field(tensor, "shape", where)) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > kMaxElements) {
      throw UserError(where, "shape", "sizes of at least 0", describe(size));
    }
    shape.push_back(size.get<int64_t>());
    count *= size.get<uint64_t>();
    if (count > kMaxElements) throw UserError(where, "shape", "a tensor of moderate size", describe(tensor["shape"]));
  }
  return shape;
}

at::ScalarType parse_dtype(const Json& tensor, const std::string& where) {
  const auto found = tensor.find("dtype");
  if (found == tensor.end()) return at::kDouble;
  const std::string name = found->is_string() ? found->get<std::string>() : describe(*found);
  if (name == "bool") return at::kBool;
  if (name == "int64" || name == "int32") return at::kLong;
  if (name == "float32" || name == "float64") return at::kDouble;
  throw UserError(where, "dtype", "bool, int64, float32 or float64", printable(name));
}

// JSON has no infinities and NaN; null stands for NaN, as Python tools write it.
double parse_number(const Json& value, const std::string& where) {
  if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!value.is_number()) throw UserError(where, "data", "numbers", describe(value));
  return value.get<double>();
}

void fill(at::Tensor& tensor, const Json& data, const std::string& where) {
  int64_t i = 0;
  for (const Json& value : data) {
    switch (tensor.scalar_type()) {
      case at::kBool:
        if (!value.is_boolean()) throw UserError(where, "data", "true or false", describe(value));
        tensor.data_ptr<bool>()[i] = value.get<bool>();
        break;
      case at::kLong:
        if (!value.is_number_integer()) throw UserError(where, "data", "integers", describe(value));
        tensor.data_ptr<int64_t>()[i] = value.get<int64_t>();
        break;
      default:
        tensor.data_ptr<double>()[i] = parse_number(value, where);
    }
    ++i;
  }
}

at::Tensor parse_tensor(const Json& value, const std::string& where) {
  const auto shape = parse_shape(value, where);
  const Json& data = array_field(value, "data", where);
  auto tensor = at::empty(shape, parse_dtype(value, where));
  if (tensor.numel() != static_cast<int64_t>(data.size())) {
    throw UserError(where, "data", fmt::format("{} elements, as its shape says", tensor.numel()),
                    fmt::format("{}", data.size()));
  }
  fill(tensor, data, where);
  return tensor;
}

Tensors parse_tensors(const Json& object, const std::string& key, const std::string& where) {
  const Json& named = field(object, key, where);
  if (!named.is_object()) throw UserError(where, key, "an object", describe(named));
  Tensors tensors;
  for (const auto& [name, value] : named.items()) {
    tensors.emplace(name, parse_tensor(value, fmt::format("{}: {} '{}'", where, key, printable(name))));
  }
  return tensors;
}

Case parse_case(const Json& value, const std::string& system, const std::string& file) {
  Case parsed{.system = system, .name = json_string(value, "name", file), .params = Json::object()};
  const std::string where = file + ": case '" + printable(parsed.name) + "'";
  if (value.contains("params")) parsed.params = value["params"];
  if (!parsed.params.is_object()) throw UserError(where, "params", "an object", describe(parsed.params));
  parsed.inputs = parse_tensors(value, "inputs", where);
  parsed.expected = parse_tensors(value, "expected", where);
  if (parsed.expected.empty()) user_error("{}: expects nothing", where);
  parsed.rtol = json_number_or(value, "rtol", where, parsed.rtol);
  parsed.atol = json_number_or(value, "atol", where, parsed.atol);
  if (parsed.rtol < 0 || parsed.atol < 0) user_error("{}: a negative tolerance", where);
  return parsed;
}

}  // namespace

GoldenFile read_golden_file(const std::filesystem::path& path) {
  const std::string where = path.filename().string();
  const Json root = read_json(path);
  if (!root.is_object()) throw UserError(where, "value", "an object", describe(root));
  GoldenFile file{json_string(root, "system", where), {}};
  for (const Json& value : array_field(root, "cases", where)) {
    if (!value.is_object()) throw UserError(where, "cases", "objects", describe(value));
    file.cases.push_back(parse_case(value, file.system, where));
  }
  if (file.cases.empty()) user_error("{}: there are no cases", where);
  return file;
}

const at::Tensor& Case::input(const std::string& key) const {
  const auto found = inputs.find(key);
  if (found == inputs.end()) user_error("{}: the input '{}' is missing", where(), key);
  return found->second;
}

double Case::number(const std::string& key) const {
  if (!params.contains(key)) user_error("{}: the parameter '{}' is missing", where(), key);
  return number_or(key, 0);
}

double Case::number_or(const std::string& key, double otherwise) const {
  return json_number_or(params, key, where(), otherwise);
}

int64_t Case::integer(const std::string& key) const { return json_int(params, key, where(), -kLargest, kLargest); }

int64_t Case::integer_or(const std::string& key, int64_t otherwise) const {
  return json_int_or(params, key, where(), -kLargest, kLargest, otherwise);
}

std::string Case::text_or(const std::string& key, const std::string& otherwise) const {
  return json_string_or(params, key, where(), otherwise);
}

at::Tensor scalar(double value) { return at::full({1}, value, at::kDouble); }
at::Tensor scalar(int64_t value) { return at::full({1}, value, at::kLong); }

}  // namespace espalier::golden
