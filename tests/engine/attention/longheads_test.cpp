#include "espalier/engine/attention/policies/longheads.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/engine/attention/recorder.h"

namespace espalier::longheads_test {
namespace {

using Row = std::vector<double>;

AttentionRequest longheads(int64_t chunk, int64_t attention, std::map<std::string, std::string> others = {}, KvCodec codec = KvCodec::kF32) {
  others.emplace("chunk", std::to_string(chunk));
  others.emplace("attention", std::to_string(attention));
  return ask("28-longheads", std::move(others), codec);
}

double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t c = 0; c < a.size(); ++c) sum += a[c] * b[c];
  return sum;
}

std::vector<double> softmax(std::vector<double> x) {
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v);
  for (double& v : x) v /= sum;
  return x;
}

// The method by its definition: raw keys turned to their new places, one query at a time, in double precision.
struct Definition {
  const Oracle& o;
  int64_t chunk, chunks, start;
  bool group;

  Row raw(const std::vector<float>& x, int64_t heads, int64_t t, int64_t h) const { return o.turned(x, heads, t, h, 0); }
  Row q(int64_t t, int64_t h, int64_t place) const { return o.turned(o.q, o.layer.heads, t, h, place); }
  Row k(int64_t t, int64_t h, int64_t place) const { return o.turned(o.k, o.layer.kv_heads, t, kv(h), place); }
  Row v(int64_t t, int64_t h) const { return o.turned(o.v, o.layer.kv_heads, t, kv(h), 0); }
  int64_t kv(int64_t h) const { return h / (o.layer.heads / o.layer.kv_heads); }

  Row attend(const Row& query, const std::vector<Row>& keys, const std::vector<Row>& values) const {
    std::vector<double> scores;
    for (const Row& key : keys) scores.push_back(dot(query, key) * o.layer.scale);
    const auto p = softmax(scores);
    Row out(query.size(), 0.0);
    for (size_t i = 0; i < p.size(); ++i)
      for (size_t c = 0; c < out.size(); ++c) out[c] += p[i] * values[i][c];
    return out;
  }

  Row vector_of(int64_t h, int64_t j) const {
    std::vector<Row> keys, values;
    for (int64_t t = 0; t < chunk; ++t) keys.push_back(k(j * chunk + t, h, t)), values.push_back(v(j * chunk + t, h));
    Row mean(static_cast<size_t>(o.layer.head_size), 0.0);
    for (int64_t t = 0; t < chunk; ++t) {
      const Row out = attend(q(j * chunk + t, h, t), keys, values);
      for (size_t c = 0; c < out.size(); ++c) mean[c] += out[c] / static_cast<double>(chunk);
    }
    return attend(mean, keys, keys);
  }

  std::vector<int64_t> selected(int64_t h, int64_t p, bool dense) const {
    const int64_t own = p / chunk, group_size = o.layer.heads / o.layer.kv_heads;
    std::set<int64_t> ids{0, own};
    if (own > 0) ids.insert(own - 1);
    if (dense || own < chunks)
      for (int64_t j = 0; j <= own; ++j) ids.insert(j);
    std::vector<std::pair<double, int64_t>> order;
    for (int64_t j = 1; j <= own - 2; ++j) {
      double score = 0;
      for (int64_t other = group ? kv(h) * group_size : h; other < (group ? (kv(h) + 1) * group_size : h + 1); ++other)
        score += dot(raw(o.q, o.layer.heads, p, other), vector_of(other, j));
      order.push_back({-score, j});
    }
    std::sort(order.begin(), order.end());
    for (const auto& [score, j] : order)
      if (static_cast<int64_t>(ids.size()) < chunks) ids.insert(j);
    return {ids.begin(), ids.end()};
  }

  Row out(int64_t h, int64_t p, const std::vector<int64_t>& ids) const {
    std::vector<Row> keys, values;
    for (const int64_t j : ids)
      for (int64_t t = j * chunk; t < std::min((j + 1) * chunk, p + 1); ++t) {
        keys.push_back(k(t, h, static_cast<int64_t>(keys.size())));
        values.push_back(v(t, h));
      }
    return attend(q(p, h, static_cast<int64_t>(keys.size()) - 1), keys, values);
  }
};

