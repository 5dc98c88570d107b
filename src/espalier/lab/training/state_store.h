// The state of something that is trained, as named tensors and a JSON object: what a checkpoint holds, and what a
// training goes back to when it is rewound.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "espalier/core/json.h"

namespace espalier {

struct StateStore {
  std::map<std::string, at::Tensor> tensors;  // fp32, int64 or bool
  Json values = Json::object();

  bool has(const std::string& name) const { return tensors.count(name) != 0; }
  const at::Tensor& tensor(const std::string& name) const;  // UserError when it is missing
  StateStore clone() const;                                  // shares no bytes

  // Everything of `other` under "prefix/"; and back.
  void put(const std::string& prefix, const StateStore& other);
  StateStore part(const std::string& prefix) const;

  // One file, which appears whole or not at all; the same state gives the same bytes.
  void save(const std::filesystem::path& path) const;
  static StateStore load(const std::filesystem::path& path);  // UserError unless it is well-formed
};

}  // namespace espalier
