// Attention, which files have as MatMul, Softmax, MatMul and whatever brings heads into dims of their own and back:
// Reshape and Transpose, or the parts of a packed layer by Split, Gather or Slice. What these operators do to an index
// is computed (layout_map.h), so that how an exporter wrote it does not matter; what does not come to exactly
// softmax(q kᵀ · scale, then masks) v with whole heads stays as it is.
#include <algorithm>
#include <limits>
#include <set>

#include "espalier/families/onnx/attention_operand.h"
#include "espalier/families/onnx/patterns.h"
#include "espalier/families/onnx/patterns_view.h"
#include "espalier/graph/ops/attention_masks.h"

namespace espalier {
namespace {

constexpr size_t kLongestChain = 16;

struct Operand {
  ValueId x = -1;
  OperandForm form;
  double scale = 1;
  bool operator==(const Operand&) const = default;
};

struct MaskStep {
  int64_t kind = kAddMask;
  double fill = 0;
  ValueId mask = -1;
  size_t rank = 4;  // of the scores that it met
};

// Between the product of queries and keys and the softmax.
struct Scores {
  ValueId whole = -1;  // what the softmax reads
  const Node* product = nullptr;
  double scale = 1;
  std::vector<MaskStep> masks;  // in their order
  int64_t heads = 0;            // told by a shape on the way; 0: not told
};

struct Attended {
  Operand q, k, v;
  Scores scores;
  ValueId y = -1;
  bool turned = false;  // y has tokens before the batch
  bool causal = false;
};

// Operators that neither pick nor repeat.
bool is_rearrangement(const Node& node) {
  return is_layout(node) && node.op != "Split" && node.op != "Slice" && node.op != "Gather" && node.op != "Repeat" &&
         node.op != "Expand";
}

// Nor change the order of the elements.
bool keeps_order(const Node& node) { return is_rearrangement(node) && node.op != "Transpose"; }

class AttentionFusion {
 public:
  explicit AttentionFusion(GraphGrowth& growth)
      : growth_(growth), view_(growth.graph), readers_(growth.graph.values.size(), -1) {
    for (size_t n = 0; n < growth.graph.nodes.size(); ++n)
      for (ValueId input : growth.graph.nodes[n].inputs) readers_[static_cast<size_t>(input)] = static_cast<NodeId>(n);
  }

  void run() {
    std::map<ValueId, std::vector<Node>> runs;
    for (const Node& node : growth_.graph.nodes) {
      if (node.op != "Softmax") continue;
      const auto found = match(node);
      if (!found) continue;
      auto nodes = nodes_of(*found, node.name);
      if (nodes.empty()) continue;
      made_.insert(found->y);
      runs[found->y] = std::move(nodes);
    }
    if (!runs.empty()) put_in(std::move(runs));
  }

 private:
  const Shape& shape(ValueId value, bool other = false) const { return growth_.shape(value, other); }
  bool read_once(ValueId value) const { return view_.reads(value) == 1; }
  const Node* reader(ValueId value) const {
    const NodeId n = read_once(value) ? readers_[static_cast<size_t>(value)] : -1;
    return n < 0 ? nullptr : &growth_.graph.nodes[static_cast<size_t>(n)];
  }

  // x · number or x / number in x's shape: of which x.
  std::optional<ValueId> scaled(const Node& node, double& scale) const {
    if (node.op != "Mul" && node.op != "Div") return std::nullopt;
    for (size_t side = 0; side < 2; ++side) {
      const auto number = view_.scalar(node.inputs[1 - side]);
      if (!number || shape(node.inputs[side]) != shape(node.outputs[0])) continue;
      if (node.op == "Div" && (side == 1 || *number == 0)) continue;
      scale *= node.op == "Mul" ? *number : 1 / *number;
      return node.inputs[side];
    }
    return std::nullopt;
  }

