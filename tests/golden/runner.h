// Golden cases: numbers computed outside this project, compared with what the project's own functions return.
//
// To add a system: one file here with a static `Register`, whose handlers are found by exact case name. A handler gets
// the case's params and inputs and returns every output that the case expects (more are ignored).
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "espalier/core/json.h"

namespace espalier::golden {

using Tensors = std::map<std::string, at::Tensor>;

struct Case {
  std::string system, name;
  Json params;
  Tensors inputs;  // fp64, int64 or bool
  Tensors expected;
  double rtol = 1e-4, atol = 1e-6;

  const at::Tensor& input(const std::string& key) const;  // UserError when missing
  at::Tensor floats(const std::string& key) const { return input(key).to(at::kFloat); }
  bool has_input(const std::string& key) const { return inputs.contains(key); }

  double number(const std::string& key) const;  // params; UserError when missing
  double number_or(const std::string& key, double otherwise) const;
  int64_t integer(const std::string& key) const;
  int64_t integer_or(const std::string& key, int64_t otherwise) const;
  std::string text_or(const std::string& key, const std::string& otherwise) const;
  std::string where() const { return system + "/" + name; }
};

struct GoldenFile {
  std::string system;
  std::vector<Case> cases;
};

// UserError on whatever is malformed: not JSON, a missing field, a shape that its data does not fill, a wrong type.
GoldenFile read_golden_file(const std::filesystem::path& path);

// Empty when the output equals the expectation (bool and integers exactly, numbers within atol + rtol * |expected|);
// otherwise one line about the first difference.
std::string difference(const at::Tensor& expected, const at::Tensor& found, double rtol, double atol);

using Handler = std::function<Tensors(const Case&)>;
using Handlers = std::map<std::string, Handler>;  // by case name; `group_*` stands for all that begin so

struct Register {
  Register(const std::string& system, const Handlers& handlers);
};

// By system; nullptr when the system is not implemented yet.
const Handlers* handlers_of(const std::string& system);

// One-element tensors, the form of scalar results.
at::Tensor scalar(double value);
at::Tensor scalar(int64_t value);

}  // namespace espalier::golden
