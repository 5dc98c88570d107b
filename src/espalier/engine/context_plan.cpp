#include "espalier/engine/context_plan.h"

#include <algorithm>

#include "espalier/core/assets.h"
#include "espalier/core/choice.h"
#include "espalier/core/error.h"
#include "espalier/core/resources.h"
#include "espalier/engine/attention/memory_plan.h"
#include "espalier/engine/attention/policies/retrieval_head.h"
#include "espalier/engine/attention/kv_codec.h"
#include "espalier/engine/open.h"

namespace espalier {
namespace {

// As the engine would hold them.
uint64_t weight_bytes(const Model& model, const std::string& dtype) {
  const uint64_t size = dtype == "fp32" ? 4 : dtype == "bf16" || dtype == "fp16" ? 2 : dtype == "int8" ? 1 : 0;
  uint64_t bytes = 0;
  for (const auto& parameter : model.graph.parameters()) bytes += size == 0 ? parameter->byte_size() : size * static_cast<uint64_t>(parameter->count());
  return bytes;
}

uint64_t head_bytes(const RetrievalWeights& w) { return w.q.byte_size() + w.k.byte_size() + w.norm.byte_size(); }

}  // namespace

Json plan_context(const ContextPlanRequest& request) {
  const Model model = load_model(resolve_model(request.model), {request.common.seed, request.common.input_shapes});
  if (model.task != Task::kText) throw UserError(request.model, "model", "a language model", std::string("a model of ") + name_of(model.task));
  const auto beside = model.directory() / kRetrievalHeadFile;
  const RetrievalWeights head = std::filesystem::exists(beside) ? read_retrieval_head(beside, model) : weights_of(model, model.graph);
  EngineRequest engine;
  engine.cache = request.cache;
  const KvCodec codec = attention_request(request.common, engine).codec;
  MemoryModel m;
  m.layers = std::count_if(model.graph.nodes.begin(), model.graph.nodes.end(), [](const Node& node) { return node.op == "Attention"; });
  m.kv_heads = head.kv_heads, m.groups = head.heads / head.kv_heads;
  m.head_token_bytes = static_cast<int64_t>(make_layout(codec, kMaxPageTokens, head.head_size, 0, {}, true).token_bytes);
  m.requests = request.requests, m.budget = std::min(request.budget, request.context);  // no more copies than tokens
  m.model_bytes = weight_bytes(model, request.common.dtype), m.retrieval_bytes = head_bytes(head);
  Json plans = Json::array();
  for (const uint64_t memory : request.memory.empty() ? std::vector{available_memory_bytes()} : request.memory) {
    m.memory_bytes = memory;
    const auto thresholds = offload_thresholds(m);
    const int64_t slow = layers_offloaded(thresholds, request.context);
    const uint64_t needed = memory_needed(m, request.context, slow);
    plans.push_back({{"memory_bytes", memory}, {"fits", needed <= memory}, {"slow_layers", slow}, {"needed_bytes", needed}, {"thresholds", thresholds}});
  }
  const int64_t token = m.layers * m.kv_heads * m.head_token_bytes;
  return {{"model", request.model},
          {"context", request.context},
          {"budget", request.budget},
          {"requests", request.requests},
          {"cache", request.cache},
          {"layers", m.layers},
          {"kv_heads", m.kv_heads},
          {"head_size", head.head_size},
          {"bytes", {{"weights", m.model_bytes}, {"retrieval_head", m.retrieval_bytes}, {"cache_token", token}, {"cache", token * request.context * request.requests}}},
          {"plans", plans}};
}

}  // namespace espalier