// The largest difference between a run and the definition; steps: the first position of one-token forwards.
double difference(const Definition& d, const Run& run, const Recording& recording, int64_t steps, int64_t select_from) {
  double largest = 0;
  const int64_t size = d.o.layer.head_size;
  for (int64_t p = 0; p < d.o.tokens; ++p)
    for (int64_t h = 0; h < d.o.layer.heads; ++h) {
      const bool dense = p < d.start && !(p >= steps && p + 1 >= d.start);
      const auto ids = d.selected(h, p, dense);
      if (p >= select_from) {
        const Selection& s = recording.of(0, d.group ? d.kv(h) : h, p).selection;
        std::vector<int64_t> found(s.ids.begin(), s.ids.end());
        for (int64_t j = 0; s.kind == Selection::Kind::kAll && j <= p / d.chunk; ++j) found.push_back(j);
        EXPECT_EQ(found, ids) << "head " << h << " at " << p;
      }
      const Row out = d.out(h, p, ids);
      for (int64_t c = 0; c < size; ++c)
        largest = std::max(largest, std::fabs(out[static_cast<size_t>(c)] - static_cast<double>(run.out[static_cast<size_t>((p * d.o.layer.heads + h) * size + c)])));
    }
  return largest;
}

TEST(LongHeads, ShortTextsAreDense) {
  for (const auto& [heads, kv_heads, size] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{{3, 3, 16}, {8, 2, 20}, {40, 1, 8}}) {
    const Oracle oracle(heads, kv_heads, size, 120);
    const auto dense = run_sequence(oracle, ask("dense"), {50, 1}).out;
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{120}, {50, 1}, {33}})
      for (const int64_t chunk : {8, 12, 30}) EXPECT_LT(worst(run_sequence(oracle, longheads(chunk, 120), sizes, 2).out, dense), 1e-4);
  }
  const Oracle oracle(4, 2, 16, 128);  // the default: 16 chunks of 8
  EXPECT_LT(worst(run_sequence(oracle, ask("28-longheads"), {128}).out, run_sequence(oracle, ask("dense"), {128}).out), 1e-4);
}

TEST(LongHeads, ChunksAndOutputsAreTheDefinition) {
  for (const bool group : {false, true}) {
    const Oracle oracle(4, 2, 12, 70);
    const Definition definition{oracle, 6, 5, 30, group};
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{70}, {23}, {60, 1}, {1}}) {
      Recording recording;
      const auto run = run_recorded(oracle, longheads(6, 30, {{"per", group ? "group" : "head"}}), sizes, recording, 2);
      EXPECT_LT(difference(definition, run, recording, sizes[0] == 1 ? 0 : sizes[0] == 60 ? 60 : 70, 29), 1e-4);
    }
  }
}

TEST(LongHeads, APromptsStartIsDense) {
  const Oracle oracle(2, 1, 12, 70);
  const Definition definition{oracle, 5, 4, 41, false};
  for (const int64_t prompt : {70, 41, 40, 30}) {
    Recording recording;
    const auto run = run_recorded(oracle, longheads(5, 20, {{"start", "41"}}), {prompt, 1}, recording);
    EXPECT_LT(difference(definition, run, recording, prompt, 40), 1e-4) << prompt;
  }
}

TEST(LongHeads, PositionsStayBelowTheAttentionLength) {
  const Oracle oracle(2, 1, 16, 200);
  Recording recording;
  const auto run = run_recorded(oracle, longheads(8, 40), {150, 1}, recording);
  int64_t furthest = 0;
  uint64_t scored = 0;
  for (const Choice& c : recording.choices) {
    scored += c.scored;
    if (c.selection.kind == Selection::Kind::kAll) {
      furthest = std::max(furthest, c.position);
      continue;
    }
    EXPECT_EQ(c.selection.ids.size(), 5u);
    EXPECT_EQ(c.scored, static_cast<uint64_t>(c.position / 8 - 2));
    furthest = std::max(furthest, 4 * 8 + c.position % 8);
  }
  EXPECT_EQ(furthest, 39);
  EXPECT_EQ(run.sequence->counters().keys_scored, scored);
}

TEST(LongHeads, CostOfAPromptIsLinear) {
  std::vector<double> attended;
  for (const int64_t tokens : {4096, 8192}) {
    const Oracle oracle(2, 1, 16, tokens);
    attended.push_back(static_cast<double>(run_sequence(oracle, longheads(32, 512), {tokens}, 2).sequence->counters().multiply_adds));
  }
  EXPECT_GT(attended[1] / attended[0], 1.9);
  EXPECT_LT(attended[1] / attended[0], 2.2);
}

