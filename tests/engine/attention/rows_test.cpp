// Tokens in rows: gathering them, and attention over them beside attention over pages in the first form.
#include <gtest/gtest.h>

#include <cstring>

#include "espalier/engine/attention/block_kernels.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/attention/row_gather.h"
#include "espalier/engine/simd.h"
#include "tests/engine/attention/oracle.h"

namespace espalier {
namespace {

TEST(Rows, AreGatheredAlikeOnEveryLevel) {
  Rng rng(3, "rows");
  for (const int64_t width : {16, 48, 64, 128})
    for (const int64_t group : {1, 2, 4})
      for (const int64_t count : {1, 15, 16, 33, 64}) {
        const size_t part = static_cast<size_t>(width) * 4 / static_cast<size_t>(group), stride = 2 * part + 16;
        std::vector<std::byte> memory(stride * 64);
        for (std::byte& b : memory) b = static_cast<std::byte>(rng.below(256));
        std::vector<const std::byte*> rows;
        for (int64_t j = 0; j < count; ++j) rows.push_back(memory.data() + static_cast<size_t>(rng.below(64)) * stride);
        RowGather from;
        from.rows = rows.data(), from.count = count, from.next = rows.data(), from.next_count = count / 2;
        from.width = width, from.group = group, from.values = part;
        const auto element = [&](const std::byte* p, size_t i) { return std::vector<std::byte>(p + i * 4 / static_cast<size_t>(group), p + (i + 1) * 4 / static_cast<size_t>(group)); };
        for (const SimdLevel level : machine_simd_levels()) {
          std::vector<std::byte> keys(static_cast<size_t>(width * kScoreStride) * 4), values(keys.size());
          row_gather(level)(from, keys.data(), values.data());
          for (int64_t j = 0; j < count; ++j)
            for (int64_t c = 0; c < width; ++c) {
              const auto at = static_cast<size_t>(c);
              ASSERT_EQ(element(keys.data(), static_cast<size_t>((c / group * kScoreStride + j) * group + c % group)), element(rows[static_cast<size_t>(j)], at));
              ASSERT_EQ(element(values.data(), static_cast<size_t>((j / group * width + c) * group + j % group)), element(rows[static_cast<size_t>(j)] + part, at));
            }
          for (int64_t j = count; j % group != 0; ++j)
            for (int64_t c = 0; c < width; ++c) ASSERT_EQ(element(values.data(), static_cast<size_t>((j / group * width + c) * group + j % group)), std::vector<std::byte>(static_cast<size_t>(4 / group)));
        }
      }
}

// Every third token and a window, in rows or in pages.
class Thirds : public AttentionPolicy {
 public:
  Thirds(bool rows, int64_t page, bool alone) : alone_(alone) {
    needs_.select = true, needs_.query_block = 1;
    needs_.cache.rows = rows, needs_.cache.page = page;
    needs_.steps_alone = alone;
  }
  const PolicyNeeds& needs() const override { return needs_; }
  uint64_t select(const SelectQuery& query, Selection& selection) const override {
    EXPECT_TRUE(!alone_ || query.rows == 1);
    selection.kind = Selection::Kind::kTokens, selection.window = 5;
    for (int64_t j = query.kv_head; j <= query.position; j += 3) selection.ids.push_back(static_cast<int32_t>(j));
    return 0;
  }

 private:
  PolicyNeeds needs_;
  bool alone_;
};

const RegisterPolicy thirds({"test-thirds", "", 0, "", {{"rows", "int", "1", "", ""}, {"page", "int", "64", "", ""}, {"alone", "int", "0", "", ""}},
                             [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> {
                               return std::make_unique<Thirds>(c.integer("rows", 0, 1) == 1, c.integer("page", 1, 64), c.integer("alone", 0, 1) == 1);
                             }});

AttentionRequest thirds_request(KvCodec codec, bool rows, int64_t page, bool alone = false) {
  AttentionRequest r;
  r.policy = "test-thirds", r.codec = codec;
  r.options = {{"rows", rows ? "1" : "0"}, {"page", std::to_string(page)}, {"alone", alone ? "1" : "0"}};
  return r;
}

bool third(int64_t g, int64_t i, int64_t j) { return i - j < 5 || j % 3 == g % 3; }

TEST(Rows, AttentionIsItsDefinitionAndThatOfPages) {
  for (const auto& [heads, kv_heads, size] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{{4, 2, 16}, {3, 3, 20}, {40, 1, 8}}) {
    const Oracle oracle(heads, kv_heads, size, 210);
    const auto expected = oracle.attend(third);
    for (const KvCodec codec : {KvCodec::kF32, KvCodec::kBF16, KvCodec::kI8}) {
      const auto in_pages = run_sequence(oracle, thirds_request(codec, false, 32), {150, 1});
      for (const int64_t page : {64, 16}) {
        const auto in_rows = run_sequence(oracle, thirds_request(codec, true, page), {150, 1}, 2);
        if (codec == KvCodec::kF32) EXPECT_LT(worst(in_rows.out, expected), 1e-5);
        // Rounded probabilities depend on what stands beside them.
        EXPECT_LT(worst(in_rows.out, in_pages.out), codec == KvCodec::kF32 ? 1e-5 : 2e-2);
        EXPECT_EQ(in_rows.sequence->counters().keys_attended, in_pages.sequence->counters().keys_attended);
        EXPECT_EQ(in_rows.sequence->counters().fast_bytes, in_pages.sequence->counters().fast_bytes);
      }
    }
  }
}

TEST(Rows, ThreadsAgreeAndStepsAloneSelect) {
  const Oracle oracle(4, 2, 16, 300);
  const auto one = run_sequence(oracle, thirds_request(KvCodec::kF32, true, 64), {250, 1}, 1);
  EXPECT_EQ(run_sequence(oracle, thirds_request(KvCodec::kF32, true, 64), {250, 1}, 2).out, one.out);
  const auto alone = run_sequence(oracle, thirds_request(KvCodec::kF32, true, 64, true), {250, 1}, 2);
  EXPECT_LT(worst(alone.out, oracle.attend([](int64_t g, int64_t i, int64_t j) { return i < 250 || third(g, i, j); })), 1e-5) << "a prompt sees everything";
}

}  // namespace
}  // namespace espalier
