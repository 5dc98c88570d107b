// Pruned models on the engine against the interpreter: other widths in every block, blocks without attention or FFN,
// zeros in every pattern.
#include <gtest/gtest.h>

#include "espalier/engine/decoder.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/torch.h"
#include "espalier/structure/coupling.h"
#include "espalier/structure/mask.h"
#include "tests/families/reference_cases.h"
#include "tests/support.h"

namespace espalier {
namespace {

at::Tensor interpreted(const Graph& graph, const std::vector<int64_t>& ids) {
  at::NoGradGuard no_gradients;
  Weights weights(graph);
  return Interpreter(graph, weights).forward(at::tensor(ids).unsqueeze(0))[0];
}

at::Tensor run(Model model, const std::vector<int64_t>& ids, size_t piece,
               const DecoderOptions& options = {.threads = 2}) {
  Decoder decoder(std::move(model), options);
  const auto sequence = decoder.start();
  const std::vector<int32_t> tokens(ids.begin(), ids.end());
  at::Tensor logits = at::empty({static_cast<int64_t>(ids.size()), decoder.vocab_size()});
  for (size_t at = 0; at < tokens.size(); at += piece) {
    const ForwardWork work{sequence.get(), std::span(tokens).subspan(at, std::min(piece, tokens.size() - at)),
                           logits.data_ptr<float>() + static_cast<int64_t>(at) * decoder.vocab_size(), true};
    decoder.forward({&work, 1});
  }
  return logits;
}

Model with_graph(const std::filesystem::path& path, Graph graph) {
  Model model = load_model(path);
  model.graph = std::move(graph);
  return model;
}

// Every second group loses a third of its sets; block 1 loses its attention, block 2 its FFN.
Graph shrunk(const Model& model) {
  Mask mask = Mask::for_model(model.graph);
  size_t index = 0;
  const Coupling coupling = find_coupling(model.graph, mask.coupling_options());
  for (const CouplingGroup& group : coupling.groups) {
    const bool goes_whole = (group.kind == GroupKind::kHeads && group.block == 1) || (group.kind == GroupKind::kNeurons && group.block == 2);
    if (index++ % 2 != 0 || group.set_count < 3 || goes_whole) continue;
    std::vector<uint8_t> keep(static_cast<size_t>(group.set_count), 1);
    for (size_t i = 0; i < keep.size() / 3; ++i) keep[3 * i + 1] = 0;
    mask.remove_units(group, keep);
  }
  mask.branches = {{1, SubLayer::Kind::kAttention}, {2, SubLayer::Kind::kFfn}};
  Graph graph = model.graph.clone();
  shrink(graph, mask, model.family->block_prefix(graph));
  return graph;
}

TEST(DecoderAgainstInterpreter, ModelsWithOtherWidthsInEveryBlock) {
  const test::TempDir dir;
  for (const auto& reference : test::reference_cases()) {
    SCOPED_TRACE(reference.name);
    test::write_tiny(dir / reference.name, reference.model);
    const Model model = load_model(dir / reference.name);
    if (model.graph.block_count < 3) continue;
    const Graph graph = shrunk(model);
    EXPECT_LT(graph.parameter_count(), model.graph.parameter_count());
    const at::Tensor expected = interpreted(graph, reference.ids);
    for (size_t piece : {size_t{64}, size_t{1}})
      EXPECT_LT((run(with_graph(model.path, graph.clone()), reference.ids, piece) - expected).abs().max().item<float>(),
                1e-4);
  }
}

void zero_some(Graph& graph, const std::string& pattern) {
  for (const auto& parameter : graph.parameters()) {
    if (parameter->shape().size() != 2 || parameter->name().find("embed") != std::string::npos) continue;
    auto values = parameter->load().to_floats();
    const int64_t columns = parameter->shape()[1];
    for (size_t i = 0; i < values.size(); ++i) {
      const auto column = static_cast<int64_t>(i) % columns, row = static_cast<int64_t>(i) / columns;
      const bool gone = pattern == "2:4"     ? column % 4 < 2
                        : pattern == "block" ? (row + column / 16) % 3 != 0
                                             : (row * 7 + column * 13) % 10 < 6;
      if (gone) values[i] = 0;
    }
    graph.parameter(parameter->name()).assign(Tensor::from_floats(parameter->shape(), values));
  }
}

TEST(DecoderAgainstInterpreter, ZerosInEveryPatternAreUsed) {
  const test::TempDir dir;
  test::TinyOptions options;
  options.hidden = 128, options.heads = 4, options.head_size = 32, options.ffn = 256;
  test::write_tiny(dir / "llama", test::tiny_llama(options));
  const std::vector<int64_t> ids = {1, 5, 7, 2, 30, 11, 4, 9, 9, 3};
  for (const char* pattern : {"2:4", "block", "bitmap"})
    for (Precision precision : {Precision::kF32, Precision::kBF16, Precision::kI8}) {
      // int8 gains nothing from single zeros, so only empty blocks are left out of it.
      if (precision == Precision::kI8 && std::string(pattern) != "block") continue;
      Model model = load_model(dir / "llama");
      zero_some(model.graph, pattern);
      SCOPED_TRACE(std::string(pattern) + " " + to_string(WeightForm{precision}));
      Decoder dense(with_graph(model.path, model.graph.clone()),
                    {.threads = 1, .precision = precision, .sparse = false});
      Decoder sparse(with_graph(model.path, model.graph.clone()), {.threads = 1, .precision = precision});
      int64_t used = 0;
      for (const auto& use : sparse.matrices()) used += use.form.layout != Layout::kDense;
      EXPECT_GE(used, 20);  // seven a block
      EXPECT_LT(sparse.weight_bytes(), dense.weight_bytes());
      const DecoderOptions plain{.threads = 1, .precision = precision, .sparse = false},
          used_zeros{.threads = 1, .precision = precision};
      for (size_t piece : {size_t{1}, size_t{64}}) {
        if (precision == Precision::kI8 && piece > 1) continue;  // a dense int8 prefill rounds activations, a sparse one does not
        const at::Tensor expected = run(with_graph(model.path, model.graph.clone()), ids, piece, plain);
        const float scale = expected.abs().max().item<float>();
        EXPECT_LT((run(with_graph(model.path, model.graph.clone()), ids, piece, used_zeros) - expected)
                      .abs()
                      .max()
                      .item<float>(),
                  1e-4 * scale + 1e-5);
      }
    }
}

}  // namespace
}  // namespace espalier