  // Ways to read the operand, those from furthest back first. `lead` tells the dims that it must have before the last
  // two; a head that stands alone may serve all.
  std::vector<Operand> operands(ValueId value, bool keys_last, bool may_scale, const Shape& lead, bool other) const {
    std::vector<ValueId> chain{value};
    while (chain.size() < kLongestChain && !made_.contains(chain.back())) {
      const Node* node = view_.maker(chain.back());
      double unused = 1;
      const auto from = !node                ? std::nullopt
                        : is_layout(*node) ? std::optional(node->inputs[0])
                        : may_scale        ? scaled(*node, unused)
                                           : std::nullopt;
      if (!from) break;
      chain.push_back(*from);
    }
    std::vector<Operand> found;
    for (size_t root = chain.size(); root-- > 0;) {
      Operand operand{chain[root], {}, 1};
      auto map = std::optional(LayoutMap::identity(shape(operand.x, other)));
      for (size_t i = root; i-- > 0 && map;) {
        const Node& node = *view_.maker(chain[i]);
        if (is_layout(node)) {
          map = map_through(node, *map, shape(chain[i + 1], other), shape(chain[i], other), chain[i]);
        } else {
          scaled(node, operand.scale);
        }
      }
      if (!map || !fits_lead(*map, shape(value, other), lead)) continue;
      if (keys_last) std::swap(map->dims[map->dims.size() - 1], map->dims[map->dims.size() - 2]);
      for (OperandForm& form : operand_forms(shape(operand.x, other), *map)) {
        operand.form = std::move(form);
        found.push_back(operand);
      }
    }
    return found;
  }

  static bool fits_lead(LayoutMap& map, const Shape& own, const Shape& lead) {
    if (own.size() != lead.size() + 2) return false;
    for (size_t d = 0; d < lead.size(); ++d) {
      if (own[d] == lead[d]) continue;
      if (own[d] != 1 || d + 1 < lead.size() || lead.size() < 2) return false;
      map.dims[d] = {{lead[d], 0}};
    }
    return true;
  }

  // Those that hold at both batch sizes.
  std::vector<Operand> operands(ValueId value, bool keys_last, bool may_scale, ValueId scores) const {
    const auto lead = [&](bool other) {
      const Shape& whole = shape(scores, other);
      return Shape(whole.begin(), whole.end() - 2);
    };
    auto found = operands(value, keys_last, may_scale, lead(true), true);
    const auto also = operands(value, keys_last, may_scale, lead(false), false);
    std::erase_if(found, [&](const Operand& operand) { return !std::count(also.begin(), also.end(), operand); });
    return found;
  }

  // Shapes of scores that differ only in how batch and heads are told apart.
  bool same_scores(ValueId a, ValueId b, Scores& scores) const {
    for (const bool other : {false, true}) {
      const Shape &x = shape(a, other), &y = shape(b, other);
      if (x.size() < 3 || y.size() < 3) return false;
      const size_t common = x.size() == 3 || y.size() == 3 ? 2 : 3;
      if (!std::equal(x.end() - static_cast<int64_t>(common), x.end(), y.end() - static_cast<int64_t>(common))) return false;
    }
    for (ValueId value : {a, b}) {
      if (shape(value).size() == 3) continue;
      const int64_t heads = shape(value)[shape(value).size() - 3];
      if (scores.heads != 0 && scores.heads != heads) return false;
      scores.heads = heads;
    }
    return true;
  }

  // The mask must meet the scores [batch, heads, queries, keys] in its last dims, and one dim more at most.
  bool fits_scores(ValueId mask, ValueId scores) const {
    for (const bool other : {false, true}) {
      const Shape &m = shape(mask, other), &s = shape(scores, other);
      if (m.size() > s.size()) return false;
      const size_t most = s.size() == 3 ? 2 : 4;  // of three dims the first is batch and heads in one
      for (size_t d = 0; d + most < m.size(); ++d)
        if (m[d] != 1) return false;
    }
    return true;
  }

