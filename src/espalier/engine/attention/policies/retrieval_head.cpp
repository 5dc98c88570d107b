#include "espalier/engine/attention/policies/retrieval_head.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>

#include "espalier/core/error.h"
#include "espalier/io/safetensors.h"

namespace espalier {
namespace {

constexpr int64_t kVectors = 8;                    // of one product
constexpr size_t kFingerprint = size_t{1} << 20;   // bytes of the embedding that tell models apart

std::vector<float> floats(const Tensor& tensor) { return tensor.defined() && tensor.count() > 0 ? tensor.to_floats() : std::vector<float>(); }

const Node* maker(const Graph& graph, ValueId value) {
  for (const Node& node : graph.nodes)
    if (std::find(node.outputs.begin(), node.outputs.end(), value) != node.outputs.end()) return &node;
  return nullptr;
}

std::string fingerprint(const Tensor& embedding) {
  return sha256_of({reinterpret_cast<const char*>(embedding.bytes()), std::min(kFingerprint, embedding.byte_size())});
}

Tensor parameter(const Graph& graph, const Node* node, const std::string& role) {
  return node != nullptr && node->has_param(role) ? graph.parameter_of(*node, role).load() : Tensor();
}

void check_finite(const Tensor& tensor, const std::string& where, const std::string& name) {
  for (const float x : floats(tensor))
    if (!std::isfinite(x)) throw UserError(where, name, "finite numbers", fmt::format("{}", x));
}

class HeadFile {
 public:
  explicit HeadFile(const std::filesystem::path& path) : where_(path.string()), file_(SafetensorsFile::open(path)) {}

  Tensor tensor(const std::string& name, const Shape& shape, bool needed = true) const {
    if (file_->find(name) == nullptr) {
      if (needed) throw UserError(where_, name, "a tensor of shape " + to_string(shape), "none");
      return {};
    }
    Tensor found = file_->tensor(name);
    if (!is_floating(found.dtype())) throw UserError(where_, name, "floating numbers", std::string(name_of(found.dtype())));
    if (found.shape() != shape) throw UserError(where_, name, "shape " + to_string(shape) + ", as the model needs", to_string(found.shape()));
    check_finite(found, where_, name);
    return found.dtype() == DType::kF64 ? found.to(DType::kF32) : found;
  }
  std::string text(const std::string& key) const {
    const auto found = file_->metadata().find(key);
    if (found == file_->metadata().end()) throw UserError(where_, key, "a value in the file's metadata", "none");
    return found->second;
  }
  // Not below 0.
  double number(const std::string& key) const {
    const std::string value = text(key);
    double x = 0;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), x);
    if (read.ec != std::errc() || read.ptr != value.data() + value.size() || !(x >= 0 && x < 1e15)) throw UserError(where_, key, "a number from 0 on", printable(value));
    return x;
  }
  const std::string& where() const { return where_; }

 private:
  std::string where_;
  std::shared_ptr<const SafetensorsFile> file_;
};

}  // namespace

RetrievalNodes retrieval_nodes(const Graph& graph, const std::string& where) {
  const auto refuse = [&](const Node* node, const std::string& what) {
    throw UserError(where, "retrieval head", "a first layer whose queries and keys are projections of the normalised embedding",
                    what + (node == nullptr ? " of nothing" : " of " + node->op + " " + node->name));
  };
  const auto first = std::find_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) { return node.op == "Attention"; });
  if (first == graph.nodes.end()) throw UserError(where, "retrieval head", "a model with attention", "none");
  RetrievalNodes nodes{};
  nodes.attention = &*first;
  const auto projection = [&](size_t input, const Node*& norm) {
    const Node* node = maker(graph, first->inputs.at(input));
    if (node != nullptr && node->op == "RotaryEmbedding") node = maker(graph, node->inputs.at(0));
    if (node != nullptr && node->op == "RMSNorm") norm = node, node = maker(graph, node->inputs.at(0));
    if (node == nullptr || node->op != "Linear") refuse(node, input == 0 ? "queries" : "keys");
    return node;
  };
  nodes.q = projection(0, nodes.q_norm), nodes.k = projection(1, nodes.k_norm);
  nodes.norm = maker(graph, nodes.q->inputs.at(0));
  if (nodes.norm == nullptr || (nodes.norm->op != "RMSNorm" && nodes.norm->op != "LayerNorm") || nodes.k->inputs.at(0) != nodes.q->inputs.at(0))
    refuse(nodes.norm, "a projection");
  nodes.embedding = maker(graph, nodes.norm->inputs.at(0));
  if (nodes.embedding == nullptr || nodes.embedding->op != "Embedding") refuse(nodes.embedding, "a norm");
  return nodes;
}

