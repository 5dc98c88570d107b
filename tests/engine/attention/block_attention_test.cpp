#include "espalier/engine/attention/block_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "espalier/engine/simd.h"
#include "tests/engine/attention/oracle.h"

namespace espalier {
namespace {

constexpr int64_t kTokens = 150, kRows = 11;

// One KV head with rows of queries at positions kTokens - 1 - 5 · (kRows - 1 - r).
struct Scene {
  Oracle oracle;
  PagedKvCache cache;
  const BlockKernels* kernels;
  const BlockKernels* plain;
  RotaryRows rotation;

  Scene(int64_t size, const KvCacheOptions& options, SimdLevel level)
      : oracle(kRows, 1, size, kTokens), cache(std::vector{oracle.layer}, options), kernels(&block_kernels(options.codec, level)),
        plain(&block_kernels(KvCodec::kF32, level)), rotation(std::vector{oracle.layer}) {
    rotation.extend(kTokens);
    cache.reserve(0, 0, kTokens);
    for (int64_t t = 0; t < kTokens; ++t) {
      std::vector<float> key(oracle.k.begin() + t * size, oracle.k.begin() + (t + 1) * size);
      if (options.keys == KeyForm::kRotated) rotation.rotate(0, t, key.data());
      cache.append(0, 0, t, key.data(), oracle.v.data() + t * size);
    }
  }

  static int64_t position(int64_t r) { return kTokens - 1 - 5 * (kRows - 1 - r); }

  PageList pages(int64_t begin, int64_t end) const {
    PageList list;
    list.cache = &cache, list.begin = begin, list.end = end;
    list.kernels = kernels, list.plain_kernels = plain, list.rotation = &rotation;
    return list;
  }
  PageList pages() const { return pages(0, static_cast<int64_t>(cache.head(0, 0).pages.size())); }