  bool walk_scores(ValueId value, Scores& scores, int depth) const {
    const Node* node = view_.maker(value);
    if (!node || depth == 0 || !read_once(value)) return false;
    if (node->op == "MatMul") {
      scores.product = node;
      return same_scores(value, scores.whole, scores);
    }
    double scale = 1;
    if (const auto from = scaled(*node, scale)) {
      scores.scale *= scale;
      return walk_scores(*from, scores, depth - 1);
    }
    if (keeps_order(*node)) return walk_scores(node->inputs[0], scores, depth - 1);
    for (const auto& [from, step] : mask_steps(*node)) {
      if (!same_scores(value, scores.whole, scores) || shape(from) != shape(value) || shape(from, true) != shape(value, true) || !fits_scores(step.mask, value)) continue;
      Scores deeper = scores;
      deeper.masks.insert(deeper.masks.begin(), step);
      // What is multiplied after the mask is no mere scale of the product.
      if (scores.scale == 1 && walk_scores(from, deeper, depth - 1)) {
        scores = deeper;
        return true;
      }
    }
    return false;
  }

  // A mask broadcasts anyway.
  ValueId unexpanded(ValueId mask) const {
    while (const Node* expand = view_.maker(mask, "Expand")) mask = expand->inputs[0];
    return mask;
  }

  // (scores before, what is done to them), as far as the node can be one.
  std::vector<std::pair<ValueId, MaskStep>> mask_steps(const Node& node) const {
    std::vector<std::pair<ValueId, MaskStep>> steps;
    const size_t rank = shape(node.outputs[0]).size();
    if (node.op == "Add")
      for (size_t side = 0; side < 2; ++side)
        steps.push_back({node.inputs[side], {kAddMask, 0, unexpanded(node.inputs[1 - side]), rank}});
    if (node.op != "Where") return steps;
    if (const auto fill = view_.scalar(node.inputs[1]))
      steps.push_back({node.inputs[2], {kFillWhere, *fill, unexpanded(node.inputs[0]), rank}});
    if (const auto fill = view_.scalar(node.inputs[2]))
      steps.push_back({node.inputs[1], {kFillWhereNot, *fill, unexpanded(node.inputs[0]), rank}});
    return steps;
  }

  // One mask that hides the keys behind each query, and nothing else.
  bool is_causal(const Scores& scores) const {
    if (scores.masks.size() != 1) return false;
    const MaskStep& step = scores.masks[0];
    const Node* constant = view_.maker(step.mask, "Constant");
    const Shape& size = shape(step.mask);
    if (!constant || !constant->has_param("value") || size.size() < 2) return false;
    const int64_t tokens = size.back();
    if (tokens < 2 || element_count(size) != tokens * tokens || size[size.size() - 2] != tokens) return false;
    if (step.kind != kAddMask && !hides(step.fill)) return false;
    const auto key = std::pair(step.kind, constant->params.at("value"));
    if (const auto known = causal_.find(key); known != causal_.end()) return known->second;
    return causal_[key] = is_triangle(growth_.graph.parameter(key.second).load().to_floats(), tokens, step.kind);
  }

  static bool hides(double number) { return number <= std::numeric_limits<float>::lowest(); }

  static bool is_triangle(const std::vector<float>& values, int64_t tokens, int64_t kind) {
    for (int64_t i = 0; i < tokens; ++i)
      for (int64_t j = 0; j < tokens; ++j) {
        const float value = values[static_cast<size_t>(i * tokens + j)];
        const bool hidden = kind == kAddMask ? hides(value) : (value != 0) == (kind == kFillWhere);
        if (hidden != (j > i) || (kind == kAddMask && !hidden && value != 0)) return false;
      }
    return true;
  }

  struct End {
    ValueId y;
    bool turned;
    bool operator==(const End&) const = default;
  };

  // Where the heads of the second product lie side by side again: [batch, tokens, heads · size], perhaps turned.
  std::vector<End> ends(ValueId product, int64_t heads, bool other) const {
    const Shape& from = shape(product, other);
    const int64_t size = from.back(), tokens = from[from.size() - 2];
    const LayoutFactor all{element_count(from) / (heads * tokens * size), heads * tokens * size}, token{tokens, size},
        head{heads, tokens * size}, channel{size, 1};
    const LayoutFactors straight = joined({all, token, head, channel}), turned = joined({token, all, head, channel});
    std::vector<End> found;
    LayoutMap map = LayoutMap::identity(from);
    ValueId value = product;
    for (size_t i = 0; i < kLongestChain; ++i) {
      const Node* node = reader(value);
      if (!node || !is_rearrangement(*node)) break;
      const auto next = map_through(*node, map, shape(value, other), shape(node->outputs[0], other), node->outputs[0]);
      if (!next) break;
      map = *next;
      value = node->outputs[0];
      if (map.flat() == straight) found.push_back({value, false});
      if (map.flat() == turned) found.push_back({value, true});
    }
    return found;
  }

