// SpAtten against its bookkeeping and attention by definition, in double precision, over a network of several layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "espalier/engine/attention/kv_codec.h"
#include "espalier/engine/attention/policies/cascade.h"
#include "espalier/engine/attention/policy.h"
#include "tests/engine/attention/oracle.h"
#include "tests/support.h"

namespace espalier::spatten_test {
namespace {

AttentionRequest request(std::map<std::string, std::string> options) {
  AttentionRequest r;
  r.policy = "02-spatten", r.options = std::move(options);
  return r;
}

TEST(Cascade, KeepsTheMostImportantAndTheProtected) {
  const std::vector<float> importance = {3, 1, 2, 2, 0};
  const std::vector<int32_t> all = {0, 1, 2, 3, 4};
  EXPECT_EQ(most_important(all, importance, 2), (std::vector<int32_t>{0, 2})) << "of equal ones the first";
  EXPECT_EQ(most_important(all, importance, 2, std::vector<int32_t>{4}), (std::vector<int32_t>{0, 4}));
  EXPECT_EQ(most_important(std::vector<int32_t>{1, 3, 4}, importance, 2), (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(most_important(all, importance, 9), all);
}

TEST(Cascade, Schedules) {
  EXPECT_EQ(keep_schedule(5, 0.4, 0.5, 0.25), (std::vector<double>{1, 1, 0.5, 0.375, 0.25}));
  EXPECT_EQ(keep_schedule(2, 0.5, 0.9, 0.3), (std::vector<double>{1, 0.3})) << "one layer gets the end";
  EXPECT_EQ(keep_schedule(2, 1, 0.9, 0.3), (std::vector<double>{1, 1}));
  EXPECT_EQ(keep_count(0.3, 10), 3);
  EXPECT_EQ(keep_count(0.01, 10), 1);
}

TEST(KeyPlanes, HighAndLowBitsMakeTheKey) {
  for (const KeyBits bits : {KeyBits{4, 4}, KeyBits{8, 4}, KeyBits{12, 4}, KeyBits{6, 8}, KeyBits{8, 0}}) {
    const KvLayout l = make_layout(KvCodec::kF32, 4, 20, 0, bits);
    std::vector<std::byte> page(l.page_bytes), other(l.page_bytes);
    Rng rng(1, "planes");
    std::vector<float> key(20), full(20), coarse(20), moved(20);
    for (float& x : key) x = static_cast<float>(rng.normal());
    key[3] = 0;
    write_key(l, page.data(), 2, key.data());
    read_plane_key(l, page.data(), 2, false, full.data());
    read_plane_key(l, page.data(), 2, true, coarse.data());
    const double scale = key_scale(bits, key.data(), 20);
    for (size_t c = 0; c < 20; ++c) {
      EXPECT_NEAR(full[c], key[c], scale * 0.501);
      const double low = (static_cast<double>(full[c]) - static_cast<double>(coarse[c])) / scale;
      EXPECT_GE(low, -1e-3) << "the shift rounds down";
      EXPECT_LE(low, (1 << bits.low) - 1 + 1e-3);
    }
    copy_token(l, page.data(), 2, other.data(), 0);
    read_key(l, other.data(), 0, moved.data());
    EXPECT_EQ(moved, full);
  }
  EXPECT_EQ(make_layout(KvCodec::kI8, 32, 64, 0, {8, 4}).token_bytes, 64u + 32 + 4 + 64 + 4);
}

// Everything by the paper's rules; every layer has the oracle's queries, keys and values.
struct Network {
  const Oracle& o;
  size_t layers;
  std::vector<double> tokens, heads;
  int64_t reference;
  double values = 1;
  std::vector<double> importance, head_importance;
  std::vector<std::set<int64_t>> held, head_sets;
  std::vector<std::vector<int64_t>> rows;  // of the last forward, by layer: queries that go on
  std::vector<double> out;                 // of the last layer

  Network(const Oracle& oracle, std::vector<double> tokens_, std::vector<double> heads_, double values_ = 1)
      : o(oracle), layers(tokens_.size()), tokens(std::move(tokens_)), heads(std::move(heads_)), reference(oracle.tokens), values(values_),
        importance(static_cast<size_t>(o.tokens)), head_importance(static_cast<size_t>(o.layer.heads)), held(layers), head_sets(layers), out(o.q.size()) {}

  template <typename Id>
  static std::set<int64_t> best(const std::set<Id>& candidates, const std::vector<double>& scores, int64_t count, int64_t safe = -1) {
    std::vector<int64_t> order(candidates.begin(), candidates.end());
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      if ((a == safe) != (b == safe)) return a == safe;
      return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
    });
    return {order.begin(), order.begin() + std::min<ptrdiff_t>(static_cast<ptrdiff_t>(count), static_cast<ptrdiff_t>(order.size()))};
  }

  void forward(int64_t first, int64_t n) {
    const bool decode = n == 1 && first > 0;
    rows.assign(layers, {});
    for (size_t l = 0; l < layers; ++l) {
      std::set<int64_t> candidates;
      for (int64_t t = 0; t < first + n; ++t)
        if ((t >= first || held[l].count(t) > 0) && (l == 0 || held[l - 1].count(t) > 0)) candidates.insert(t);
      const auto count = [](double share, int64_t of) { return std::max<int64_t>(1, static_cast<int64_t>(std::floor(share * static_cast<double>(of) + 1e-9))); };
      held[l] = best(candidates, importance, count(tokens[l], decode ? reference : first + n), first + n - 1);
      if (first == 0) {
        std::set<int64_t> all;
        for (int64_t h = 0; h < o.layer.heads; ++h) all.insert(h);
        head_sets[l] = best(l == 0 ? all : head_sets[l - 1], head_importance, count(heads[l], o.layer.heads));
      }
      run(l, first, n);
    }
  }

  void run(size_t l, int64_t first, int64_t n) {
    const int64_t size = o.layer.head_size, group = o.layer.heads / o.layer.kv_heads;
    std::vector<double> added(importance.size(), 0.0), head_added(head_importance.size(), 0.0);
    for (int64_t i = first; i < first + n; ++i)
      for (int64_t h = 0; h < o.layer.heads; ++h) {
        std::vector<double> row(static_cast<size_t>(size), 0.0);
        if (head_sets[l].count(h) > 0) {
          auto p = o.probabilities(h, i, [&](int64_t, int64_t, int64_t j) { return held[l].count(j) > 0 || j == i; });
          const bool counts = held[l].count(i) > 0;
          std::vector<int64_t> order;
          for (int64_t j = 0; j <= i; ++j) {
            if (held[l].count(j) == 0 && j != i) continue;
            order.push_back(j);
            if (counts) added[static_cast<size_t>(j)] += p[static_cast<size_t>(j)];
          }
          std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return p[static_cast<size_t>(a)] > p[static_cast<size_t>(b)]; });
          order.resize(std::min<size_t>(order.size(), std::max<size_t>(1, static_cast<size_t>(std::floor(values * static_cast<double>(order.size()) + 1e-9)))));
          for (int64_t j : order)
            for (int64_t c = 0; c < size; ++c)
              row[static_cast<size_t>(c)] += p[static_cast<size_t>(j)] * static_cast<double>(o.v[static_cast<size_t>((j * o.layer.kv_heads + h / group) * size + c)]);
          for (double x : row)
            if (counts) head_added[static_cast<size_t>(h)] += std::fabs(x);
        }
        if (l + 1 == layers) std::copy(row.begin(), row.end(), out.begin() + (i * o.layer.heads + h) * size);
      }
    for (size_t j = 0; j < added.size(); ++j) importance[j] += added[j];
    for (size_t h = 0; h < head_added.size(); ++h) head_importance[h] += head_added[h];
  }
};