RetrievalWeights weights_of(const Model& model, const Graph& graph) {
  const RetrievalNodes n = retrieval_nodes(graph, model.path.string());
  RetrievalWeights w;
  w.embedding = parameter(graph, n.embedding, "weight");
  w.norm = parameter(graph, n.norm, "weight"), w.norm_bias = parameter(graph, n.norm, "bias");
  w.q = parameter(graph, n.q, "weight"), w.k = parameter(graph, n.k, "weight");
  w.q_bias = parameter(graph, n.q, "bias"), w.k_bias = parameter(graph, n.k, "bias");
  w.q_norm = parameter(graph, n.q_norm, "weight"), w.k_norm = parameter(graph, n.k_norm, "weight");
  w.rms = n.norm->op == "RMSNorm";
  w.epsilon = static_cast<float>(n.norm->real("epsilon"));
  if (n.q_norm != nullptr) w.head_epsilon = static_cast<float>(n.q_norm->real("epsilon"));
  w.head_size = n.attention->integer("head_size");
  w.heads = w.q.dim(0) / w.head_size, w.kv_heads = w.k.dim(0) / w.head_size;
  return w;
}

RetrievalWeights read_retrieval_head(const std::filesystem::path& path, const Model& model) {
  const RetrievalWeights own = weights_of(model, model.graph);
  const HeadFile file(path);
  RetrievalWeights w = own;
  const auto whole = [&](const char* key) { return static_cast<int64_t>(file.number(key)); };
  w.heads = whole("heads"), w.kv_heads = whole("kv_heads"), w.head_size = whole("head_size"), w.trained = whole("trained");
  w.epsilon = static_cast<float>(file.number("epsilon")), w.head_epsilon = static_cast<float>(file.number("head_epsilon"));
  w.rms = file.text("norm") == "rms";
  const auto sizes = [](const RetrievalWeights& x) { return fmt::format("{} heads on {} KV heads of {}", x.heads, x.kv_heads, x.head_size); };
  if (sizes(w) != sizes(own)) throw UserError(file.where(), "heads", "as the model has them, " + sizes(own), sizes(w));
  const int64_t width = own.embedding.dim(1), heads = w.heads * w.head_size, kv_heads = w.kv_heads * w.head_size;
  w.norm = file.tensor("norm.weight", {width}), w.norm_bias = file.tensor("norm.bias", {width}, false);
  w.q = file.tensor("q_proj.weight", {heads, width}), w.k = file.tensor("k_proj.weight", {kv_heads, width});
  w.q_bias = file.tensor("q_proj.bias", {heads}, false), w.k_bias = file.tensor("k_proj.bias", {kv_heads}, false);
  w.q_norm = file.tensor("q_norm.weight", {w.head_size}, false), w.k_norm = file.tensor("k_norm.weight", {w.head_size}, false);
  if (file.text("embedding") != fingerprint(own.embedding))
    throw UserError(file.where(), "embedding", "that of " + model.path.string(), "another model's");
  return w;
}

void write_retrieval_head(const std::filesystem::path& path, const RetrievalWeights& w) {
  const std::pair<const char*, const Tensor*> tensors[] = {{"norm.weight", &w.norm}, {"norm.bias", &w.norm_bias}, {"q_proj.weight", &w.q},
                                                           {"k_proj.weight", &w.k},  {"q_proj.bias", &w.q_bias},  {"k_proj.bias", &w.k_bias},
                                                           {"q_norm.weight", &w.q_norm}, {"k_norm.weight", &w.k_norm}};
  std::vector<TensorSpec> specs;
  const auto there = [](const Tensor* tensor) { return tensor->defined() && tensor->count() > 0; };
  for (const auto& [name, tensor] : tensors)
    if (there(tensor)) specs.push_back({name, tensor->dtype(), tensor->shape()});
  SafetensorsWriter writer(path, specs,
                           {{"heads", std::to_string(w.heads)}, {"kv_heads", std::to_string(w.kv_heads)}, {"head_size", std::to_string(w.head_size)},
                            {"trained", std::to_string(w.trained)}, {"epsilon", fmt::format("{}", w.epsilon)}, {"head_epsilon", fmt::format("{}", w.head_epsilon)},
                            {"norm", w.rms ? "rms" : "layer"}, {"embedding", fingerprint(w.embedding)}});
  for (const auto& [name, tensor] : tensors)
    if (there(tensor)) writer.write(name, *tensor);
  writer.commit();
}

void extend_rotation(AttentionLayer& layer, int64_t trained, double factor) {
  // Turns over the trained length: from kFast on a frequency stays, up to kSlow it is divided.
  constexpr double kSlow = 1, kFast = 32;
  for (double& f : layer.inverse_frequency) {
    const double turns = static_cast<double>(trained) * f / (2 * std::numbers::pi), stays = std::clamp((turns - kSlow) / (kFast - kSlow), 0.0, 1.0);
    f = f / factor * (1 - stays) + f * stays;
  }
  layer.rotary_scale *= 0.1 * std::log(factor) + 1;
}

