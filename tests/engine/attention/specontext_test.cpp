// SpeContext against its definition: which tokens a step sees, what moves, and what memory says.
#include "tests/engine/attention/fixed_retrieval.h"

#include <gtest/gtest.h>

#include <set>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/engine/decoder.h"
#include "tests/engine/attention/recorder.h"
#include "tests/support.h"

namespace espalier {
namespace {

// A text whose retrieval head is random, and the sets of its steps by the paper's rule in double precision.
struct Text {
  Oracle oracle;
  Text(int64_t heads, int64_t kv_heads, int64_t size, int64_t tokens, SpeContextOptions options) : oracle(heads, kv_heads, size, tokens) {
    fixed_specontext = {};
    fixed_specontext.options = std::move(options);
    Rng rng(7, "retrieval");
    auto& text = fixed_specontext.text;
    text.q.resize(oracle.q.size()), text.k.resize(oracle.k.size());
    for (auto* list : {&text.q, &text.k})
      for (float& x : *list) x = static_cast<float>(rng.normal());
  }

  std::vector<double> weights(int64_t head, int64_t i) const {
    const auto& text = fixed_specontext.text;
    const int64_t size = oracle.layer.head_size, g = head / (oracle.layer.heads / oracle.layer.kv_heads);
    std::vector<double> w;
    double sum = 0;
    for (int64_t j = 0; j < i; ++j) {
      double s = 0;
      for (int64_t c = 0; c < size; ++c)
        s += static_cast<double>(text.q[static_cast<size_t>((i * oracle.layer.heads + head) * size + c)]) *
             static_cast<double>(text.k[static_cast<size_t>((j * oracle.layer.kv_heads + g) * size + c)]);
      w.push_back(std::exp(s));
      sum += w.back();
    }
    for (double& x : w) x /= sum;
    return w;
  }

  std::set<int64_t> seen(int64_t g, int64_t i, int64_t budget, bool one_set = false) const {
    const int64_t group = oracle.layer.heads / oracle.layer.kv_heads;
    std::vector<std::pair<double, int64_t>> order;
    for (int64_t j = 0; j < i; ++j) order.push_back({0, j});
    for (int64_t h = one_set ? 0 : g * group; h < (one_set ? oracle.layer.heads : (g + 1) * group); ++h) {
      const auto w = weights(h, i);
      for (int64_t j = 0; j < i; ++j) order[static_cast<size_t>(j)].first = std::min(order[static_cast<size_t>(j)].first, -w[static_cast<size_t>(j)]);
    }
    std::sort(order.begin(), order.end());
    std::set<int64_t> ids;
    for (int64_t n = 0; n < std::min(budget, i); ++n) ids.insert(order[static_cast<size_t>(n)].second);
    return ids;
  }