TEST(LongHeads, CodecsAndWindowsOfTheModel) {
  Oracle oracle(4, 2, 16, 120);
  const auto exact = run_sequence(oracle, longheads(8, 32), {120}).out;
  EXPECT_EQ(run_sequence(oracle, longheads(8, 32), {120}, 2).out, exact) << "threads agree bit for bit";
  // Where a vector's rounding changes a choice the outputs differ by more: so dense lengths.
  const auto dense = run_sequence(oracle, longheads(8, 120), {120}).out;
  EXPECT_LT(worst(run_sequence(oracle, longheads(8, 120, {}, KvCodec::kBF16), {120}).out, dense), 0.08);
  EXPECT_LT(worst(run_sequence(oracle, longheads(8, 120, {}, KvCodec::kI8), {120}).out, dense), 0.15);
  oracle.layer.window = 20;
  const auto run = run_sequence(oracle, longheads(8, 32), {60, 1});
  EXPECT_LT(worst(run.out, run_sequence(oracle, ask("dense"), {60, 1}).out), 1e-5);
  EXPECT_EQ(run.sequence->cache().token_positions(0, 0).front(), 120 - 19) << "what the model's window left is freed";
}

TEST(LongHeads, RandomChunksAreAControl) {
  const Oracle oracle(4, 2, 16, 200);
  Recording recording;
  const auto run = run_recorded(oracle, longheads(8, 40, {{"rank", "random"}}), {199, 1}, recording, 2);
  std::map<int32_t, int64_t> counts;  // of chunks 1 … 22, as the last 8 queries chose them: two each
  int64_t differ = 0;
  for (int64_t p = 192; p < 200; ++p)
    for (int64_t h = 0; h < 4; ++h) {
      const auto ids = recording.of(0, h, p).selection.ids;
      ASSERT_EQ(ids.size(), 5u);
      EXPECT_TRUE(ids[0] == 0 && ids[1] > 0 && ids[1] < ids[2] && ids[2] < 23 && ids[3] == 23 && ids[4] == 24);
      ++counts[ids[1]], ++counts[ids[2]];
      differ += ids != recording.of(0, 0, p).selection.ids;
    }
  EXPECT_GT(counts.size(), 15u) << "64 draws from 22";
  EXPECT_GT(differ, 16) << "of 24";
  EXPECT_EQ(run.sequence->counters().keys_scored, 0u);
  EXPECT_EQ(run_sequence(oracle, longheads(8, 40, {{"rank", "random"}}), {199, 1}).out, run.out) << "whichever thread draws";
}

TEST(LongHeads, NotANumberChoosesSomething) {
  Oracle oracle(2, 1, 16, 120);
  oracle.q[16 * 2 * 90] = oracle.k[16 * 20] = std::nanf("");
  Recording recording;
  run_recorded(oracle, longheads(8, 32), {100, 1}, recording);
  EXPECT_EQ(recording.of(0, 0, 90).selection.ids.size(), 4u);
  EXPECT_EQ(recording.of(0, 0, 119).selection.ids.size(), 4u);
}

TEST(LongHeads, RefusesOptionsThatDoNotFit) {
  const auto line = [](std::map<std::string, std::string> options) { return refusal(ask("28-longheads", std::move(options)), 100); };
  EXPECT_EQ(line({{"chunk", "8"}, {"attention", "60"}}), "policy 28-longheads: attention: expected a multiple of chunk, 8, found 60");
  EXPECT_EQ(line({{"chunk", "30"}, {"attention", "90"}}), "policy 28-longheads: attention: expected at least 4 chunks of 30 tokens, found 90");
  EXPECT_EQ(line({{"chunk", "8"}, {"attention", "104"}}),
            "policy 28-longheads: attention: expected at most the context of 100 tokens, or allow_extrapolation=1, found 104");
  EXPECT_EQ(line({{"chunk", "8"}, {"attention", "104"}, {"allow_extrapolation", "1"}}), "");
  EXPECT_EQ(line({{"chunk", "0"}}), "policy 28-longheads: chunk: expected a whole number from 1 to 100, found 0");
  EXPECT_EQ(line({{"attention", "0"}}), "policy 28-longheads: attention: expected a whole number from 1 to 1073741824, found 0");
  EXPECT_EQ(line({{"per", "x"}}), "policy 28-longheads: per: expected one of head, group, found x");
  EXPECT_EQ(line({{"rank", "x"}}), "policy 28-longheads: rank: expected one of best, random, found x");
  EXPECT_EQ(refusal(ask("28-longheads"), 100, false), "policy 28-longheads: model: expected rotary positions, found none in any layer");
  EXPECT_EQ(line({}), "");
}

}  // namespace
}  // namespace espalier::longheads_test
