// Graph → steps: attention swallows its rotations, an activation its product; then buffers, then barriers.
#include <algorithm>
#include <map>
#include <set>

#include "espalier/core/error.h"
#include "espalier/engine/decoder_program.h"
#include "espalier/engine/weight_choice.h"

namespace espalier {
namespace {

[[noreturn]] void not_a_decoder(const Node& node, const std::string& what) {
  throw UserError(node.name, "operator", "what a language model is made of", what);
}

std::vector<float> floats_of(const Graph& graph, const Node& node, const std::string& role) {
  return node.has_param(role) ? graph.parameter_of(node, role).load().to_floats() : std::vector<float>();
}

class Compiler {
 public:
  Compiler(const Model& model, const DecoderOptions& options)
      : model_(model), graph_(model.graph), options_(options), kernels_(vector_kernels()), value_(graph_.values.size()) {}

  DecoderSteps run() {
    if (graph_.inputs.size() != 1 || graph_.outputs.size() != 1)
      throw UserError(model_.path.string(), "model", "one input of token ids and one output of logits",
                      fmt::format("{} inputs and {} outputs", graph_.inputs.size(), graph_.outputs.size()));
    program_.layers = std::make_shared<std::vector<AttentionLayer>>();
    for (size_t i = 0; i < graph_.nodes.size(); ++i) translate(static_cast<NodeId>(i));
    if (program_.steps.empty() || program_.steps.back().kind != StepKind::kLinear)
      throw UserError(model_.path.string(), "model", "logits made by a last linear layer", "another end");
    program_.steps.back().kind = StepKind::kLogits;
    program_.vocab = program_.matrices[static_cast<size_t>(program_.steps.back().matrix)].weight.rows;
    return std::move(program_);
  }

  // Values stand in virtual buffers, one a value, until place() gives them real ones.
  const std::vector<int64_t>& widths() const { return widths_; }

 private:
  void translate(NodeId id) {
    const Node& node = graph_.nodes[static_cast<size_t>(id)];
    if (node.op == "Embedding") return look_up(node, StepKind::kEmbed);
    if (node.op == "PositionEmbedding") return look_up(node, StepKind::kPosition);
    if (node.op == "Linear") return linear(node);
    if (node.op == "RMSNorm" || node.op == "LayerNorm") return norm(node);
    if (node.op == "RotaryEmbedding") return rotary(node, id);
    if (node.op == "Attention") return attention(node);
    if (node.op == "Activation") return activation(node, id);
    if (node.op == "Add") return static_cast<void>(binary(node, StepKind::kAdd));
    if (node.op == "Mul") return multiply(node);
    if (node.op == "Gate") return gate(node);
    if (node.op == "Split") return split(node);
    not_a_decoder(node, node.op);
  }

  Operand in(const Node& node, size_t i) const {
    const Operand operand = value_[static_cast<size_t>(node.inputs.at(i))];
    if (operand.buffer < 0) not_a_decoder(node, node.op + " of token ids");
    return operand;
  }

  Operand fresh(const Node& node, int64_t width) {
    const Operand operand{static_cast<int>(widths_.size()), 0, width};
    widths_.push_back(width);
    value_[static_cast<size_t>(node.outputs.at(0))] = operand;
    return operand;
  }

  Step& emit(StepKind kind, const Node& node, int64_t width) {
    Step step{};
    step.kind = kind;
    step.node = node.name;
    step.out = fresh(node, width);
    program_.tables.emplace_back();
    program_.steps.push_back(std::move(step));
    return program_.steps.back();
  }

  void look_up(const Node& node, StepKind kind) {
    if (node.inputs.at(0) != graph_.inputs[0]) not_a_decoder(node, node.op + " of something else than the token ids");
    const Parameter& table = graph_.parameter_of(node, "weight");
    Step& step = emit(kind, node, table.shape().at(1));
    step.table = &table;
    program_.tables.back() = table.load();
    if (kind != StepKind::kPosition) return;
    step.first_row = node.integer_or("offset", 0);
    const int64_t positions = table.shape()[0] - step.first_row;
    program_.positions = program_.positions == 0 ? positions : std::min(program_.positions, positions);
  }