namespace {

AttentionLayer rotation_of(const RetrievalWeights& weights, AttentionLayer layer, int64_t capacity) {
  if (weights.trained > 0 && capacity > weights.trained && !layer.inverse_frequency.empty())
    extend_rotation(layer, weights.trained, static_cast<double>(capacity) / static_cast<double>(weights.trained));
  return layer;
}

}  // namespace

RetrievalHead::RetrievalHead(RetrievalWeights weights, const AttentionLayer& layer, int64_t capacity)
    : weights_(std::move(weights)), q_(dense_matrix(weights_.q)), k_(dense_matrix(weights_.k)), q_product_(mat_vec(q_.form)), k_product_(mat_vec(k_.form)),
      norm_(floats(weights_.norm)), norm_bias_(floats(weights_.norm_bias)), q_bias_(floats(weights_.q_bias)), k_bias_(floats(weights_.k_bias)),
      q_norm_(floats(weights_.q_norm)), k_norm_(floats(weights_.k_norm)), layer_(rotation_of(weights_, layer, capacity)), rotation_({&layer_, 1}),
      kernels_(vector_kernels()), stride_((q_.columns + 63) / 64 * 64) {}

uint64_t RetrievalHead::bytes() const { return q_.byte_size() + k_.byte_size() + norm_.size() * sizeof(float); }

void RetrievalHead::begin(std::span<const int32_t> ids, int64_t position) {
  ids_ = ids;
  const auto tokens = static_cast<int64_t>(ids.size());
  const auto grow = [&](std::vector<float>& list, int64_t width) { list.resize(std::max(list.size(), static_cast<size_t>(tokens * width))); };
  grow(x_, stride_), grow(q_rows_, q_.rows), grow(k_rows_, k_.rows);
  rotation_.prepare(tokens, [&](int64_t t) { return position + t; });
}

void RetrievalHead::embed(int64_t t) {
  const int64_t width = q_.columns;
  float* x = x_.data() + t * stride_;
  const size_t row = static_cast<size_t>(width) * size_of(weights_.embedding.dtype());
  convert_to_float(weights_.embedding.dtype(), weights_.embedding.bytes() + static_cast<size_t>(ids_[static_cast<size_t>(t)]) * row, x, static_cast<size_t>(width));
  if (weights_.rms) kernels_.rms_norm(x, norm_.empty() ? nullptr : norm_.data(), width, weights_.epsilon, x);
  else kernels_.layer_norm(x, norm_.empty() ? nullptr : norm_.data(), norm_bias_.empty() ? nullptr : norm_bias_.data(), width, weights_.epsilon, x);
  std::fill(x + width, x + stride_, 0.0f);
}

void RetrievalHead::multiply(const WeightMatrix& matrix, MatVec product, int64_t from, std::vector<float>& rows, const TeamRank& team) const {
  const Slice slice = team.slice(matrix.rows, 16);
  const auto tokens = static_cast<int64_t>(ids_.size());
  for (int64_t t = from; slice.begin < slice.end && t < tokens; t += kVectors)
    product(matrix, x_.data() + t * stride_, stride_, std::min(kVectors, tokens - t), rows.data() + t * matrix.rows, matrix.rows, slice.begin, slice.end);
}

// Bias, norm of each head, rotation.
void RetrievalHead::finish(std::vector<float>& rows, int64_t width, int64_t t, const std::vector<float>& bias, const std::vector<float>& norm, float scale) const {
  float* row = rows.data() + t * width;
  if (!bias.empty()) kernels_.add(row, bias.data(), width, row);
  for (int64_t at = 0; at < width; at += weights_.head_size) {
    if (!norm.empty()) kernels_.rms_norm(row + at, norm.data(), weights_.head_size, weights_.head_epsilon, row + at);
    rotation_.rotate(0, t, row + at);
  }
  for (int64_t c = 0; scale != 1 && c < width; ++c) row[c] *= scale;
}

void RetrievalHead::project(const TeamRank& team, int64_t from) {
  const Slice tokens = team.slice(static_cast<int64_t>(ids_.size()));
  for (int64_t t = tokens.begin; t < tokens.end; ++t) embed(t);
  team.barrier();
  multiply(k_, k_product_, 0, k_rows_, team);
  multiply(q_, q_product_, from, q_rows_, team);
  team.barrier();
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    finish(k_rows_, k_.rows, t, k_bias_, k_norm_, 1);
    if (t >= from) finish(q_rows_, q_.rows, t, q_bias_, q_norm_, static_cast<float>(layer_.scale));
  }
}

}  // namespace espalier
