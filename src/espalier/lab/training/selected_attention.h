// A model's attention under a policy whose selections follow from positions alone (S2-Attention), with gradients: what
// the engine runs under the policy is trained as it will be run.
#pragma once

#include <map>

#include "espalier/engine/attention/policy.h"
#include "espalier/families/family.h"
#include "espalier/lab/interpreter/interpreter.h"

namespace espalier {

class SelectedAttention {
 public:
  // The policy's select() must not read queries or keys. UserError: options that the engine would refuse too, for texts up
  // to the model's context; attention that is not causal or has a mask of its own.
  SelectedAttention(const Model& model, const AttentionRequest& request);
  SelectedAttention(const SelectedAttention&) = delete;

  // Replaces what the attention nodes of the model's graph, or of a clone, give.
  const Observer* observer() const { return &observer_; }
  std::vector<std::string> notes() const { return policy_->notes(); }
  // bool [kv_heads, tokens, tokens]; undefined for a layer in which every earlier key is seen.
  const at::Tensor& mask(int layer, int64_t tokens) const;
  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }

 private:
  at::Tensor rows_of(int layer, int64_t kv_head, int64_t tokens) const;

  std::vector<AttentionLayer> layers_;
  std::map<NodeId, int> layer_of_;
  std::unique_ptr<AttentionPolicy> policy_;
  mutable std::map<std::pair<int, int64_t>, at::Tensor> masks_;  // by layer and tokens, made on first use
  std::vector<at::Tensor> read_;  // what the attention node that runs was given
  Observer observer_;
};

}  // namespace espalier