  std::optional<End> end_of(ValueId product, int64_t heads) const {
    auto found = ends(product, heads, true);
    const auto also = ends(product, heads, false);
    std::erase_if(found, [&](const End& end) { return !std::count(also.begin(), also.end(), end); });
    const int64_t width = heads * shape(product).back();
    std::optional<End> best;
    for (const End& end : found)
      if (!best || shape(best->y).back() != width) best = end;
    return best;
  }

  // The product of what the softmax gives with the values.
  const Node* mixing_of(ValueId weights, Scores& scores) const {
    const Node* node = reader(weights);
    for (size_t i = 0; i < kLongestChain && node && keeps_order(*node); ++i) node = reader(node->outputs[0]);
    if (!node || node->op != "MatMul" || node->inputs[0] == node->inputs[1]) return nullptr;
    const ValueId mixed = node->inputs[0];
    ValueId from = mixed;
    while (from != weights) {
      const Node* before = view_.maker(from);
      if (!before || !keeps_order(*before)) return nullptr;  // the weights are the other operand
      from = before->inputs[0];
    }
    const bool fits = same_scores(mixed, scores.whole, scores) && shape(node->outputs[0]).size() == shape(mixed).size();
    return fits ? node : nullptr;
  }

  std::optional<Attended> match(const Node& softmax) const {
    const ValueId scores = softmax.inputs[0], weights = softmax.outputs[0];
    const int64_t rank = std::ssize(shape(scores)), axis = softmax.integer_or("axis", -1);
    if (rank < 3 || (axis != -1 && axis != rank - 1) || element_count(shape(scores)) == 0) return std::nullopt;
    Attended found;
    found.scores.whole = scores;
    if (!walk_scores(scores, found.scores, kLongestChain)) return std::nullopt;
    const Node& product = *found.scores.product;
    const ValueId first = product.outputs[0];
    const Node* mixing = mixing_of(weights, found.scores);
    if (!mixing) return std::nullopt;
    const auto queries = operands(product.inputs[0], false, true, first);
    const auto keys = operands(product.inputs[1], true, true, first);
    const auto values = operands(mixing->inputs[1], false, false, mixing->inputs[0]);
    for (const Operand& q : queries)
      for (const Operand& k : keys)
        for (const Operand& v : values)
          if (fit_together(q, k, v, found.scores)) {
            found.q = q, found.k = k, found.v = v;
            const auto end = end_of(mixing->outputs[0], q.form.heads);
            if (!end) return std::nullopt;
            found.y = end->y, found.turned = end->turned;
            found.causal = is_causal(found.scores);
            return found;
          }
    return std::nullopt;
  }

  static bool fit_together(const Operand& q, const Operand& k, const Operand& v, const Scores& scores) {
    const auto &a = q.form, &b = k.form, &c = v.form;
    // One head alone is better left to its parts, whose channels can go one by one.
    return a.heads > 1 && a.repeats == 1 && a.head_size == b.head_size && b.head_size == c.head_size && b.heads == c.heads &&
           b.repeats == c.repeats && b.heads * b.repeats == a.heads && b.tokens == c.tokens &&
           (scores.heads == 0 || scores.heads == a.heads);
  }