TEST(Spatten, IsItsDefinitionInPrefillAndDecode) {
  for (const auto& [heads, kv_heads] : std::vector<std::pair<int64_t, int64_t>>{{4, 4}, {8, 2}, {6, 1}}) {
    const Oracle oracle(heads, kv_heads, 16, 70);
    for (const double values : {1.0, 0.4}) {
      const auto r = request({{"tokens", "1,0.8,0.5,0.5"}, {"heads", "1,1,0.75,0.5"}, {"values", values == 1 ? "1" : "0.4"}});
      for (const auto& sizes : std::vector<std::vector<int64_t>>{{60, 1}, {40, 20, 1}}) {
        Network network(oracle, {1, 0.8, 0.5, 0.5}, {1, 1, 0.75, 0.5}, values);
        size_t step = 0;
        for (int64_t done = 0; done < oracle.tokens;) {
          const int64_t n = sizes[std::min(step++, sizes.size() - 1)];
          network.forward(done, n);
          done += n;
        }
        for (const int threads : {1, 2}) {
          const auto run = run_sequence(oracle, r, sizes, threads, 4);
          EXPECT_LT(worst(run.out, network.out), 1e-4);
          const Json report = run.sequence->policy().report();
          for (size_t l = 0; l < 4; ++l) {
            const std::vector<int64_t> held(network.held[l].begin(), network.held[l].end());
            EXPECT_EQ(report.at("layers")[l].at("token_ids").get<std::vector<int64_t>>(), held);
            const std::vector<int64_t> live(network.head_sets[l].begin(), network.head_sets[l].end());
            EXPECT_EQ(report.at("layers")[l].at("heads").get<std::vector<int64_t>>(), live);
            for (int64_t g = 0; g < kv_heads; ++g) {
              const bool lives = std::any_of(live.begin(), live.end(), [&](int64_t h) { return h / (heads / kv_heads) == g; });
              EXPECT_EQ(run.sequence->cache().token_positions(static_cast<int64_t>(l), g), lives ? held : std::vector<int64_t>{}) << "what is removed is freed";
            }
          }
        }
      }
    }
  }
}

