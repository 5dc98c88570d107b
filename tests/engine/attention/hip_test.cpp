#include <gtest/gtest.h>

#include <set>

#include "tests/engine/attention/recorder.h"

namespace espalier {
namespace {

AttentionRequest hip(std::map<std::string, std::string> options, KvCodec codec = KvCodec::kF32) {
  options.emplace("dense_layers", "0");
  return ask("29-hip", std::move(options), codec);
}

struct Search {
  int64_t k, block_q, block_k, stride, window;
  std::string representative;
  bool group;
};

// The search by its definition, in double precision, for rows [begin, end) and the query heads that share the set.
std::vector<int32_t> reference(const Oracle& o, const Search& s, int64_t begin, int64_t end, int64_t kv_head, int64_t head) {
  const int64_t group = o.layer.heads / o.layer.kv_heads, searched = std::max<int64_t>(0, end - s.window);
  const int64_t blocks = (searched + s.block_k - 1) / s.block_k, n = (s.k + s.block_k - 1) / s.block_k;
  std::vector<int64_t> rows;
  for (int64_t r = s.stride - 1; r < end - begin; r += s.stride) rows.push_back(begin + r);
  if (rows.empty()) rows.push_back(end - 1);
  const auto score = [&](int64_t block) {
    double best = -INFINITY;
    for (int64_t h = s.group ? kv_head * group : head; h < (s.group ? (kv_head + 1) * group : head + 1); ++h)
      for (const int64_t row : rows)
        for (int64_t j = block * s.block_k; j < std::min(searched, (block + 1) * s.block_k); ++j) {
          const auto q = o.turned(o.q, o.layer.heads, row, h, row), k = o.turned(o.k, o.layer.kv_heads, j, kv_head, j);
          double sum = 0;
          for (size_t c = 0; c < q.size(); ++c) sum += q[c] * k[c];
          best = std::max(best, sum);
        }
    return best;
  };
  std::vector<std::pair<int64_t, int64_t>> groups;  // start and size
  for (int64_t i = 0; i < n; ++i) groups.push_back({blocks * i / n, blocks * (i + 1) / n - blocks * i / n});
  const auto largest = [&] { return std::max_element(groups.begin(), groups.end(), [](auto& a, auto& b) { return a.second < b.second; })->second; };
  while (largest() > 1) {
    std::vector<std::pair<double, size_t>> order;
    std::vector<std::pair<int64_t, int64_t>> halves;
    for (const auto& [start, size] : groups) {
      halves.push_back({start, size / 2});
      halves.push_back({start + size / 2, size - size / 2});
    }
    for (size_t i = 0; i < halves.size(); ++i) {
      const auto [start, size] = halves[i];
      const int64_t block = s.representative == "center" ? start + size / 2 : s.representative == "first" ? start : start + size - 1;
      order.push_back({size == 0 ? INFINITY : -score(block), i});
    }
    std::sort(order.begin(), order.end());
    std::set<size_t> kept;
    for (int64_t i = 0; i < n; ++i) kept.insert(order[static_cast<size_t>(i)].second);
    groups.clear();
    for (const size_t i : kept) groups.push_back(halves[i]);
  }
  std::vector<int32_t> ids;
  for (const auto& g : groups) ids.push_back(static_cast<int32_t>(g.first));
  return ids;
}

TEST(Hip, KeepingEverythingIsDense) {
  for (const auto& [heads, kv_heads, size] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{{3, 3, 16}, {8, 2, 20}, {40, 1, 8}}) {
    const Oracle oracle(heads, kv_heads, size, 120);
    const auto dense = run_sequence(oracle, ask("dense"), {50, 1}).out;
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{120}, {50, 1}})
      EXPECT_LT(worst(run_sequence(oracle, hip({{"budget", "120"}, {"window", "32"}}), sizes).out, dense), 1e-4);
    EXPECT_LT(worst(run_sequence(oracle, ask("29-hip"), {120}).out, dense), 1e-4) << "defaults in a short context";
  }
}

