// The interpreter's side of an operator: inputs and parameters in, outputs out, all ATen, so autograd just works.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <unordered_map>

#include "espalier/graph/graph.h"

namespace espalier {

// Keys and values of earlier tokens, an entry an attention node: [batch, KV heads, tokens, head size].
struct KvCache {
  struct Entry {
    at::Tensor key, value;
  };
  std::unordered_map<const Node*, Entry> entries;
  int64_t length = 0;  // tokens that every entry holds
};

struct KernelContext {
  const Node& node;
  const std::vector<at::Tensor>& inputs;
  std::function<at::Tensor(const std::string& parameter)> parameter;
  KvCache* cache = nullptr;
  int64_t position = 0;  // of the first token in `inputs`
  std::optional<double> batch_momentum = std::nullopt;  // see Interpreter::train_batch_norms()

  at::Tensor param(const std::string& role) const { return parameter(node.params.at(role)); }
  // An undefined tensor, which ATen takes as "none", when the node has no such parameter.
  at::Tensor optional_param(const std::string& role) const { return node.has_param(role) ? param(role) : at::Tensor(); }
};

using Kernel = std::vector<at::Tensor> (*)(const KernelContext&);

const Kernel& find_kernel(const std::string& op);

struct RegisterKernel {
  RegisterKernel(const std::string& op, Kernel kernel);
};

}  // namespace espalier