TEST(Spatten, KeepingEverythingIsDense) {
  const Oracle oracle(8, 2, 20, 120);
  const auto dense = run_sequence(oracle, AttentionRequest{}, {100, 1}, 1, 2).out;
  EXPECT_LT(worst(run_sequence(oracle, request({{"tokens", "1,1"}}), {100, 1}, 1, 2).out, dense), 1e-4);
  // 16 bits of keys, and the low ones always read.
  EXPECT_LT(worst(run_sequence(oracle, request({{"tokens", "1,1"}, {"key_bits", "12+4"}, {"flat", "1"}}), {100, 1}, 1, 2).out, dense), 1e-2);
  EXPECT_GT(worst(run_sequence(oracle, request({{"tokens", "1,1"}, {"key_bits", "4+4"}, {"flat", "0"}}), {100, 1}, 1, 2).out, dense), 1e-2);
}

TEST(Spatten, QueriesOfRemovedTokensDoNotMatterToOthers) {
  const Oracle oracle(4, 2, 16, 60);
  const auto all = run_sequence(oracle, request({{"tokens", "1,0.5"}}), {50, 1}, 1, 2), some = run_sequence(oracle, request({{"tokens", "1,0.5"}, {"rows", "attended"}}), {50, 1}, 1, 2);
  EXPECT_EQ(all.sequence->policy().report().at("layers")[1].at("token_ids"), some.sequence->policy().report().at("layers")[1].at("token_ids"));
  const std::vector<float> a(all.out.begin() + 50 * 64, all.out.end()), b(some.out.begin() + 50 * 64, some.out.end());
  EXPECT_LT(worst(a, b), 1e-6);
  EXPECT_LT(some.sequence->counters().keys_attended, all.sequence->counters().keys_attended);
}

TEST(Spatten, LowBitsAreReadWhereTheSoftmaxIsFlat) {
  const Oracle oracle(2, 1, 16, 80);
  const auto run = [&](const std::string& flat) { return run_sequence(oracle, request({{"tokens", "1"}, {"key_bits", "8+4"}, {"flat", flat}}), {40, 1}); };
  const auto never = run("0"), some = run("0.3"), always = run("1");
  const auto share = [](const espalier::Run& r) { return r.sequence->policy().report().at("layers")[0].at("low_bits_read").get<double>(); };
  EXPECT_EQ(share(never), 0);
  EXPECT_EQ(share(always), 1);
  // By definition, from keys as the planes hold them.
  const KeyBits bits{8, 4};
  int64_t flat = 0;
  for (int64_t i = 40; i < 80; ++i)
    for (int64_t h = 0; h < 2; ++h) {
      const auto q = oracle.turned(oracle.q, 2, i, h, i);
      double sum = 0, largest = -1e30;
      std::vector<double> scores;
      for (int64_t j = 0; j <= i; ++j) {
        const auto exact = oracle.turned(oracle.k, 1, j, 0, j);
        const std::vector<float> key(exact.begin(), exact.end());
        const double scale = key_scale(bits, key.data(), 16);
        double score = 0;
        for (size_t c = 0; c < 16; ++c) score += q[c] * scale * high_part(bits, key_integer(bits, key[c], scale));
        scores.push_back(score * oracle.layer.scale);
        largest = std::max(largest, scores.back());
      }
      for (double s : scores) sum += std::exp(s - largest);
      flat += 1 / sum < 0.3;
    }
  EXPECT_NEAR(share(some), static_cast<double>(flat) / 80, 1e-9);
  EXPECT_GT(share(some), 0);
  EXPECT_LT(share(some), 1);
  // A step of one token and head reads 16 + 4 bytes a key, and 8 more where the row is flat; values are fp32.
  EXPECT_LT(never.sequence->counters().fast_bytes, some.sequence->counters().fast_bytes);
  EXPECT_LT(some.sequence->counters().fast_bytes, always.sequence->counters().fast_bytes);
}

