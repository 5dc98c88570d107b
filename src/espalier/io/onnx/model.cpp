#include "espalier/io/onnx/model.h"

#include "espalier/core/error.h"

namespace espalier {
namespace {

template <typename Graph, typename Visit>
void visit_graph(Graph& graph, const Visit& visit);

template <typename Sparse, typename Visit>
void visit_sparse(Sparse& sparse, const Visit& visit) {
  visit(sparse.values);
  visit(sparse.indices);
}

template <typename Attributes, typename Visit>
void visit_attributes(Attributes& attributes, const Visit& visit) {
  for (auto& attribute : attributes) {
    for (auto& tensor : attribute.tensors) visit(tensor);
    for (auto& sparse : attribute.sparse_tensors) visit_sparse(sparse, visit);
    for (auto& graph : attribute.graphs) visit_graph(graph, visit);
  }
}

template <typename Graph, typename Visit>
void visit_graph(Graph& graph, const Visit& visit) {
  for (auto& tensor : graph.initializers) visit(tensor);
  for (auto& sparse : graph.sparse_initializers) visit_sparse(sparse, visit);
  for (auto& node : graph.nodes) visit_attributes(node.attributes, visit);
}

template <typename Model, typename Visit>
void visit_model(Model& model, const Visit& visit) {
  visit_graph(model.graph, visit);
  for (auto& function : model.functions) {
    visit_attributes(function.attribute_defaults, visit);
    for (auto& node : function.nodes) visit_attributes(node.attributes, visit);
  }
}

}  // namespace

OnnxBytes OnnxBytes::own(std::string bytes) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  const std::string_view view = *owner;
  return {std::move(owner), view};
}

std::optional<Shape> OnnxType::fixed_shape() const {
  if (kind != Kind::kTensor || !has_shape) return std::nullopt;
  Shape result;
  for (const OnnxDim& dim : shape) {
    if (!dim.fixed()) return std::nullopt;
    result.push_back(*dim.value);
  }
  return result;
}

bool is_default_domain(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

std::optional<int64_t> opset_version(const std::vector<OnnxOpset>& imports, std::string_view domain) {
  for (const OnnxOpset& opset : imports)
    if (opset.domain == domain || (is_default_domain(opset.domain) && is_default_domain(domain))) return opset.version;
  return std::nullopt;
}

std::string describe(const OnnxNode& node, size_t index) {
  const std::string type = printable(node.op_type);
  return node.name.empty() ? fmt::format("node {} ({})", index, type)
                           : fmt::format("node '{}' ({})", printable(node.name), type);
}

void for_each_tensor(const OnnxModel& model, const std::function<void(const OnnxTensor&)>& visit) {
  visit_model(model, visit);
}
void for_each_tensor(OnnxModel& model, const std::function<void(OnnxTensor&)>& visit) { visit_model(model, visit); }

}  // namespace espalier