  // The nodes that make y.
  std::vector<Node> nodes_of(const Attended& found, const std::string& softmax) {
    NodeRun run(growth_);
    const size_t slash = softmax.rfind('/');
    const std::string at = slash == std::string::npos ? softmax + "/" : softmax.substr(0, slash + 1);
    Node node{"Attention", "", {}, {}, {}, {}};
    if (!add_operands(run, found, at, node.inputs)) return {};
    node.attributes = {{"head_size", found.q.form.head_size},
                       {"scale", found.scores.scale * found.q.scale * found.k.scale},
                       {"causal", found.causal}};
    if (!found.causal && !add_masks(run, found, at, node)) return {};
    if (!run.add(std::move(node), at + "Attention")) return {};
    if (found.turned && !run.add({"Transpose", "", {run.last()}, {}, {}, {{"perm", std::vector<int64_t>{1, 0, 2}}}}, at + "turned"))
      return {};
    if (!run.finish(found.y)) {
      const auto sizes = sizes_of(found.y, 0);
      if (!sizes || !run.add({"Reshape", "", {run.last()}, {}, {}, {{"shape", *sizes}}}, at + "joined") ||
          !run.finish(found.y))
        return {};
    }
    return run.take();
  }

  // The value's dims from `first` on as a Reshape has them: −1 for the one that the batch changes.
  std::optional<std::vector<int64_t>> sizes_of(ValueId value, size_t first) const {
    std::vector<int64_t> sizes;
    for (size_t d = first; d < shape(value).size(); ++d)
      sizes.push_back(growth_.same_sizes(value, d) ? shape(value)[d] : -1);
    return std::count(sizes.begin(), sizes.end(), -1) <= 1 ? std::optional(sizes) : std::nullopt;
  }

  bool add_operands(NodeRun& run, const Attended& found, const std::string& at, std::vector<ValueId>& inputs) {
    const Operand* all[] = {&found.q, &found.k, &found.v};
    const char* names[] = {"queries", "keys", "values"};
    if (is_packed(found)) {
      if (!add_rows(run, found.q, at + "packed")) return false;
      const ValueId whole = run_or_x_;
      std::vector<size_t> order{0, 1, 2};
      std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return all[a]->form.first < all[b]->form.first; });
      std::vector<int64_t> sizes;
      for (size_t i : order) sizes.push_back(all[i]->form.width());
      if (!run.add({"Split", "", {whole}, {}, {}, {{"axis", int64_t{-1}}, {"sizes", sizes}}}, at + "parts", 3)) return false;
      inputs.assign(3, -1);
      for (size_t i = 0; i < 3; ++i) inputs[order[i]] = run.last(i);
      return true;
    }
    for (size_t i = 0; i < 3; ++i) {
      if (!add_rows(run, *all[i], at + names[i]) || !add_channels(run, *all[i], at + names[i])) return false;
      inputs.push_back(run_or_x_);
    }
    return true;
  }

  // Whether q, k and v are all the channels of one value, each in one run.
  bool is_packed(const Attended& found) const {
    const OperandForm &q = found.q.form, &k = found.k.form, &v = found.v.form;
    if (found.q.x != found.k.x || found.q.x != found.v.x || q.kind == OperandForm::Kind::kHeads) return false;
    if (q.kind != k.kind || q.kind != v.kind || q.merges != k.merges || q.merges != v.merges) return false;
    if (!q.is_one_run() || !k.is_one_run() || !v.is_one_run() || q.tokens != k.tokens) return false;
    std::vector<std::pair<int64_t, int64_t>> parts{{q.first, q.width()}, {k.first, k.width()}, {v.first, v.width()}};
    std::sort(parts.begin(), parts.end());
    int64_t next = 0;
    for (const auto& [first, width] : parts) {
      if (first != next) return false;
      next += width;
    }
    return next == row_width(found.q);
  }

  int64_t row_width(const Operand& operand) const {
    const Shape& x = shape(operand.x);
    return operand.form.merges ? x[x.size() - 1] * x[x.size() - 2] : x.back();
  }