  void linear(const Node& node) {
    const Operand x = in(node, 0);
    if (x.width != widths_[static_cast<size_t>(x.buffer)]) not_a_decoder(node, "a linear layer over a part of a value");
    const int matrix = static_cast<int>(program_.matrices.size());
    program_.matrices.push_back(load_matrix(model_, node, options_));
    Step& step = emit(StepKind::kLinear, node, program_.matrices.back().weight.rows);
    step.a = x;
    step.matrix = matrix;
    step.bias = floats_of(graph_, node, "bias");
  }

  void norm(const Node& node) {
    if (node.has_param("mask")) not_a_decoder(node, "a norm under a mask; cut the model first");
    const Operand x = in(node, 0);
    Step& step = emit(node.op == "RMSNorm" ? StepKind::kRmsNorm : StepKind::kLayerNorm, node, x.width);
    step.a = x;
    step.weight = floats_of(graph_, node, "weight");
    step.bias = floats_of(graph_, node, "bias");
    step.epsilon = static_cast<float>(node.real("epsilon"));
    step.run = node.integer_or("head_size", x.width);
  }

  // The attention that reads it turns the rotation into its own.
  void rotary(const Node& node, NodeId id) {
    for (NodeId reader : graph_.consumers(node.outputs.at(0)))
      if (graph_.nodes[static_cast<size_t>(reader)].op != "Attention") not_a_decoder(node, "a rotation that is read outside attention");
    value_[static_cast<size_t>(node.outputs.at(0))] = in(node, 0);
    rotation_[node.outputs.at(0)] = id;
  }

  const Node* rotation_of(ValueId value) const {
    const auto found = rotation_.find(value);
    return found == rotation_.end() ? nullptr : &graph_.nodes[static_cast<size_t>(found->second)];
  }

  void attention(const Node& node) {
    if (!node.flag_or("causal", true)) not_a_decoder(node, "attention that looks ahead");
    if (node.inputs.size() > 3) not_a_decoder(node, "attention with a mask");
    const Operand q = in(node, 0), k = in(node, 1), v = in(node, 2);
    AttentionLayer layer;
    layer.head_size = node.integer("head_size");
    layer.heads = q.width / layer.head_size;
    layer.kv_heads = k.width / layer.head_size;
    layer.scale = node.real("scale");
    layer.window = node.integer_or("window", 0);
    const Node *of_q = rotation_of(node.inputs[0]), *of_k = rotation_of(node.inputs[1]);
    if ((of_q == nullptr) != (of_k == nullptr) || rotation_of(node.inputs[2]) != nullptr ||
        (of_q != nullptr && of_q->attributes != of_k->attributes))
      not_a_decoder(node, "queries and keys that are rotated differently");
    if (of_q != nullptr) {
      layer.inverse_frequency = std::get<std::vector<double>>(of_q->attributes.at("inverse_frequency"));
      layer.rotary_scale = of_q->real("scale");
    }
    Step& step = emit(StepKind::kAttention, node, q.width);
    step.a = q, step.b = k, step.c = v;
    step.layer = static_cast<int>(program_.layers->size());
    program_.layers->push_back(std::move(layer));
  }

  Elementwise function_of(const Node& node) const {
    const std::string kind = node.text("kind");
    if (kind == "silu") return kernels_.silu;
    if (kind == "gelu") return kernels_.gelu;
    if (kind == "gelu_tanh") return kernels_.gelu_tanh;
    if (kind == "relu") return kernels_.relu;
    not_a_decoder(node, "the activation " + kind);
  }

  void activation(const Node& node, NodeId id) {
    const auto readers = graph_.consumers(node.outputs.at(0));
    if (readers.size() == 1 && graph_.nodes[static_cast<size_t>(readers[0])].op == "Mul") {
      value_[static_cast<size_t>(node.outputs.at(0))] = in(node, 0);
      activation_[node.outputs.at(0)] = id;
      return;
    }
    const Operand x = in(node, 0);
    const Elementwise function = function_of(node);
    Step& step = emit(StepKind::kActivation, node, x.width);
    step.a = x;
    step.function = function;
  }

