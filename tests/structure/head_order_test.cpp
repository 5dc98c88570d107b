#include "espalier/structure/head_order.h"

#include <algorithm>
#include <numeric>

#include "espalier/core/file.h"
#include "espalier/engine/decoder.h"
#include "espalier/families/output.h"
#include "tests/families/tiny_models.h"
#include "tests/support.h"

namespace espalier {
namespace {

constexpr int64_t kTokens = 30;

std::vector<float> logits_of(Model model, const AttentionRequest& request = {}) {
  Decoder decoder(std::move(model), {});
  const auto sequence = decoder.start(request);
  std::vector<int32_t> ids;
  for (int32_t t = 0; t < kTokens; ++t) ids.push_back(t * 11 % 31);
  std::vector<float> logits(static_cast<size_t>(kTokens * decoder.vocab_size()));
  for (int64_t t = 0; t < kTokens; ++t) {
    const ForwardWork work{sequence.get(), {&ids[static_cast<size_t>(t)], 1}, logits.data() + t * decoder.vocab_size(), true};
    decoder.forward({&work, 1});
  }
  return logits;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
  return worst;
}

// Heads of each layer from the last to the first, the last but one first in the second layer.
void reorder_all(Model& model) {
  const Coupling coupling = find_coupling(model.graph);
  int count = 0;
  for (const CouplingGroup& group : coupling.groups) {
    if (group.kind != GroupKind::kHeads) continue;
    std::vector<int64_t> order(static_cast<size_t>(group.set_count));
    std::iota(order.rbegin(), order.rend(), int64_t{0});
    if (++count == 2) std::swap(order[0], order[1]);
    reorder_heads(model.graph, group, order);
  }
  ASSERT_GT(count, 1);
}

TEST(HeadOrder, TheModelComputesTheSame) {
  for (const char* type : {"llama", "qwen2", "qwen3", "gpt2", "opt", "phi"}) {
    const test::TempDir dir;
    test::TinyOptions options;
    options.hidden = 64, options.heads = 8, options.kv_heads = 4;
    if (type == std::string("gpt2") || type == std::string("opt")) options.kv_heads = 8;
    Model model = test::load_tiny(dir / "model", type, options);
    const auto before = logits_of(load_model(dir / "model"));
    reorder_all(model);
    std::filesystem::create_directory(dir / "reordered");
    write_model(model, dir / "reordered");
    EXPECT_LT(difference(logits_of(load_model(dir / "reordered")), before), 1e-4) << type;
    EXPECT_NE(read_file(dir / "model" / "model.safetensors", 1 << 24), read_file(dir / "reordered" / "model.safetensors", 1 << 24)) << type;
  }
}

// Gates go with their heads.
TEST(HeadOrder, StreamingHeadsStream) {
  const test::TempDir dir;
  test::TinyOptions options;
  options.hidden = 64, options.heads = 8, options.kv_heads = 4, options.layers = 2;
  Model model = test::load_tiny(dir / "model", "llama", options);
  const auto request = [&](const char* gates) {
    write_file_atomically(dir / "gates.json", gates);
    AttentionRequest r;
    r.policy = "19-duoattention", r.options = {{"gates", (dir / "gates.json").string()}, {"sink", "1"}, {"recent", "3"}, {"chunk", "4"}};
    return r;
  };
  const auto before = logits_of(load_model(dir / "model"), request(R"({"gates": [[0.9, 0.1, 0.8, 0.2], [0.3, 0.7, 0.1, 0.6]]})"));
  reorder_all(model);
  const auto moved = request(R"({"gates": [[0.2, 0.8, 0.1, 0.9], [0.1, 0.6, 0.7, 0.3]]})");
  EXPECT_LT(difference(logits_of(std::move(model), moved), before), 1e-4);
  EXPECT_GT(difference(logits_of(load_model(dir / "model"), moved), before), 1e-2) << "the gates of other heads";
}

}  // namespace
}  // namespace espalier