TEST(Hip, SearchAndAttentionAreTheirDefinition) {
  const Oracle oracle(4, 2, 16, 101);
  const Search searches[] = {{8, 4, 2, 1, 8, "center", false}, {7, 8, 3, 2, 9, "first", false}, {6, 5, 1, 2, 7, "last", false},
                             {8, 4, 4, 3, 8, "center", true},  {5, 1, 2, 2, 4, "center", true}};
  for (const Search& s : searches) {
    const auto r = hip({{"budget", std::to_string(s.k)}, {"block_q", std::to_string(s.block_q)}, {"block_k", std::to_string(s.block_k)},
                        {"query_stride", std::to_string(s.stride)}, {"window", std::to_string(s.window)}, {"sink", "2"},
                        {"representative", s.representative}, {"per", s.group ? "group" : "head"}});
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{101}, {60, 1}}) {
      Recording recording;
      const auto run = run_recorded(oracle, r, sizes, recording, 2);
      uint64_t scored = 0;
      for (const Choice& c : recording.choices) {
        const int64_t end = c.position + c.rows;
        scored += c.scored;
        if (end - s.window <= s.k) {
          EXPECT_EQ(c.selection.kind, Selection::Kind::kAll);
          continue;
        }
        EXPECT_EQ(c.selection.ids, reference(oracle, s, c.position, end, c.kv_head, c.head)) << "queries from " << c.position;
        const int64_t n = (s.k + s.block_k - 1) / s.block_k, blocks = (end - s.window + s.block_k - 1) / s.block_k;
        const auto rounds = static_cast<uint64_t>(std::ceil(std::log2(static_cast<double>(blocks) / static_cast<double>(n))));
        EXPECT_LE(c.scored, static_cast<uint64_t>(2 * n * s.block_k) * std::max<uint64_t>(1, rounds));
      }
      EXPECT_EQ(run.sequence->counters().keys_scored, scored);
      double largest = 0;
      uint64_t attended = 0;
      for (int64_t h = 0; h < 4; ++h)
        for (int64_t i = 0; i < 101; ++i) {
          const Selection& chosen = recording.of(0, s.group ? h / 2 : h, i).selection;
          const auto p = oracle.probabilities(h, i, [&](int64_t, int64_t q, int64_t j) { return sees(chosen, q, j); });
          for (int64_t c = 0; c < 16; ++c) {
            double expected = 0;
            for (int64_t j = 0; j <= i; ++j) expected += p[static_cast<size_t>(j)] * static_cast<double>(oracle.v[static_cast<size_t>((j * 2 + h / 2) * 16 + c)]);
            largest = std::max(largest, std::fabs(expected - static_cast<double>(run.out[static_cast<size_t>((i * 4 + h) * 16 + c)])));
          }
          for (int64_t j = 0; j <= i; ++j) attended += sees(chosen, i, j);
        }
      EXPECT_LT(largest, 1e-5);
      EXPECT_EQ(run.sequence->counters().keys_attended, attended);
    }
  }
}

TEST(Hip, PromptsEqualSteps) {
  const Oracle oracle(4, 2, 16, 200);
  const auto each = hip({{"budget", "16"}, {"block_q", "1"}, {"window", "8"}, {"sink", "2"}});
  const auto whole = run_sequence(oracle, each, {200}).out;
  EXPECT_LT(worst(run_sequence(oracle, each, {195, 1}).out, whole), 1e-4);
  EXPECT_LT(worst(run_sequence(oracle, each, {1}).out, whole), 1e-4);
  const auto blocks = hip({{"budget", "16"}, {"block_q", "16"}, {"window", "16"}});
  const auto one = run_sequence(oracle, blocks, {200}).out;
  EXPECT_LT(worst(run_sequence(oracle, blocks, {48}).out, one), 1e-5) << "pieces of whole blocks of queries";
  EXPECT_EQ(run_sequence(oracle, blocks, {200}, 2).out, one) << "threads agree bit for bit";
}

TEST(Hip, ASetServesSeveralSteps) {
  const Oracle oracle(4, 2, 16, 400);
  const std::map<std::string, std::string> options{{"budget", "32"}, {"block_q", "8"}, {"window", "16"}, {"sink", "2"}};
  auto eight = options;
  eight["refresh"] = "8";
  Recording often, seldom;
  run_recorded(oracle, hip(options), {200, 1}, often);
  run_recorded(oracle, hip(eight), {200, 1}, seldom);
  uint64_t steps_often = 0, steps_seldom = 0;
  for (int64_t p = 200; p < 400; ++p) {
    const Choice& c = seldom.of(0, 0, p);
    const int64_t age = (p - 200) % 8;
    EXPECT_EQ(c.scored == 0, age > 0) << p;
    EXPECT_EQ(c.selection.ids, often.of(0, 0, p - age).selection.ids) << "the set of the last search";
    EXPECT_EQ(c.selection.window, 16 + age) << "keys that came since are in the window";
    steps_often += often.of(0, 0, p).scored, steps_seldom += c.scored;
  }
  EXPECT_NEAR(static_cast<double>(steps_often) / static_cast<double>(steps_seldom), 8, 0.5);
}