  void check_same_width(const Node& node, const Operand& a, const Operand& b) const {
    if (a.width != b.width) not_a_decoder(node, fmt::format("{} of widths {} and {}", node.op, a.width, b.width));
  }

  Step& binary(const Node& node, StepKind kind) {
    const Operand a = in(node, 0), b = in(node, 1);
    check_same_width(node, a, b);
    Step& step = emit(kind, node, a.width);
    step.a = a, step.b = b;
    return step;
  }

  void multiply(const Node& node) {
    const bool first = activation_.count(node.inputs.at(0)) != 0, second = activation_.count(node.inputs.at(1)) != 0;
    if (!first && !second) {
      binary(node, StepKind::kMultiply);
      return;
    }
    if (first && second) not_a_decoder(node, "a product of two activations");
    const Node& activation = graph_.nodes[static_cast<size_t>(activation_.at(node.inputs[first ? 0 : 1]))];
    const Elementwise function = function_of(activation);
    Step& step = binary(node, StepKind::kActivationMultiply);
    if (second) std::swap(step.a, step.b);
    step.function = function;
    step.gated_silu = activation.text("kind") == "silu";
  }

  void gate(const Node& node) {
    const Operand x = in(node, 0);
    Step& step = emit(StepKind::kGate, node, x.width);
    step.a = x;
    step.weight = floats_of(graph_, node, "gate");
  }

  void split(const Node& node) {
    if (const int64_t axis = node.integer_or("axis", -1); axis != -1 && axis != 2) not_a_decoder(node, "a split of tokens");
    Operand part = in(node, 0);
    const auto& sizes = node.integers("sizes");
    for (size_t i = 0; i < sizes.size(); ++i) {
      part.width = sizes[i];
      value_[static_cast<size_t>(node.outputs.at(i))] = part;
      part.offset += sizes[i];
    }
  }