  // [batch, tokens, channels] of x, all of its channels; the value is run_or_x_ then.
  bool add_rows(NodeRun& run, const Operand& operand, const std::string& hint) {
    const OperandForm& form = operand.form;
    ValueId value = operand.x;
    const auto add = [&](const char* op, const char* key, std::vector<int64_t> list) {
      if (!run.add({op, "", {value}, {}, {}, {{key, std::move(list)}}}, hint)) return false;
      value = run.last();
      return true;
    };
    if (form.kind == OperandForm::Kind::kHeads) {
      if (form.perm != std::vector<int64_t>{0, 1, 2, 3} && !add("Transpose", "perm", form.perm)) return false;
      if (!add("Reshape", "shape", {0, 0, -1})) return false;
      run_or_x_ = value;
      return true;
    }
    const bool turned = form.kind == OperandForm::Kind::kTurnedRows;
    if (form.merges) {
      std::vector<int64_t> sizes(shape(value).size() - 2, 0);
      sizes.push_back(-1);
      if (!add("Reshape", "shape", sizes)) return false;
    }
    const auto has_rows = [&](bool other) {
      const Shape& x = shape(value, other);
      return x.size() == 3 && x[turned ? 0 : 1] == form.tokens;
    };
    if (!has_rows(false) || !has_rows(true)) {
      const int64_t width = shape(value).back();
      if (!add("Reshape", "shape", turned ? std::vector<int64_t>{form.tokens, -1, width} : std::vector<int64_t>{-1, form.tokens, width}))
        return false;
    }
    if (turned && !add("Transpose", "perm", {1, 0, 2})) return false;
    run_or_x_ = value;
    return true;
  }

  // Of these rows the operand's channels.
  bool add_channels(NodeRun& run, const Operand& operand, const std::string& hint) {
    const OperandForm& form = operand.form;
    if (form.kind == OperandForm::Kind::kHeads) return true;
    const bool one_run = form.is_one_run();
    if (one_run && form.width() == row_width(operand)) return true;
    Node node{"Slice", "", {run_or_x_}, {}, {}, {}};
    if (one_run) {
      node.attributes = {{"axes", std::vector<int64_t>{2}},
                         {"starts", std::vector<int64_t>{form.first}},
                         {"ends", std::vector<int64_t>{form.first + form.width()}}};
    } else {
      node.op = "Gather";
      node.attributes = {{"axis", int64_t{2}}, {"indices", form.channels()}};
    }
    if (!run.add(std::move(node), hint)) return false;
    run_or_x_ = run.last();
    return true;
  }

  bool add_masks(NodeRun& run, const Attended& found, const std::string& at, Node& node) {
    if (found.scores.masks.empty()) return true;
    std::vector<int64_t> kinds;
    std::vector<double> fills;
    for (const MaskStep& step : found.scores.masks) {
      ValueId mask = step.mask;
      const size_t rank = shape(mask).size(), most = step.rank == 3 ? 2 : 4;
      if (rank > most) {
        const auto sizes = sizes_of(mask, rank - most);
        if (!sizes || !run.add({"Reshape", "", {mask}, {}, {}, {{"shape", *sizes}}}, at + "mask")) return false;
        mask = run.last();
      }
      node.inputs.push_back(mask);
      kinds.push_back(step.kind);
      fills.push_back(step.fill);
    }
    node.attributes["masks"] = kinds;
    node.attributes["fills"] = fills;
    return true;
  }

  // Each run of nodes in the place of the one that made its value.
  void put_in(std::map<ValueId, std::vector<Node>> runs) {
    std::vector<Node> nodes;
    for (Node& node : growth_.graph.nodes) {
      const auto run = node.outputs.size() == 1 ? runs.find(node.outputs[0]) : runs.end();
      if (run == runs.end()) {
        nodes.push_back(std::move(node));
      } else {
        std::move(run->second.begin(), run->second.end(), std::back_inserter(nodes));
      }
    }
    growth_.graph.nodes = std::move(nodes);
  }

  GraphGrowth& growth_;
  PatternView view_;
  std::vector<NodeId> readers_;  // the last one of each value
  mutable std::map<std::pair<int64_t, std::string>, bool> causal_;  // whether a constant is a mask like that
  std::set<ValueId> made_;       // by attentions that were found
  ValueId run_or_x_ = -1;        // what the last step made, or what it found good as it was
};

}  // namespace

void fuse_attention(GraphGrowth& growth) { AttentionFusion(growth).run(); }

}  // namespace espalier
