#include "espalier/structure/surgery_layout.h"

#include <algorithm>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/graph/operator.h"

namespace espalier {
namespace {

// Indices of what stays, in the numbering of what stays.
std::vector<int64_t> renumbered(const std::vector<int64_t>& indices, const std::vector<uint8_t>& kept) {
  std::vector<int64_t> number(kept.size()), result;
  std::partial_sum(kept.begin(), kept.end(), number.begin(), [](int64_t a, int64_t b) { return a + b; });
  for (int64_t index : indices)
    if (kept[static_cast<size_t>(index)]) result.push_back(number[static_cast<size_t>(index)] - 1);
  return result;
}

bool evenly_spaced(const std::vector<int64_t>& indices) {
  for (size_t i = 2; i < indices.size(); ++i)
    if (indices[i] - indices[i - 1] != indices[1] - indices[0]) return false;
  return indices.size() < 2 || indices[1] > indices[0];
}

// Row-major data under a Transpose.
std::vector<int64_t> transposed(const std::vector<int64_t>& data, const Shape& shape,
                                const std::vector<int64_t>& perm) {
  const size_t rank = shape.size();
  std::vector<int64_t> stride(rank, 1), at(rank, 0), result;
  for (size_t d = rank; d-- > 1;) stride[d - 1] = stride[d] * shape[d];
  result.reserve(data.size());
  for (size_t i = 0; i < data.size(); ++i) {
    int64_t from = 0;
    for (size_t d = 0; d < rank; ++d) from += at[d] * stride[static_cast<size_t>(perm[d])];
    result.push_back(data[static_cast<size_t>(from)]);
    for (size_t d = rank; d-- > 0 && ++at[d] == shape[static_cast<size_t>(perm[d])];) at[d] = 0;
  }
  return result;
}

[[noreturn]] void cannot_express(const std::string& node, const std::string& why) {
  throw UserError(node, "cut", "indices that form whole rows and columns of the reshaped dim, because " + why,
                  "other ones");
}

// The integer, or the entry of the integer list.
int64_t& entry_of(Node& node, const CountedEntry& entry) {
  Attribute& attribute = node.attributes.at(entry.attribute);
  if (auto* list = std::get_if<std::vector<int64_t>>(&attribute)) return list->at(entry.entry);
  return std::get<int64_t>(attribute);
}

}  // namespace

LayoutSurgery::LayoutSurgery(Graph& graph, const Coupling& coupling, Removed removed)
    : graph_(graph), coupling_(coupling), removed_(std::move(removed)) {
  if (coupling.counted.empty() && coupling.addressed.empty() && coupling.splits.empty()) return;
  for (size_t n = 0; n < graph.nodes.size(); ++n) index_of_[graph.nodes[n].name] = static_cast<NodeId>(n);
  survey_splits();
  plan_chains();
  check_leftovers();
  plan_indices();
}

bool LayoutSurgery::loses(const std::vector<SetRef>& positions) const {
  return std::any_of(positions.begin(), positions.end(), removed_);
}

void LayoutSurgery::survey_splits() {
  for (size_t s = 0; s < coupling_.splits.size(); ++s) {
    const SplitDim& split = coupling_.splits[s];
    if (!loses(split.positions)) continue;
    KeptFactors& facts = splits_[static_cast<int>(s)];
    for (int64_t size : split.factors) facts.kept.emplace_back(static_cast<size_t>(size), 0);
    int64_t kept = 0, product = 1;
    for (size_t i = 0; i < split.positions.size(); ++i) {
      if (removed_(split.positions[i])) continue;
      ++kept;
      size_t rest = i;
      for (size_t f = split.factors.size(); f-- > 0; rest /= static_cast<size_t>(split.factors[f]))
        facts.kept[f][rest % static_cast<size_t>(split.factors[f])] = 1;
    }
    for (const auto& coordinates : facts.kept) product *= std::count(coordinates.begin(), coordinates.end(), 1);
    facts.product = product == kept;
  }
}

void LayoutSurgery::plan_chains() {
  std::unordered_set<int> families;
  for (const auto& [split, facts] : splits_)
    if (!facts.product) families.insert(coupling_.splits[static_cast<size_t>(split)].family);
  if (families.empty()) return;
  infer_shapes(graph_, input_shapes(graph_));
  for (const LayoutChain& chain : coupling_.chains) {
    if (!families.count(chain.family)) continue;
    check_chain(chain);
    std::vector<uint8_t> kept;
    for (const SetRef& ref : chain.root_positions) kept.push_back(!removed_(ref));
    chains_[&chain] = renumbered(chain.picks, kept);
    replaced_.insert(chain.node);
  }
}

// The chain must do to all elements what the Gather will: its nodes are followed on numbered elements.
void LayoutSurgery::check_chain(const LayoutChain& chain) {
  std::vector<const Node*> nodes;
  for (ValueId value = node(chain.node).outputs[0]; value != chain.root;) {
    const auto producer = graph_.producer(value);
    ESP_ASSERT(producer, "{} does not come from its root", chain.node);
    nodes.push_back(&graph_.nodes[static_cast<size_t>(*producer)]);
    value = nodes.back()->inputs.at(0);
  }
  auto shape = [&](ValueId value) -> const Shape& { return graph_.values[static_cast<size_t>(value)].shape; };
  const Shape& root = shape(chain.root);
  std::vector<int64_t> data(static_cast<size_t>(element_count(root)));
  std::iota(data.begin(), data.end(), int64_t{0});
  for (auto at = nodes.rbegin(); at != nodes.rend(); ++at) {
    if ((*at)->op == "Transpose")
      data = transposed(data, shape((*at)->inputs[0]), (*at)->integers("perm"));
    else if ((*at)->op != "Reshape" && (*at)->op != "Flatten" && (*at)->op != "Squeeze" && (*at)->op != "Unsqueeze")
      cannot_express(chain.node, fmt::format("{} {} is on the way", (*at)->op, (*at)->name));
  }
  int64_t inner = 1;
  for (size_t d = chain.root_axis + 1; d < root.size(); ++d) inner *= root[d];
  const int64_t from = root[chain.root_axis], to = std::ssize(chain.picks);
  Shape gathered = root;
  gathered[chain.root_axis] = to;
  bool same = gathered == shape(node(chain.node).outputs[0]);
  for (int64_t i = 0; same && i < std::ssize(data); ++i)
    same = data[static_cast<size_t>(i)] ==
           (i / (inner * to) * from + chain.picks[static_cast<size_t>(i / inner % to)]) * inner + i % inner;
  if (!same) cannot_express(chain.node, "other dims move too");
}

// Whatever still reads the parts of a split once its chains are gone needs whole rows and columns.
void LayoutSurgery::check_leftovers() {
  if (std::all_of(splits_.begin(), splits_.end(), [](const auto& entry) { return entry.second.product; })) return;
  Graph trial = graph_.clone();
  for (const auto& [chain, picks] : chains_)
    trial.nodes[static_cast<size_t>(index_of_.at(chain->node))].inputs = {chain->root};
  trial.drop_unread_nodes();
  std::unordered_set<std::string> alive;
  for (const Node& left : trial.nodes) alive.insert(left.name);
  auto check = [&](const DimPositions& dim, const std::string& name) {
    const auto split = splits_.find(dim.split);
    if (split != splits_.end() && !split->second.product && alive.count(name) && !replaced_.count(name))
      cannot_express(name, "it reads the parts");
  };
  for (const auto& entry : coupling_.counted) check(entry, entry.node);
  for (const auto& site : coupling_.addressed) check(site, site.node);
}

std::vector<uint8_t> LayoutSurgery::kept_positions(const DimPositions& dim) const {
  if (dim.split >= 0) {
    const auto found = splits_.find(dim.split);
    return found == splits_.end() ? std::vector<uint8_t>{} : found->second.kept[dim.factor];
  }
  if (!loses(dim.positions)) return {};
  std::vector<uint8_t> kept;
  for (const SetRef& ref : dim.positions) kept.push_back(!removed_(ref));
  return kept;
}

void LayoutSurgery::plan_indices() {
  for (const AddressedDim& site : coupling_.addressed) {
    const auto kept = kept_positions(site);
    if (kept.empty()) continue;
    auto indices = renumbered(site.indices, kept);
    if (indices.empty() && !site.indices.empty())
      user_error("{}: the cut would leave none of the {} indices that it picks", site.node, site.indices.size());
    const Node& of = node(site.node);
    if (of.op == "Slice" && of.integers("axes").size() > 1 && !evenly_spaced(indices))
      user_error(
          "{}: after the cut the indices would no longer be evenly spaced, as a Slice of several axes needs them",
          site.node);
    indices_[&site] = std::move(indices);
  }
}

void LayoutSurgery::set_slice(Node& slice, size_t axis, const std::vector<int64_t>& indices) {
  const auto rank = static_cast<int64_t>(graph_.values[static_cast<size_t>(slice.inputs[0])].shape.size());
  const auto& axes = slice.integers("axes");
  for (size_t i = 0; i < axes.size(); ++i) {
    if ((axes[i] < 0 ? axes[i] + rank : axes[i]) != static_cast<int64_t>(axis)) continue;
    auto entry = [&](const char* name) -> int64_t& {
      return std::get<std::vector<int64_t>>(slice.attributes.at(name)).at(i);
    };
    entry("starts") = indices.front();
    entry("ends") = indices.back() + 1;
    if (slice.attributes.count("steps")) entry("steps") = indices.size() > 1 ? indices[1] - indices[0] : 1;
  }
}

void LayoutSurgery::set_indices(const AddressedDim& site, const std::vector<int64_t>& indices) {
  Node& of = node(site.node);
  const bool unit_steps = indices.size() < 2 || indices[1] - indices[0] == 1;
  if (of.op == "Slice" && evenly_spaced(indices) && (unit_steps || of.attributes.count("steps"))) {
    set_slice(of, site.axis, indices);
    return;
  }
  if (of.op == "Slice") {
    of.op = "Gather";
    of.attributes = {{"axis", static_cast<int64_t>(site.axis)}};
  }
  of.attributes["indices"] = indices;
}

void LayoutSurgery::rewrite_counts() {
  for (const CountedEntry& entry : coupling_.counted) {
    if (replaced_.count(entry.node)) continue;
    const auto split = splits_.find(entry.split);
    if (split != splits_.end() && !split->second.product) continue;  // nobody reads it any more
    const auto kept = kept_positions(entry);
    if (kept.empty()) continue;
    int64_t& value = entry_of(node(entry.node), entry);
    ESP_ASSERT(entry.split < 0 || value == std::ssize(kept), "{} is not as it was when its coupling was found",
               entry.node);
    value -= std::count(kept.begin(), kept.end(), 0);
  }
}

void LayoutSurgery::apply() {
  rewrite_counts();
  for (const auto& [site, indices] : indices_) set_indices(*site, indices);
  for (const auto& [chain, picks] : chains_) {
    Node& end = node(chain->node);
    end.op = "Gather";
    end.inputs = {chain->root};
    end.attributes = {{"axis", static_cast<int64_t>(chain->root_axis)}, {"indices", picks}};
  }
  if (!chains_.empty()) graph_.drop_unread_nodes();
}

}  // namespace espalier