TEST(Hip, OtherWaysOfSearching) {
  const Oracle oracle(4, 2, 16, 300);
  const std::map<std::string, std::string> base{{"budget", "32"}, {"block_q", "8"}, {"window", "16"}};
  Recording plain;
  run_recorded(oracle, hip(base), {200, 1}, plain);
  for (const auto& [name, value] : std::map<std::string, std::string>{{"representative", "random"}, {"branch", "random"}, {"channels", "4"}, {"start", "last"}}) {
    auto options = base;
    options[name] = value;
    Recording one, two;
    run_recorded(oracle, hip(options), {200, 1}, one);
    run_recorded(oracle, hip(options), {200, 1}, two, 2);
    bool differs = false;
    for (size_t i = 0; i < one.choices.size(); ++i) {
      const auto& ids = one.choices[i].selection.ids;
      EXPECT_EQ(ids, two.choices[i].selection.ids) << name << ": the same in any thread";
      EXPECT_TRUE(ids.empty() || (ids.size() == 16 && std::is_sorted(ids.begin(), ids.end()) && std::set<int32_t>(ids.begin(), ids.end()).size() == 16)) << name;
      differs |= ids != plain.choices[i].selection.ids;
    }
    EXPECT_TRUE(differs) << name;
  }
  auto all_channels = base;
  all_channels["channels"] = "16";
  Recording same;
  run_recorded(oracle, hip(all_channels), {200, 1}, same);
  EXPECT_EQ(same.choices.back().selection.ids, plain.choices.back().selection.ids);
}

// Σ over queries and heads of the softmax that a set of keys holds.
double mass(const Oracle& o, const std::function<bool(int64_t h, int64_t i, int64_t j)>& held) {
  double sum = 0;
  for (int64_t h = 0; h < o.layer.heads; ++h)
    for (int64_t i = o.tokens / 2; i < o.tokens; ++i) {
      const auto p = o.probabilities(h, i, [](int64_t, int64_t, int64_t) { return true; });
      for (int64_t j = 0; j <= i; ++j) sum += held(h, i, j) ? p[static_cast<size_t>(j)] : 0;
    }
  return sum;
}

TEST(Hip, HoldsMoreOfTheSoftmaxThanRandomBlocksAndThanAWindow) {
  double found = 0, random = 0, window = 0;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    Oracle oracle(2, 1, 16, 256, seed, false);
    // Neighbouring keys resemble each other.
    for (size_t i = 16; i < oracle.k.size(); ++i) oracle.k[i] = 0.95f * oracle.k[i - 16] + 0.31f * oracle.k[i];
    Recording recording;
    run_recorded(oracle, hip({{"budget", "32"}, {"block_q", "4"}, {"window", "8"}, {"sink", "2"}}), {256}, recording);
    Rng rng(seed, "blocks");
    std::vector<std::set<int64_t>> blocks(256);
    for (auto& set : blocks)
      for (const int64_t b : rng.sample(60, 16)) set.insert(b);
    found += mass(oracle, [&](int64_t h, int64_t i, int64_t j) { return sees(recording.of(0, h, i).selection, i, j); });
    random += mass(oracle, [&](int64_t, int64_t i, int64_t j) { return j < 2 || i - j < 8 || blocks[static_cast<size_t>(i)].count(j / 2) > 0; });
    window += mass(oracle, [](int64_t, int64_t i, int64_t j) { return j < 2 || i - j < 40; });
  }
  EXPECT_GT(found, 1.2 * random);
  EXPECT_GT(found, 1.2 * window);
}

TEST(Hip, CostOfAPromptGrowsLittleFasterThanItsLength) {
  std::vector<double> x, y;
  for (int64_t tokens = 1024; tokens <= 32768; tokens *= 2) {
    const Oracle oracle(1, 1, 16, tokens, 1, false);
    const auto counters = run_sequence(oracle, hip({}), {tokens}).sequence->counters();
    x.push_back(std::log(static_cast<double>(tokens)));
    y.push_back(std::log(static_cast<double>(counters.keys_scored + counters.keys_attended)));
    // A scored key meets every second of 32 queries.
    const double pairs = static_cast<double>(counters.keys_scored) * 16 + static_cast<double>(counters.keys_attended);
    const double share = pairs / (static_cast<double>(tokens) * static_cast<double>(tokens) / 2);
    EXPECT_LT(share, tokens == 32768 ? 0.22 : tokens == 8192 ? 0.60 : 2.0) << tokens;
  }
  double mx = 0, my = 0, xy = 0, xx = 0;
  for (size_t i = 0; i < x.size(); ++i) mx += x[i] / static_cast<double>(x.size()), my += y[i] / static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) xy += (x[i] - mx) * (y[i] - my), xx += (x[i] - mx) * (x[i] - mx);
  RecordProperty("exponent", std::to_string(xy / xx));
  EXPECT_LE(xy / xx, 1.25);
}