  void load(BlockRows& rows) const {
    const int64_t size = oracle.layer.head_size;
    rows.reserve(cache.layout(0).width);
    rows.start(kRows, cache.layout(0).width);
    for (int64_t r = 0; r < kRows; ++r) {
      rows.position(r) = static_cast<int32_t>(position(r));
      std::fill_n(rows.q(r), cache.layout(0).width, 0.0f);
      std::copy_n(oracle.q.data() + (position(r) * kRows + r) * size, size, rows.q(r));
      rotation.rotate(0, position(r), rows.q(r));
      for (int64_t c = 0; c < size; ++c) rows.q(r)[c] *= static_cast<float>(oracle.layer.scale);
    }
  }
};

bool sees(const Selection& s, int64_t model_window, int64_t i, int64_t j) {
  const bool chosen = s.kind == Selection::Kind::kAll ||
                      std::binary_search(s.ids.begin(), s.ids.end(), static_cast<int32_t>(s.kind == Selection::Kind::kBlocks ? j / s.block : j));
  return j <= i && (model_window == 0 || i - j < model_window) && !std::binary_search(s.exclude.begin(), s.exclude.end(), static_cast<int32_t>(j)) &&
         (chosen || j < s.sink || i - j < s.window);
}

std::vector<Selection> selections() {
  std::vector<Selection> list(6);
  list[1].exclude = {0, 17, 60, 149};
  list[2].kind = Selection::Kind::kBlocks, list[2].ids = {0, 2, 3}, list[2].block = 32;
  list[3].kind = Selection::Kind::kBlocks, list[3].ids = {1, 9, 20, 21, 22}, list[3].block = 4, list[3].sink = 2, list[3].window = 9;
  list[4].kind = Selection::Kind::kTokens, list[4].ids = {3, 4, 31, 32, 63, 90, 99, 140, 148}, list[4].window = 1, list[4].exclude = {90};
  list[5].kind = Selection::Kind::kTokens, list[5].window = 33;
  return list;
}

// Outputs, log-sum-exp, column sums, row maxima and counts of every selection, codec and level against the definition.
void check(const KvCacheOptions& options, SimdLevel level, int64_t size, double bound, bool holes) {
  Scene scene(size, options, level);
  const auto gone = [&](int64_t j) { return holes && (j % 7 == 3 || j / 32 == 1); };
  for (int64_t j = 0; j < kTokens; ++j)
    if (gone(j)) scene.cache.drop_token(0, 0, j);
  for (const Selection& selection : selections())
    for (const int64_t model_window : {0, 70}) {
      SelectionBits bits;
      bits.set(selection, kTokens);
      const PageMasks masks(selection, bits, model_window);
      BlockRows rows;
      scene.load(rows);
      const BlockCounts counts = rows.attend(scene.pages(), masks, false);
      std::vector<float> sums(static_cast<size_t>(scene.pages().end) * kMaxPageTokens, 0.0f);
      rows.add_column_sums(scene.pages(), masks, false, sums.data());
      std::vector<double> columns(static_cast<size_t>(kTokens), 0.0);
      uint64_t pairs = 0;
      for (int64_t r = 0; r < kRows; ++r) {
        const int64_t i = Scene::position(r);
        const auto look = [&](int64_t, int64_t, int64_t j) { return !gone(j) && sees(selection, model_window, i, j); };
        const auto p = scene.oracle.probabilities(r, i, look);
        std::vector<double> expected(static_cast<size_t>(size), 0.0);
        for (int64_t j = 0; j <= i; ++j) {
          if (!look(0, i, j)) continue;
          ++pairs;
          columns[static_cast<size_t>(j)] += p[static_cast<size_t>(j)];
          for (int64_t c = 0; c < size; ++c)
            expected[static_cast<size_t>(c)] += p[static_cast<size_t>(j)] * static_cast<double>(scene.oracle.v[static_cast<size_t>(j * size + c)]);
        }
        std::vector<float> out(static_cast<size_t>(size));
        rows.write(r, size, out.data());
        EXPECT_LT(worst(out, expected), bound) << name_of(level) << " row " << r;
        const double largest = *std::max_element(p.begin(), p.end());
        if (largest > 0) {
          EXPECT_NEAR(std::exp(rows.maximum(r) - rows.log_sum_exp(r)), largest, bound);
        }
      }
      EXPECT_EQ(counts.pairs, pairs);
      for (size_t i = 0; i < scene.cache.head(0, 0).pages.size(); ++i) {
        const KvPage& page = scene.cache.head(0, 0).pages[i];
        for (uint64_t left = page.alive; left != 0; left &= left - 1) {
          const int slot = std::countr_zero(left);
          EXPECT_NEAR(sums[i * kMaxPageTokens + static_cast<size_t>(slot)], columns[static_cast<size_t>(scene.cache.position(0, page, slot))], bound);
        }
      }
    }
}

TEST(BlockAttention, EverySelectionOnEveryLevel) {
  for (const SimdLevel level : machine_simd_levels())
    for (const int64_t size : {20, 64, 80}) check({}, level, size, 1e-5, false);
}

TEST(BlockAttention, PagesWithHoles) {
  for (const SimdLevel level : machine_simd_levels()) check({}, level, 20, 1e-5, true);
}

TEST(BlockAttention, PagesOfEveryLength) {
  for (const SimdLevel level : machine_simd_levels())
    for (const int64_t page : {1, 4, 16, 64}) {
      KvCacheOptions options;
      options.page = page;
      check(options, level, 20, 1e-5, page > 1);
    }
}

TEST(BlockAttention, RawKeysAreRotatedAsTheyAreRead) {
  for (const SimdLevel level : machine_simd_levels()) {
    KvCacheOptions options;
    options.keys = KeyForm::kRaw;
    check(options, level, 20, 1e-5, true);
  }
}

TEST(BlockAttention, CodecsStayWithinTheirBounds) {
  for (const SimdLevel level : machine_simd_levels()) {
    KvCacheOptions options;
    options.codec = KvCodec::kBF16;
    check(options, level, 64, 0.05, true);
    options.codec = KvCodec::kI8;
    check(options, level, 64, 0.15, true);
  }
}

TEST(BlockAttention, LevelsAgree) {
  for (const KvCodec codec : {KvCodec::kF32, KvCodec::kBF16, KvCodec::kI8}) {
    std::vector<float> first;
    for (const SimdLevel level : machine_simd_levels()) {
      KvCacheOptions options;
      options.codec = codec;
      Scene scene(64, options, level);
      Selection selection;
      SelectionBits bits;
      bits.set(selection, kTokens);
      BlockRows rows;
      scene.load(rows);
      rows.attend(scene.pages(), PageMasks(selection, bits, 0), false);
      std::vector<float> out(static_cast<size_t>(kRows * 64));
      for (int64_t r = 0; r < kRows; ++r) rows.write(r, 64, out.data() + r * 64);
      if (first.empty()) first = out;
      // The highest level rounds queries and probabilities: for bf16 to bf16, for int8 to integers of 16 bits.
      const bool rounds = level == SimdLevel::kAvx512Bf16;
      EXPECT_LT(worst(out, first), !rounds || codec == KvCodec::kF32 ? 1e-5 : codec == KvCodec::kI8 ? 2e-3 : 0.03) << name_of(level);
    }
  }
}

TEST(BlockAttention, PartialResultsMerge) {
  Scene scene(20, {}, simd_level());
  Selection selection;
  SelectionBits bits;
  bits.set(selection, kTokens);
  const PageMasks masks(selection, bits, 40);  // so that some parts have no visible key for some rows
  BlockRows whole, part;
  scene.load(whole);
  whole.attend(scene.pages(), masks, false);
  std::vector<std::vector<float>> states;
  for (const auto& [begin, end] : {std::pair{0, 1}, std::pair{1, 4}, std::pair{4, 5}}) {
    scene.load(part);
    part.attend(scene.pages(begin, end), masks, false);
    part.save(states.emplace_back(static_cast<size_t>(kRows) * (scene.cache.layout(0).width + 2)).data());
  }
  part.start(kRows, scene.cache.layout(0).width);
  for (const auto& state : states) part.merge(state.data());
  for (int64_t r = 0; r < kRows; ++r) {
    std::vector<float> a(20), b(20);
    whole.write(r, 20, a.data()), part.write(r, 20, b.data());
    EXPECT_LT(worst(a, b), 1e-6);
    EXPECT_NEAR(whole.log_sum_exp(r), part.log_sum_exp(r), 1e-5);
  }
}

TEST(BlockAttention, ARowThatSeesNothingIsZero) {
  Scene scene(20, {}, simd_level());
  Selection selection;
  selection.kind = Selection::Kind::kTokens, selection.ids = {120};
  SelectionBits bits;
  bits.set(selection, kTokens);
  BlockRows rows;
  scene.load(rows);
  rows.attend(scene.pages(), PageMasks(selection, bits, 0), false);
  std::vector<float> out(20, 1.0f);
  rows.write(0, 20, out.data());  // position 99
  EXPECT_EQ(out, std::vector<float>(20, 0.0f));
  EXPECT_EQ(rows.log_sum_exp(0), -INFINITY);
  rows.write(kRows - 1, 20, out.data());
  EXPECT_LT(worst(out, std::vector<float>(scene.oracle.v.begin() + 120 * 20, scene.oracle.v.begin() + 121 * 20)), 1e-6);
}

}  // namespace
}  // namespace espalier