TEST(Spatten, ControlsKeepAsMany) {
  const Oracle oracle(4, 2, 16, 60);
  std::vector<Json> ids;
  for (const char* rank : {"most", "least", "random"}) {
    const auto run = run_sequence(oracle, request({{"tokens", "1,0.5,0.25"}, {"rank", rank}}), {60}, 1, 3);
    const Json layers = run.sequence->policy().report().at("layers");
    EXPECT_EQ(layers[1].at("tokens"), 30);
    ids.push_back(layers[2].at("token_ids"));
    const auto inner = ids.back().get<std::vector<int>>(), outer = layers[1].at("token_ids").get<std::vector<int>>();
    EXPECT_EQ(inner.size(), 15u);
    EXPECT_TRUE(std::includes(outer.begin(), outer.end(), inner.begin(), inner.end()));
    EXPECT_EQ(inner.back(), 59) << "the last token always stays";
  }
  const auto recent = run_sequence(oracle, request({{"tokens", "1,0.5,0.25"}, {"recent", "20"}}), {60}, 1, 3).sequence->policy().report().at("layers");
  EXPECT_EQ(recent[1].at("token_ids")[10], 40) << "10 others and the last 20";
  std::vector<int> last(15);
  std::iota(last.begin(), last.end(), 45);
  EXPECT_EQ(recent[2].at("token_ids").get<std::vector<int>>(), last) << "where not all of them fit, the last";
  EXPECT_NE(ids[0], ids[1]);
  EXPECT_NE(ids[0], ids[2]);
}

TEST(Spatten, CountsValuesThatAreRead) {
  const Oracle oracle(4, 2, 16, 64);
  const auto run = run_sequence(oracle, request({{"tokens", "1"}, {"value_count", "3"}}), {64});
  EXPECT_EQ(run.sequence->counters().keys_attended, 4u * 64 * 65 / 2);
  EXPECT_EQ(run.sequence->counters().values_read, 4u * (1 + 2 + 3 * 62));
  EXPECT_EQ(run.sequence->counters().multiply_adds, 16 * (run.sequence->counters().keys_attended + run.sequence->counters().values_read));
}

TEST(Spatten, ThePresetCostsWhatThePaperSays) {
  const Oracle oracle(4, 4, 64, 1024);
  const auto dense = run_sequence(oracle, AttentionRequest{}, {1024}, 2, 24);
  const auto run = run_sequence(oracle, request({{"preset", "gpt2-medium"}, {"rows", "attended"}}), {1024}, 2, 24);
  EXPECT_LT(run.sequence->counters().multiply_adds, dense.sequence->counters().multiply_adds * 55 / 100);
  // Bytes of four decoded tokens against 16 bits dense.
  const auto step_bytes = [](AttentionRequest r, KvCodec codec) {
    r.codec = codec;
    const auto bytes = [&](int64_t tokens) { return run_sequence(Oracle(4, 4, 64, tokens), r, {1020, 1}, 2, 24).sequence->counters().fast_bytes; };
    return bytes(1024) - bytes(1020);
  };
  EXPECT_LT(step_bytes(request({{"preset", "gpt2-medium"}, {"reference", "1020"}}), KvCodec::kI8), step_bytes({}, KvCodec::kBF16) * 35 / 100);
}

TEST(Spatten, RefusesOptionsThatDoNotFit) {
  const auto message = [](std::map<std::string, std::string> options) -> std::string {
    try {
      run_sequence(Oracle(2, 1, 16, 50), request(std::move(options)), {50}, 1, 2);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({{"tokens", "1,0"}}), "policy 02-spatten: tokens: expected shares above 0 and up to 1, found 0 in layer 1");
  EXPECT_EQ(message({{"tokens", "1,1.5"}}), "policy 02-spatten: tokens: expected shares above 0 and up to 1, found 1.5 in layer 1");
  EXPECT_EQ(message({{"tokens", "0.5,0.6"}}), "policy 02-spatten: tokens: expected shares that do not rise from layer to layer, found 0.6 after 0.5 in layer 1");
  EXPECT_EQ(message({{"tokens", "0.5,0.5"}}), "policy 02-spatten: tokens: expected 1 for the first layer, which knows nothing of its tokens, found 0.5");
  EXPECT_EQ(message({{"tokens", "1"}}), "policy 02-spatten: tokens: expected 2 shares, one for each layer, found 1");
  EXPECT_EQ(message({{"heads", "1,x"}}), "policy 02-spatten: heads: expected numbers with commas between them, found 1,x");
  EXPECT_EQ(message({{"key_bits", "1+4"}}), "policy 02-spatten: key_bits: expected HIGH+LOW bits, 2 to 16 and 0 to 8, found 1+4");
  EXPECT_EQ(message({{"flat", "1.5"}}), "policy 02-spatten: flat: expected a number from 0 to 1, found 1.5");
  EXPECT_EQ(message({{"values", "0"}}), "policy 02-spatten: values: expected more than 0, found 0");
  EXPECT_EQ(message({{"preset", "gpt2-medium"}}), "policy 02-spatten: preset: expected a model of 24 layers for gpt2-medium, found 2");
}

}  // namespace
}  // namespace espalier::spatten_test
