#include "espalier/engine/graph_runner.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>

#include "espalier/core/error.h"
#include "espalier/core/resources.h"
#include "espalier/engine/graph_fusion.h"
#include "espalier/engine/graph_memory.h"
#include "espalier/engine/ops/parallel.h"
#include "espalier/graph/operator.h"

namespace espalier {

struct GraphRunner::State {
  int threads = 1;
  Program program;
  std::vector<std::string> input_names;
  std::vector<Shape> input_shapes;
  std::vector<DType> input_dtypes;
  std::vector<View> inputs, outputs;  // outputs contiguous
  MemoryPlan memory;
  std::unique_ptr<std::byte, void (*)(void*)> workspace{nullptr, std::free};

  std::byte* at(const View& view) const {
    const Storage& storage = program.storages[static_cast<size_t>(view.storage)];
    std::byte* base = storage.constant ? const_cast<std::byte*>(storage.constant) : workspace.get() + storage.offset;
    return base + static_cast<uint64_t>(view.offset) * size_of(view.dtype);
  }
};

namespace {

void check_inputs(const Graph& graph, const std::vector<Shape>& shapes, const GraphRunnerOptions& options) {
  if (options.threads < 1) throw UserError("threads", "number", "at least 1", fmt::format("{}", options.threads));
  if (shapes.size() != graph.inputs.size())
    throw UserError("graph", "inputs", fmt::format("{} shapes", graph.inputs.size()), fmt::format("{}", shapes.size()));
  if (!options.input_dtypes.empty() && options.input_dtypes.size() != shapes.size())
    throw UserError("graph", "input types", fmt::format("{}", shapes.size()),
                    fmt::format("{}", options.input_dtypes.size()));
  for (DType type : options.input_dtypes)
    if (type != DType::kF32 && type != DType::kI64 && type != DType::kBool)
      throw UserError("graph", "input type", "F32, I64 or BOOL", std::string(name_of(type)));
}

// Ids are what an Embedding reads.
std::vector<DType> default_dtypes(const Graph& graph) {
  std::vector<DType> types;
  for (ValueId input : graph.inputs) {
    const auto readers = graph.consumers(input);
    const bool ids = std::any_of(readers.begin(), readers.end(), [&](NodeId n) {
      const std::string& op = graph.nodes[static_cast<size_t>(n)].op;
      return op == "Embedding" || op == "PositionEmbedding";
    });
    types.push_back(ids ? DType::kI64 : DType::kF32);
  }
  return types;
}

void lower_node(Lowering& lowering, const FusedNode& fused) {
  const Node& node = *fused.node;
  if (node.op == "Opaque")
    user_error("{}: the operator {} cannot be run: espalier does not know it", node.name,
               printable(node.text_or("op_type", "Opaque")));
  const Lower lower = find_lowering(node.op);
  if (!lower) throw UserError(node.name, "operator", "one that the engine has a kernel for", printable(node.op));
  lowering.start(fused);
  try {
    lower(lowering);
  } catch (const dnnl::error& error) {
    throw UserError(node.name, node.op, "sizes that oneDNN can run", error.what());
  }
  lowering.finish();
}

void bind_steps(Program& program, std::byte* workspace, uint64_t scratch_offset) {
  auto at = [&](const GraphStep::Place& place) {
    const Storage& storage = program.storages[static_cast<size_t>(place.storage)];
    return (storage.constant ? const_cast<std::byte*>(storage.constant) : workspace + storage.offset) + place.offset;
  };
  for (GraphStep& step : program.steps) {
    for (const auto& place : step.in) step.pointers.in.push_back(at(place));
    for (const auto& place : step.out) step.pointers.out.push_back(at(place));
    step.pointers.scratch = workspace + scratch_offset;
    if (step.bind) step.bind(step.pointers);
  }
}

void copy_input(const Tensor& tensor, DType type, std::byte* to, const std::string& name) {
  if (tensor.count() == 0) return;
  const auto count = static_cast<size_t>(tensor.count());
  if (tensor.dtype() == type) {
    std::memcpy(to, tensor.bytes(), tensor.byte_size());
  } else if (type == DType::kF32) {
    convert_to_float(tensor.dtype(), tensor.bytes(), reinterpret_cast<float*>(to), count);
  } else if (type == DType::kI64 && tensor.dtype() == DType::kI32) {
    std::copy_n(tensor.as<int32_t>().data(), count, reinterpret_cast<int64_t*>(to));
  } else {
    throw UserError(name, "element type", std::string(name_of(type)), std::string(name_of(tensor.dtype())));
  }
}

}  // namespace

bool has_graph_kernel(const std::string& op) { return find_lowering(op) != nullptr; }

GraphRunner::GraphRunner(const Graph& given, const std::vector<Shape>& shapes, const GraphRunnerOptions& options)
    : state_(std::make_unique<State>()) {
  check_inputs(given, shapes, options);
  Graph graph = given.clone();
  graph.drop_unread_nodes();
  infer_shapes(graph, shapes);
  State& state = *state_;
  state.threads = options.threads;
  state.input_shapes = shapes;
  state.input_dtypes = options.input_dtypes.empty() ? default_dtypes(graph) : options.input_dtypes;
  const ThreadScope scope(state.threads);

  const std::vector<FusedNode> nodes = fuse_nodes(graph);
  std::vector<View> values(graph.values.size());
  std::vector<int> uses = count_uses(graph, nodes);
  Lowering lowering(graph, state.program, values, uses);
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const auto id = static_cast<size_t>(graph.inputs[i]);
    values[id] = lowering.make(state.input_dtypes[i], shapes[i]);
    state.program.storages.back().references = 1;
    state.inputs.push_back(values[id]);
    state.input_names.push_back(graph.values[id].name);
  }
  for (const FusedNode& fused : nodes) lower_node(lowering, fused);
  Node last;
  last.name = "outputs";
  FusedNode outputs;
  outputs.node = &last;
  lowering.start(outputs);
  for (ValueId output : graph.outputs) state.outputs.push_back(lowering.contiguous(lowering.value(output)));