TEST(Hip, FirstLayersAndLayersWithAWindowAreDense) {
  Oracle oracle(2, 1, 16, 100);
  Recording recording;
  auto r = hip({{"budget", "8"}, {"block_q", "4"}, {"window", "8"}});
  r.options["dense_layers"] = "1";
  run_recorded(oracle, r, {100}, recording, 1, 2);
  EXPECT_EQ(recording.of(0, 0, 99).selection.kind, Selection::Kind::kAll);
  EXPECT_EQ(recording.of(1, 0, 99).selection.kind, Selection::Kind::kBlocks);
  oracle.layer.window = 20;
  const auto run = run_sequence(oracle, hip({{"budget", "8"}, {"block_q", "4"}, {"window", "8"}}), {60, 1});
  EXPECT_LT(worst(run.out, run_sequence(oracle, ask("dense"), {60, 1}).out), 1e-5);
  EXPECT_EQ(run.sequence->cache().token_positions(0, 0).front(), 100 - 19) << "what the model's window left is freed";
}

TEST(Hip, CodecsAreReadAsTheyAreStored) {
  const Oracle oracle(4, 2, 16, 150);
  const std::map<std::string, std::string> all{{"budget", "150"}, {"window", "32"}}, few{{"budget", "16"}, {"block_q", "8"}, {"window", "16"}};
  for (const KvCodec codec : {KvCodec::kBF16, KvCodec::kI8}) {
    // Rounded probabilities depend on the keys that go through the kernel together.
    EXPECT_LT(worst(run_sequence(oracle, hip(all, codec), {150}).out, run_sequence(oracle, ask("dense", {}, codec), {150}).out), 2e-2);
    Recording stored, exact;
    run_recorded(oracle, hip(few, codec), {150}, stored);
    run_recorded(oracle, hip(few), {150}, exact);
    size_t common = 0, all_ids = 0;
    for (size_t i = 0; i < stored.choices.size(); ++i)
      for (const int32_t id : stored.choices[i].selection.ids) {
        const auto& ids = exact.choices[i].selection.ids;
        ++all_ids, common += std::binary_search(ids.begin(), ids.end(), id);
      }
    EXPECT_GT(static_cast<double>(common), 0.9 * static_cast<double>(all_ids));
  }
}

TEST(Hip, NotANumberChoosesSomething) {
  Oracle oracle(2, 1, 16, 120);
  oracle.q[16 * 2 * 90] = oracle.k[16 * 20] = std::nanf("");
  for (const char* channels : {"0", "4"}) {
    Recording recording;
    run_recorded(oracle, hip({{"budget", "16"}, {"block_q", "4"}, {"window", "8"}, {"channels", channels}}), {100, 1}, recording);
    EXPECT_EQ(recording.of(0, 0, 90).selection.ids.size(), 8u);
    EXPECT_EQ(recording.of(0, 0, 119).selection.ids.size(), 8u);
  }
}

TEST(Hip, RefusesOptionsThatDoNotFit) {
  const auto line = [](std::map<std::string, std::string> options) { return refusal(ask("29-hip", std::move(options)), 100); };
  EXPECT_EQ(line({{"budget", "0"}}), "policy 29-hip: budget: expected a whole number from 1 to 100, found 0");
  EXPECT_EQ(line({{"budget", "101"}}), "policy 29-hip: budget: expected a whole number from 1 to 100, found 101");
  EXPECT_EQ(line({{"budget", "2"}, {"block_k", "4"}}), "policy 29-hip: budget: expected at least block_k, 4, found 2");
  EXPECT_EQ(line({{"window", "16"}}), "policy 29-hip: window: expected at least block_q, 32, found 16");
  EXPECT_EQ(line({{"query_stride", "0"}}), "policy 29-hip: query_stride: expected a whole number from 1 to 100, found 0");
  EXPECT_EQ(line({{"block_q", "-4"}}), "policy 29-hip: block_q: expected a whole number from 1 to 100, found -4");
  EXPECT_EQ(line({{"representative", "middle"}}), "policy 29-hip: representative: expected one of center, first, last, random, found middle");
  EXPECT_EQ(line({{"channels", "17"}}), "policy 29-hip: channels: expected a whole number from 0 to 16, found 17");
  EXPECT_EQ(line({}), "");
}

}  // namespace
}  // namespace espalier