  std::vector<double> expected(int64_t prompt, int64_t budget, bool one_set = false) const {
    std::map<std::pair<int64_t, int64_t>, std::set<int64_t>> sets;
    return oracle.attend([&](int64_t g, int64_t i, int64_t j) {
      if (i < prompt || j == i) return true;
      auto [at, fresh] = sets.try_emplace({g, i});
      if (fresh) at->second = seen(g, i, budget, one_set);
      return at->second.count(j) > 0;
    });
  }
};

SpeContextOptions with_budget(int64_t budget, int64_t slow = 0) {
  SpeContextOptions options;
  options.budget = budget, options.slow = slow;
  return options;
}

// The forwards' tokens: their ids do not matter to a fixed head.
Run decode(const Oracle& oracle, std::vector<int64_t> sizes, int threads = 1, int layers = 1, KvCodec codec = KvCodec::kF32) {
  return run_sequence(oracle, ask("test-specontext", {}, codec), sizes, threads, layers);
}

TEST(SpeContext, StepsSeeTheTokensOfTheirSets) {
  for (const auto& [heads, kv_heads, size] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{{3, 3, 16}, {4, 2, 20}, {40, 1, 8}}) {
    for (const bool one_set : {false, true}) {
      SpeContextOptions options = with_budget(20);
      options.one_set = one_set;
      const Text text(heads, kv_heads, size, 100, options);
      const auto expected = text.expected(80, 20, one_set);
      for (const int threads : {1, 2}) EXPECT_LT(worst(decode(text.oracle, {80, 1}, threads).out, expected), 1e-5);
      // Steps that come together, as a text that is judged does.
      fixed_specontext.options.prompt = 80;
      for (const auto& sizes : std::vector<std::vector<int64_t>>{{100}, {64}, {80, 1}}) EXPECT_LT(worst(decode(text.oracle, sizes, 2).out, expected), 1e-5);
    }
  }
}

TEST(SpeContext, KeepingEverythingIsDense) {
  for (const KvCodec codec : {KvCodec::kF32, KvCodec::kBF16, KvCodec::kI8}) {
    const Text text(4, 2, 16, 90, with_budget(90));
    const double limit = codec == KvCodec::kF32 ? 1e-4 : 2e-2;
    EXPECT_LT(worst(decode(text.oracle, {50, 1}, 1, 1, codec).out, run_sequence(text.oracle, ask("dense", {}, codec), {50, 1}).out), limit);
    fixed_specontext.options = with_budget(10);
    fixed_specontext.options.confidence = 1;
    EXPECT_LT(worst(decode(text.oracle, {50, 1}, 1, 1, codec).out, run_sequence(text.oracle, ask("dense", {}, codec), {50, 1}).out), limit)
        << "no set has all of the weight";
  }
}

TEST(SpeContext, SlowLayersGiveTheSame) {
  for (const KvCodec codec : {KvCodec::kF32, KvCodec::kBF16, KvCodec::kI8})
    for (const int64_t budget : {20, 150}) {
      const Text text(4, 2, 16, 200, with_budget(budget));
      const auto fast = decode(text.oracle, {100, 60, 1}, 1, 3, codec).out;
      for (const int64_t slow : {1, 3}) {
        fixed_specontext.options.slow = slow;
        for (const int threads : {1, 2}) EXPECT_EQ(decode(text.oracle, {100, 60, 1}, threads, 3, codec).out, fast);
      }
    }
}

TEST(SpeContext, AFileAsSlowMemoryChangesNothing) {
  const test::TempDir dir;
  for (const KvCodec codec : {KvCodec::kF32, KvCodec::kI8}) {
    const Text text(4, 2, 16, 600, with_budget(40, 2));
    const auto memory = decode(text.oracle, {300, 1}, 2, 3, codec);
    fixed_specontext.options.slow_directory = dir.path().string();
    const auto file = decode(text.oracle, {300, 1}, 2, 3, codec);
    EXPECT_EQ(file.out, memory.out);
    EXPECT_EQ(file.sequence->policy().report(), memory.sequence->policy().report());
    EXPECT_EQ(file.sequence->counters().slow_bytes, memory.sequence->counters().slow_bytes);
    const PagedKvCache &a = memory.sequence->cache(), &b = file.sequence->cache();
    EXPECT_GT(b.bytes(Tier::kSlow), 0u);
    EXPECT_EQ(b.bytes(Tier::kSlow), a.bytes(Tier::kSlow));
    EXPECT_EQ(b.moved_bytes(Tier::kSlow), a.moved_bytes(Tier::kSlow));
    EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  }
}

TEST(SpeContext, MovesTheDifferencesAlone) {
  const int64_t budget = 24;
  const Text text(4, 2, 16, 260, with_budget(budget, 2));
  const auto run = decode(text.oracle, {200, 1}, 2, 3);
  uint64_t loads = 0;
  std::set<int64_t> last[2];
  for (int64_t i = 200; i < 260; ++i)
    for (int64_t g : {0, 1}) {
      const auto now = text.seen(g, i, budget);
      loads += static_cast<uint64_t>(std::count_if(now.begin(), now.end(), [&](int64_t j) { return last[g].count(j) == 0; }));
      last[g] = now;
    }
  const Json report = run.sequence->policy().report();
  const uint64_t row = make_layout(KvCodec::kF32, 64, 16, 0, {}, true).row_bytes;
  EXPECT_EQ(report.at("steps"), 60);
  EXPECT_EQ(report.at("loaded"), loads);
  EXPECT_EQ(report.at("copied_bytes"), 2 * row * loads) << "in each of two slow layers";
  EXPECT_EQ(report.at("reload_bytes"), 2 * row * 60 * 2 * static_cast<uint64_t>(budget));
  EXPECT_LT(report.at("copied_bytes").get<uint64_t>(), report.at("reload_bytes").get<uint64_t>());
  EXPECT_EQ(run.sequence->counters().slow_bytes % (row * 2), 0u);
}

TEST(SpeContext, WhatIsMovedToSlowMemoryIsReturned) {
  const int64_t tokens = 4130;
  const Text text(4, 2, 16, tokens, with_budget(64));
  const auto fast = decode(text.oracle, {256, 256, 256, 256, 1024, 2048, 1}, 2, 4);
  fixed_specontext.options.slow = 3;
  const auto slow = decode(text.oracle, {256, 256, 256, 256, 1024, 2048, 1}, 2, 4);
  const PagedKvCache &all = fast.sequence->cache(), &some = slow.sequence->cache();
  EXPECT_EQ(all.bytes(Tier::kSlow), 0u);
  // Open pages, and copies of 64 tokens.
  EXPECT_LT(some.bytes(Tier::kFast), all.bytes(Tier::kFast) * 45 / 100);
  EXPECT_GT(some.bytes(Tier::kSlow), all.bytes(Tier::kFast) * 60 / 100);
  EXPECT_LT(some.mapped_bytes(Tier::kFast), all.mapped_bytes(Tier::kFast) * 60 / 100) << "the system has it back";
}

TEST(SpeContext, LayersLeaveAsTheTextGrows) {
  SpeContextOptions options = with_budget(16);
  options.thresholds = {100, 150, 1000};
  const Text text(4, 2, 16, 300, options);
  const auto layers_slow = [&](int64_t tokens) {
    Oracle part(4, 2, 16, tokens);
    return decode(part, {90, 1}, 1, 2).sequence->policy().report().at("slow_layers").get<int64_t>();
  };
  EXPECT_EQ(layers_slow(100), 0);
  EXPECT_EQ(layers_slow(101), 1) << "a step with 100 tokens before it is at the threshold";
  EXPECT_EQ(layers_slow(151), 2);
  EXPECT_EQ(layers_slow(300), 2);
}

TEST(SpeContext, CountsWhatItReads) {
  const Text text(4, 2, 16, 120, with_budget(30));
  const auto run = decode(text.oracle, {119, 1}, 1, 2);
  EXPECT_EQ(run.sequence->counters().keys_scored, 2u * 119) << "each KV head's keys, once for all layers";
  EXPECT_EQ(run.sequence->counters().keys_attended, 2u * 4 * (119 * 120 / 2 + 31));
}

TEST(MemoryPlan, FollowsItsEquation) {
  MemoryModel m;
  m.layers = 4, m.kv_heads = 2, m.groups = 2, m.head_token_bytes = 64, m.requests = 2, m.budget = 50;
  m.model_bytes = 1000, m.retrieval_bytes = 10, m.memory_bytes = 1000000;
  const auto thresholds = offload_thresholds(m);
  ASSERT_EQ(thresholds.size(), 5u);
  for (int64_t i = 0; i <= 4; ++i) {
    EXPECT_LE(memory_needed(m, thresholds[static_cast<size_t>(i)], i), m.memory_bytes);
    EXPECT_GT(memory_needed(m, thresholds[static_cast<size_t>(i)] + 1, i), m.memory_bytes);
  }
  EXPECT_EQ(layers_offloaded(thresholds, thresholds[0] - 1), 0);
  EXPECT_EQ(layers_offloaded(thresholds, thresholds[0]), 1) << "equality already moves a layer";
  EXPECT_EQ(layers_offloaded(thresholds, INT64_MAX), 4);
  EXPECT_EQ(layers_offloaded(thresholds, 1, 3), 3) << "none comes back";
  m.memory_bytes = 1313;
  ESP_EXPECT_USER_ERROR(offload_thresholds(m), "the model does not fit: expected more than 1.3 × 1010 bytes of weights, found 1313 bytes");
}

TEST(ElasticSlots, GrowAndKeepTheirPlaces) {
  ElasticSlots slots(3, 10);
  SlotChange change;
  for (const std::vector<int32_t>& now : std::vector<std::vector<int32_t>>{{0}, {0, 1}, {0, 1, 2}}) {
    slots.update(now, change);
    EXPECT_EQ(change.load, std::vector<int32_t>{now.back()});
    EXPECT_TRUE(change.evict.empty());
  }
  slots.update(std::vector<int32_t>{1, 5, 7}, change);
  EXPECT_EQ(change.evict, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(change.load_slots, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(std::vector<int32_t>(slots.tokens().begin(), slots.tokens().end()), (std::vector<int32_t>{5, 1, 7}));
  EXPECT_EQ(slots.slots()[7], 2);
  EXPECT_EQ(slots.slots()[0], -1);
}

// Writes down what the model's first layer gives to attention.
struct FirstLayer {
  std::vector<float> q, k;
  AttentionLayer layer;
};
FirstLayer first_layer;

class Listener : public AttentionPolicy {
 public:
  explicit Listener(const PolicyContext& c) {
    needs_.on_append = true;
    first_layer = {{}, {}, c.layers[0]};
  }
  const PolicyNeeds& needs() const override { return needs_; }
  void on_append(PagedKvCache&, const AppendedTokens& added) override {
    if (added.layer != 0) return;
    for (int64_t t = 0; t < added.tokens; ++t) {
      const AttentionLayer& l = first_layer.layer;
      const float *q = added.input->q + t * added.input->q_stride, *k = added.input->k + t * added.input->k_stride;
      first_layer.q.insert(first_layer.q.end(), q, q + l.heads * l.head_size);
      first_layer.k.insert(first_layer.k.end(), k, k + l.kv_heads * l.head_size);
    }
  }

 private:
  PolicyNeeds needs_;
};
const RegisterPolicy listener({"test-listener", "", 0, "", {}, [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> { return std::make_unique<Listener>(c); }});

const std::vector<int32_t> kText = {5, 100, 7, 2000, 31, 5, 9, 800, 64, 3, 17};

TEST(RetrievalHead, IsTheModelsFirstLayer) {
  const Model model = load_model(test::assets_dir() / "models/espalier-tiny");
  Decoder decoder(load_model(test::assets_dir() / "models/espalier-tiny"), {});
  const auto sequence = decoder.start(ask("test-listener"));
  // One by one: the products of many rows may round differently.
  for (const int32_t& id : kText) {
    const ForwardWork work{sequence.get(), {&id, 1}, nullptr, false};
    decoder.forward({&work, 1});
  }
  const AttentionLayer& layer = first_layer.layer;
  RotaryRows rotation({&layer, 1});
  const auto tokens = static_cast<int64_t>(kText.size());
  rotation.prepare(tokens, [](int64_t t) { return t; });
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < layer.heads; ++h) rotation.rotate(0, t, first_layer.q.data() + (t * layer.heads + h) * layer.head_size);
    for (int64_t h = 0; h < layer.kv_heads; ++h) rotation.rotate(0, t, first_layer.k.data() + (t * layer.kv_heads + h) * layer.head_size);
  }
  for (float& x : first_layer.q) x *= static_cast<float>(layer.scale);
  for (const int threads : {1, 2}) {
    RetrievalHead head(weights_of(model, model.graph), layer, 256);
    Team team(threads);
    // In two forwards, of the second of which only the last token's query is wanted.
    int64_t done = 0;
    for (const int64_t n : {int64_t{4}, tokens - 4}) {
      head.begin(std::span(kText).subspan(static_cast<size_t>(done), static_cast<size_t>(n)), done);
      team.run([&](int rank) {
        head.project({&team, rank}, n - 1);
        team.barrier();
      });
      const int64_t q_width = layer.heads * layer.head_size, k_width = layer.kv_heads * layer.head_size;
      for (int64_t t = 0; t < n; ++t)
        for (int64_t c = 0; c < k_width; ++c) ASSERT_NEAR(head.keys(t)[c], first_layer.k[static_cast<size_t>((done + t) * k_width + c)], 1e-4);
      for (int64_t c = 0; c < q_width; ++c) ASSERT_NEAR(head.queries(n - 1)[c], first_layer.q[static_cast<size_t>((done + n - 1) * q_width + c)], 1e-4);
      done += n;
    }
  }
}

TEST(RetrievalHead, LongerTextsTurnSlower) {
  AttentionLayer layer = Oracle(1, 1, 64, 1).layer;
  const AttentionLayer before = layer;
  extend_rotation(layer, 512, 4);
  EXPECT_DOUBLE_EQ(layer.inverse_frequency[0], before.inverse_frequency[0]) << "many turns: as trained";
  EXPECT_DOUBLE_EQ(layer.inverse_frequency[31], before.inverse_frequency[31] / 4) << "less than a turn: as if the text were as long as trained";
  for (size_t i = 1; i < 32; ++i) EXPECT_LT(layer.inverse_frequency[i], layer.inverse_frequency[i - 1]);
  EXPECT_NEAR(layer.rotary_scale, 0.1 * std::log(4.0) + 1, 1e-12);
}

class RetrievalFile : public ::testing::Test {
 protected:
  RetrievalFile() : model_(load_model(test::assets_dir() / "models/espalier-tiny")), weights_(weights_of(model_, model_.graph)) { weights_.trained = 128; }
  std::string write(const RetrievalWeights& weights) const {
    const auto path = folder_ / "head.safetensors";
    write_retrieval_head(path, weights);
    return path.string();
  }
  std::string refusal(std::map<std::string, std::string> options, bool of_files = true) const {
    AttentionRequest request = ask("05-specontext", std::move(options));
    if (of_files) request.model = test::assets_dir() / "models/espalier-tiny";
    request.weight_bytes = 1000000;
    try {
      make_policy(request, *layers(), 100);
    } catch (const std::exception& error) {
      return error.what();
    }
    return "";
  }
  static std::shared_ptr<const std::vector<AttentionLayer>> layers() {
    AttentionLayer layer = Oracle(8, 4, 16, 1).layer;
    return std::make_shared<const std::vector<AttentionLayer>>(6, layer);
  }
  test::TempDir folder_;
  Model model_;
  RetrievalWeights weights_;
};

TEST_F(RetrievalFile, ComesBackAsItWas) {
  const RetrievalWeights read = read_retrieval_head(write(weights_), model_);
  EXPECT_EQ(read.q.to_floats(), weights_.q.to_floats());
  EXPECT_EQ(read.k.to_floats(), weights_.k.to_floats());
  EXPECT_EQ(read.norm.to_floats(), weights_.norm.to_floats());
  EXPECT_EQ(read.trained, 128);
  EXPECT_EQ(read.epsilon, weights_.epsilon);
  EXPECT_EQ(refusal({{"head", write(weights_)}}), "");
}

TEST_F(RetrievalFile, IsRefusedWhereItDoesNotFit) {
  RetrievalWeights other = weights_;
  other.kv_heads = 2;
  ESP_EXPECT_USER_ERROR(read_retrieval_head(write(other), model_), "heads: expected as the model has them, 8 heads on 4 KV heads of 16, found 8 heads on 2 KV heads of 16");
  other = weights_;
  other.k = Tensor();
  ESP_EXPECT_USER_ERROR(read_retrieval_head(write(other), model_), "k_proj.weight: expected a tensor of shape [64, 128], found none");
  other = weights_;
  std::vector<float> q = weights_.q.to_floats();
  q[3] = std::nanf("");
  other.q = Tensor::from_floats({128, 128}, q);
  ESP_EXPECT_USER_ERROR(read_retrieval_head(write(other), model_), "q_proj.weight: expected finite numbers, found nan");
  other = weights_;
  other.q = Tensor(DType::kI64, {128, 128});
  ESP_EXPECT_USER_ERROR(read_retrieval_head(write(other), model_), "q_proj.weight: expected floating numbers, found I64");
  other = weights_;
  std::vector<float> table = weights_.embedding.to_floats();
  table[0] += 1;
  other.embedding = Tensor::from_floats(weights_.embedding.shape(), table);
  ESP_EXPECT_USER_ERROR(read_retrieval_head(write(other), model_), "found another model's");
  write_file_atomically(folder_ / "head.safetensors", "not a file of tensors");
  EXPECT_NE(refusal({{"head", (folder_ / "head.safetensors").string()}}), "");
}

TEST_F(RetrievalFile, OptionsThatDoNotFit) {
  EXPECT_EQ(refusal({}), "");
  EXPECT_EQ(refusal({{"budget", "0"}}), "policy 05-specontext: budget: expected a whole number from 1 to 100, found 0");
  EXPECT_EQ(refusal({{"budget", "101"}}), "policy 05-specontext: budget: expected a whole number from 1 to 100, found 101");
  EXPECT_EQ(refusal({{"slow_layers", "7"}}), "policy 05-specontext: slow_layers: expected a whole number from 0 to 6, found 7");
  EXPECT_EQ(refusal({{"confidence", "nan"}}), "policy 05-specontext: confidence: expected a number from 0 to 1, found nan");
  EXPECT_EQ(refusal({{"memory", "99999"}}).rfind("memory: the model does not fit: expected more than 1.3 × ", 0), 0u) << refusal({{"memory", "99999"}});
  EXPECT_EQ(refusal({{"memory", "9999999"}, {"slow_layers", "1"}}), "policy 05-specontext: memory: expected no slow_layers beside it, found slow_layers=1");
  EXPECT_EQ(refusal({{"slow_dir", "/tmp"}}), "policy 05-specontext: slow_dir: expected memory or slow_layers beside it, found neither");
  EXPECT_EQ(refusal({}, false), "policy 05-specontext: model: expected one that was read from files, found none");
}

}  // namespace
}  // namespace espalier