  state.memory = plan_memory(state.program, state.inputs, state.outputs);
  const uint64_t bytes = (std::max<uint64_t>(state.memory.bytes, 1) + 63) / 64 * 64;
  if (bytes > available_memory_bytes())
    throw UserError("graph", "workspace", fmt::format("at most the {} free bytes", available_memory_bytes()),
                    fmt::format("{}", bytes));
  state.workspace.reset(static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
  if (!state.workspace) throw std::bad_alloc();
  bind_steps(state.program, state.workspace.get(), state.memory.scratch_offset);
}

GraphRunner::~GraphRunner() = default;
GraphRunner::GraphRunner(GraphRunner&&) noexcept = default;
GraphRunner& GraphRunner::operator=(GraphRunner&&) noexcept = default;

std::vector<Tensor> GraphRunner::run(std::span<const Tensor> inputs) {
  std::vector<Tensor> outputs;
  run(inputs, outputs);
  return outputs;
}

void GraphRunner::run(std::span<const Tensor> inputs, std::vector<Tensor>& outputs) {
  State& state = *state_;
  if (inputs.size() != state.inputs.size())
    throw UserError("graph", "inputs", fmt::format("{}", state.inputs.size()), fmt::format("{}", inputs.size()));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].shape() != state.input_shapes[i])
      throw UserError(state.input_names[i], "shape", to_string(state.input_shapes[i]), to_string(inputs[i].shape()));
    copy_input(inputs[i], state.input_dtypes[i], state.at(state.inputs[i]), state.input_names[i]);
  }
  const ThreadScope scope(state.threads);
  for (const GraphStep& step : state.program.steps) step.run(step.pointers);
  outputs.resize(state.outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const View& view = state.outputs[i];
    if (outputs[i].dtype() != view.dtype || outputs[i].shape() != view.shape || !outputs[i].defined() ||
        view.shape.empty())
      outputs[i] = Tensor(view.dtype, view.shape);
    if (view.count() > 0) std::memcpy(outputs[i].mutable_bytes(), state.at(view), outputs[i].byte_size());
  }
}

const std::vector<Shape>& GraphRunner::input_shapes() const { return state_->input_shapes; }
const std::vector<DType>& GraphRunner::input_dtypes() const { return state_->input_dtypes; }
int GraphRunner::threads() const { return state_->threads; }
uint64_t GraphRunner::workspace_bytes() const { return state_->memory.bytes; }
size_t GraphRunner::step_count() const { return state_->program.steps.size(); }

std::vector<GraphRunner::StepTime> GraphRunner::time_steps(std::span<const Tensor> inputs, int repeats) {
  using Clock = std::chrono::steady_clock;
  std::vector<Tensor> outputs;
  const auto& steps = state_->program.steps;
  std::vector<std::vector<double>> times(steps.size());
  for (int r = 0; r < repeats; ++r) {
    run(inputs, outputs);  // steps may work in place, so the inputs are laid out anew
    for (size_t i = 0; i < inputs.size(); ++i)
      copy_input(inputs[i], state_->input_dtypes[i], state_->at(state_->inputs[i]), state_->input_names[i]);
    const ThreadScope scope(state_->threads);
    for (size_t s = 0; s < steps.size(); ++s) {
      const auto start = Clock::now();
      steps[s].run(steps[s].pointers);
      times[s].push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
  }
  std::vector<StepTime> result;
  for (size_t s = 0; s < steps.size(); ++s) {
    std::nth_element(times[s].begin(), times[s].begin() + static_cast<ptrdiff_t>(times[s].size() / 2), times[s].end());
    result.push_back({steps[s].name, times[s].empty() ? 0 : times[s][times[s].size() / 2]});
  }
  return result;
}

}  // namespace espalier