  const Model& model_;
  const Graph& graph_;
  const DecoderOptions& options_;
  const VectorKernels& kernels_;
  DecoderSteps program_;
  std::vector<Operand> value_;            // by ValueId
  std::vector<int64_t> widths_;           // of virtual buffers
  std::map<ValueId, NodeId> rotation_, activation_;  // folded into the node that reads them
};

std::vector<Operand*> reads_of(Step& step) {
  std::vector<Operand*> reads;
  for (Operand* operand : {&step.a, &step.b, &step.c})
    if (operand->buffer >= 0) reads.push_back(operand);
  return reads;
}

// Rows whose logits nobody wants end with the last attention: behind it tokens no longer meet.
void drop_rows_after_last_attention(DecoderSteps& program) {
  auto& steps = program.steps;
  size_t at = steps.size() - 1;
  for (size_t i = 0; i < steps.size(); ++i)
    if (steps[i].kind == StepKind::kAttention) at = i + 1;
  std::set<int> made, live;
  for (size_t i = 0; i < at; ++i) made.insert(steps[i].out.buffer);
  for (size_t i = at; i < steps.size(); ++i)
    for (const Operand* operand : reads_of(steps[i]))
      if (made.count(operand->buffer)) live.insert(operand->buffer);
  std::vector<Step> keeps;
  std::map<int, int64_t> ends;
  for (size_t i = 0; i < at; ++i) ends[steps[i].out.buffer] = steps[i].out.width;
  for (int buffer : live) {
    Step keep{};
    keep.kind = StepKind::kKeepRows;
    keep.node = "rows";
    keep.a = keep.out = {buffer, 0, ends.at(buffer)};
    keeps.push_back(std::move(keep));
  }
  steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(at), keeps.begin(), keeps.end());
  program.tables.insert(program.tables.begin() + static_cast<std::ptrdiff_t>(at), keeps.size(), Tensor());
}

bool is_elementwise(StepKind kind) {
  return kind == StepKind::kActivation || kind == StepKind::kActivationMultiply || kind == StepKind::kAdd ||
         kind == StepKind::kMultiply || kind == StepKind::kGate;
}

// Virtual buffers → real ones: a buffer is free after the last step that reads it; elementwise steps write in place.
void place(DecoderSteps& program, const std::vector<int64_t>& widths) {
  std::vector<size_t> last(widths.size(), 0);
  for (size_t i = 0; i < program.steps.size(); ++i)
    for (const Operand* operand : reads_of(program.steps[i])) last[static_cast<size_t>(operand->buffer)] = i;
  std::vector<int> real(widths.size(), -1);
  std::multimap<int64_t, int> idle;  // by stride
  for (size_t i = 0; i < program.steps.size(); ++i) {
    Step& step = program.steps[i];
    const auto reads = reads_of(step);
    std::set<int> dying;  // virtual
    for (const Operand* operand : reads)
      if (last[static_cast<size_t>(operand->buffer)] == i) dying.insert(operand->buffer);
    const int out = step.out.buffer;
    if (step.kind != StepKind::kLogits && real[static_cast<size_t>(out)] < 0) {
      const int64_t stride = row_stride(widths[static_cast<size_t>(out)]);
      for (const Operand* operand : reads) {
        if (!is_elementwise(step.kind) || operand->offset != 0 || !dying.count(operand->buffer)) continue;
        if (widths[static_cast<size_t>(operand->buffer)] != step.out.width) continue;
        real[static_cast<size_t>(out)] = real[static_cast<size_t>(operand->buffer)];
        dying.erase(operand->buffer);
        break;
      }
      if (real[static_cast<size_t>(out)] < 0) {
        if (const auto found = idle.lower_bound(stride); found != idle.end() && found->first <= 2 * stride) {
          real[static_cast<size_t>(out)] = found->second;
          idle.erase(found);
        } else {
          real[static_cast<size_t>(out)] = static_cast<int>(program.strides.size());
          program.strides.push_back(stride);
        }
      }
    }
    for (int buffer : dying) {
      const int freed = real[static_cast<size_t>(buffer)];
      idle.emplace(program.strides[static_cast<size_t>(freed)], freed);
    }
  }
  for (Step& step : program.steps) {
    for (Operand* operand : reads_of(step)) operand->buffer = real[static_cast<size_t>(operand->buffer)];
    if (step.kind != StepKind::kLogits) step.out.buffer = real[static_cast<size_t>(step.out.buffer)];
  }
}

// How a step's work is shared: each rank has the same columns of every row, or anything else.
struct Access {
  int buffer;
  bool writes, by_columns;
  int64_t offset, width;
};

std::vector<Access> accesses_of(Step& step) {
  const bool columns = is_elementwise(step.kind) || step.kind == StepKind::kKeepRows;
  std::vector<Access> all;
  for (const Operand* operand : reads_of(step)) all.push_back({operand->buffer, false, columns, operand->offset, operand->width});
  if (step.kind == StepKind::kLogits) return all;
  const bool out_columns = columns || step.kind == StepKind::kLinear || step.kind == StepKind::kEmbed || step.kind == StepKind::kPosition;
  all.push_back({step.out.buffer, true, out_columns, step.out.offset, step.out.width});
  return all;
}

void set_barriers(DecoderSteps& program) {
  std::vector<Access> open;
  for (Step& step : program.steps) {
    const auto mine = accesses_of(step);
    for (const Access& a : mine)
      for (const Access& b : open) {
        if (a.buffer != b.buffer || !(a.writes || b.writes)) continue;
        const bool same = a.by_columns && b.by_columns && a.offset == b.offset && a.width == b.width;
        if (!same) step.barrier = true;
      }
    if (step.barrier) open.clear();
    open.insert(open.end(), mine.begin(), mine.end());
  }
}

}  // namespace

// A stride that is a large power of two would put the rows of a tile into the same few cache sets.
int64_t row_stride(int64_t width) {
  const int64_t whole = (width + 63) / 64 * 64;
  return whole % 1024 == 0 ? whole + 64 : whole;
}

DecoderSteps compile_decoder(const Model& model, const DecoderOptions& options) {
  Compiler compiler(model, options);
  DecoderSteps program = compiler.run();
  drop_rows_after_last_attention(program);
  place(program, compiler.widths());
  set_barriers(program);
  return program;
}

}  // namespace espalier
