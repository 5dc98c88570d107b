#include "espalier/lab/measure/block_stream.h"

#include "espalier/core/error.h"
#include "espalier/core/signals.h"
#include "espalier/io/safetensors.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

// Indices [first, last) of sequences that make up each batch.
std::vector<std::pair<size_t, size_t>> batches_of(const TokenSequences& sequences, int64_t batch_tokens) {
  std::vector<std::pair<size_t, size_t>> batches;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const size_t length = sequences[i].size();
    const bool joins = !batches.empty() && sequences[batches.back().first].size() == length &&
                       static_cast<int64_t>((i - batches.back().first + 1) * length) <= batch_tokens;
    if (joins) {
      batches.back().second = i + 1;
    } else {
      batches.emplace_back(i, i + 1);
    }
  }
  return batches;
}

}  // namespace

BlockStream::BlockStream(const Graph& graph, const TokenSequences& sequences, int64_t batch_tokens)
    : graph_(graph), weights_(graph), interpreter_(graph, weights_) {
  at::NoGradGuard no_gradients;
  const NodeId first = graph.block_count > 0 ? interpreter_.block_range(0).first : static_cast<NodeId>(graph.nodes.size());
  for (auto [begin, end] : batches_of(sequences, batch_tokens)) {
    std::vector<at::Tensor> rows;
    for (size_t i = begin; i < end; ++i) {
      if (sequences[i].empty()) user_error("calibration: sequence {} is empty", i);
      rows.push_back(token_tensor(sequences[i]));
    }
    Environment values{{graph.inputs.at(0), at::cat(rows, 0)}};
    interpreter_.run(values, 0, first);
    ESP_ASSERT(graph.block_count > 0, "a model without blocks cannot be streamed");
    hidden_.push_back(values.at(interpreter_.block_input(0)));
  }
  weights_.release_all();
}

at::Tensor BlockStream::run_block(size_t batch, const Observer* observer) {
  check_interrupted();
  const auto [first, last] = interpreter_.block_range(next_block_);
  Environment values{{interpreter_.block_input(next_block_), hidden_[batch]}};
  interpreter_.run(values, first, last, observer);
  ESP_ASSERT(values.size() == 1, "block {} leaves {} values", next_block_, values.size());
  return values.begin()->second;
}

void BlockStream::observe(const Observer& observer, const std::function<void(size_t)>& before_batch) {
  at::NoGradGuard no_gradients;
  for (size_t batch = 0; batch < hidden_.size(); ++batch) {
    if (before_batch) before_batch(batch);
    run_block(batch, &observer);
  }
}

void BlockStream::advance(const Observer* observer, const std::function<void(size_t)>& before_batch) {
  at::NoGradGuard no_gradients;
  for (size_t batch = 0; batch < hidden_.size(); ++batch) {
    if (before_batch) before_batch(batch);
    hidden_[batch] = run_block(batch, observer);
    if (!at::isfinite(hidden_[batch]).all().item<bool>())
      user_error("block {}: its output has values that are not finite; nothing was written", next_block_);
  }
  if (!keep_weights_) weights_.release_all();
  ++next_block_;
}

at::Tensor BlockStream::logits(size_t batch, int64_t first_position, int64_t count) {
  at::NoGradGuard no_gradients;
  ESP_ASSERT(done());
  check_interrupted();
  Environment values{{interpreter_.block_input(graph_.block_count), hidden_.at(batch).narrow(1, first_position, count)}};
  interpreter_.run(values, interpreter_.block_range(graph_.block_count).first, static_cast<NodeId>(graph_.nodes.size()));
  return values.at(graph_.outputs.at(0));
}

void BlockStream::save(const std::filesystem::path& path) const {
  std::vector<TensorSpec> specs;
  for (size_t i = 0; i < hidden_.size(); ++i)
    specs.push_back({fmt::format("hidden.{}", i), DType::kF32, hidden_[i].sizes().vec()});
  SafetensorsWriter writer(path, specs);
  for (size_t i = 0; i < hidden_.size(); ++i) {
    const at::Tensor contiguous = hidden_[i].contiguous();
    writer.write(specs[i].name, Tensor(DType::kF32, specs[i].shape, nullptr,
                                       reinterpret_cast<const std::byte*>(contiguous.data_ptr<float>())));
  }
  writer.commit();
}

void BlockStream::load(const std::filesystem::path& path, int next_block) {
  const auto file = SafetensorsFile::open(path);
  for (size_t i = 0; i < hidden_.size(); ++i) hidden_[i] = to_torch(file->tensor(fmt::format("hidden.{}", i))).clone();
  next_block_ = next_block;
}

std::vector<TokenSequences> group_by_memory(const Graph& graph, const TokenSequences& sequences, uint64_t bytes) {
  uint64_t width = 1;
  for (const auto& parameter : graph.parameters())
    if (parameter->shape().size() == 1) width = std::max(width, static_cast<uint64_t>(parameter->shape()[0]));
  std::vector<TokenSequences> groups;
  uint64_t used = 0;
  for (const auto& sequence : sequences) {
    const uint64_t need = sequence.size() * width * 4;
    if (groups.empty() || used + need > bytes) {
      groups.emplace_back();
      used = 0;
    }
    groups.back().push_back(sequence);
    used += need;
  }
  return groups;
}

}  // namespace espalier
