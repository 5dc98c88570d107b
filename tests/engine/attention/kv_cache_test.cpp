#include "espalier/engine/attention/kv_cache.h"

#include <gtest/gtest.h>

#include <cmath>

#include "espalier/core/rng.h"

namespace espalier {
namespace {

AttentionLayer layer_of(int64_t kv_heads, int64_t size) {
  AttentionLayer layer;
  layer.heads = layer.kv_heads = kv_heads, layer.head_size = size;
  return layer;
}

std::vector<float> row(int64_t size, int64_t seed) {
  Rng rng(static_cast<uint64_t>(seed), "row");
  std::vector<float> x(static_cast<size_t>(size));
  for (float& value : x) value = static_cast<float>(rng.normal());
  return x;
}

void fill(PagedKvCache& cache, int64_t layer, int64_t g, int64_t begin, int64_t end) {
  const int64_t size = cache.layout(layer).head_size;
  cache.reserve(layer, g, end - begin);
  for (int64_t t = begin; t < end; ++t) cache.append(layer, g, t, row(size, t).data(), row(size, -t - 1).data());
}

std::vector<float> read(const PagedKvCache& cache, int64_t layer, int64_t g, int64_t position, bool key) {
  const KvLayout& l = cache.layout(layer);
  std::vector<float> x(static_cast<size_t>(l.head_size));
  for (const KvPage& page : cache.head(layer, g).pages)
    for (int64_t slot = 0; slot < page.used; ++slot)
      if ((page.alive >> slot & 1) != 0 && cache.position(layer, page, slot) == position)
        (key ? codec_ops(l.codec).read_key : codec_ops(l.codec).read_value)(l, page.memory, slot, x.data());
  return x;
}

TEST(PagedKvCache, CodecsGiveBackWhatTheyCanHold) {
  for (const KvCodec codec : {KvCodec::kF32, KvCodec::kBF16, KvCodec::kI8}) {
    KvCacheOptions options;
    options.codec = codec;
    PagedKvCache cache(std::vector{layer_of(1, 13)}, options);
    fill(cache, 0, 0, 0, 70);
    for (int64_t t = 0; t < 70; ++t)
      for (const bool key : {true, false}) {
        const auto x = row(13, key ? t : -t - 1), y = read(cache, 0, 0, t, key);
        float largest = 0;
        for (float value : x) largest = std::max(largest, std::fabs(value));
        for (size_t c = 0; c < x.size(); ++c) {
          const float bound = codec == KvCodec::kF32 ? 0 : codec == KvCodec::kBF16 ? std::fabs(x[c]) / 256 : largest / 127 * 0.501f;
          EXPECT_LE(std::fabs(x[c] - y[c]), bound) << t << " " << c;
        }
      }
  }
}

TEST(PagedKvCache, TokenBytesAreThoseOfTheCodec) {
  EXPECT_EQ(make_layout(KvCodec::kF32, 32, 64, 0).token_bytes, 512u);
  EXPECT_EQ(make_layout(KvCodec::kBF16, 32, 64, 0).token_bytes, 256u);
  EXPECT_EQ(make_layout(KvCodec::kI8, 32, 64, 0).token_bytes, 136u);
}

TEST(PagedKvCache, HeadsAreRagged) {
  PagedKvCache cache(std::vector{layer_of(2, 16), layer_of(1, 8)}, {});
  fill(cache, 0, 0, 0, 100);
  fill(cache, 0, 1, 0, 40);
  fill(cache, 1, 0, 5, 10);
  EXPECT_EQ(cache.head(0, 0).pages.size(), 4u);
  EXPECT_EQ(cache.head(0, 1).pages.size(), 2u);
  EXPECT_EQ(cache.bytes(), 6 * cache.layout(0).page_bytes + cache.layout(1).page_bytes);
  EXPECT_EQ(cache.token_positions(1, 0), (std::vector<int64_t>{5, 6, 7, 8, 9}));
}

TEST(PagedKvCache, DroppedPagesAreFreedAndLeaveHoles) {
  PagedKvCache cache(std::vector{layer_of(1, 16)}, {});
  fill(cache, 0, 0, 0, 200);
  const uint64_t page = cache.layout(0).page_bytes;
  EXPECT_EQ(cache.bytes(), 7 * page);
  cache.drop_page(0, 0, 2);
  for (int64_t t = 32; t < 64; ++t) EXPECT_TRUE(cache.drop_token(0, 0, t));
  EXPECT_FALSE(cache.drop_token(0, 0, 40)) << "it is gone";
  cache.trim(true);
  EXPECT_EQ(cache.bytes(), 5 * page);
  EXPECT_EQ(cache.head(0, 0).tokens, 200 - 64);
  EXPECT_EQ(cache.head(0, 0).pages[3].base, 96) << "page numbers stay those of the positions";
  EXPECT_EQ(read(cache, 0, 0, 100, true), row(16, 100));
  // The open page stays for the tokens to come.
  for (int64_t t = 192; t < 200; ++t) cache.drop_token(0, 0, t);
  fill(cache, 0, 0, 200, 220);
  EXPECT_EQ(cache.head(0, 0).pages[6].first, 200);
  EXPECT_EQ(cache.bytes(), 5 * page);
}

TEST(PagedKvCache, ARingReusesItsSlots) {
  KvCacheOptions options;
  options.reuse_slots = true;
  PagedKvCache cache(std::vector{layer_of(1, 16)}, options);
  for (int64_t t = 0; t < 500; ++t) {
    fill(cache, 0, 0, t, t + 1);
    cache.drop_between(0, 0, 4, t - 50);
  }
  cache.trim(true);
  EXPECT_EQ(cache.head(0, 0).pages.size(), 2u);
  EXPECT_EQ(cache.bytes(), 2 * cache.layout(0).page_bytes);
  EXPECT_EQ(cache.head(0, 0).tokens, 4 + 51);
  for (const int64_t t : {0, 3, 449, 499}) EXPECT_EQ(read(cache, 0, 0, t, false), row(16, -t - 1));
}

TEST(PagedKvCache, CompactingKeepsTokensAndTheirState) {
  KvCacheOptions options;
  options.extra = 1, options.codec = KvCodec::kI8;
  PagedKvCache cache(std::vector{layer_of(1, 16)}, options);
  fill(cache, 0, 0, 0, 128);
  for (const KvPage& page : cache.head(0, 0).pages)
    for (int64_t s = 0; s < 32; ++s) cache.extra(0, page, 0)[s] = static_cast<float>(cache.position(0, page, s));
  const auto key = read(cache, 0, 0, 120, true), value = read(cache, 0, 0, 120, false);
  for (int64_t t = 0; t < 128; ++t)
    if (t % 5 != 0) cache.drop_token(0, 0, t);
  cache.compact(0, 0);
  cache.trim(true);
  EXPECT_EQ(cache.bytes(), cache.layout(0).page_bytes) << "26 tokens";
  const KvPage& page = cache.head(0, 0).pages.at(0);
  for (int64_t s = 0; s < 26; ++s) {
    EXPECT_EQ(cache.position(0, page, s), 5 * s);
    EXPECT_EQ(cache.extra(0, page, 0)[s], static_cast<float>(5 * s));
  }
  EXPECT_EQ(read(cache, 0, 0, 120, true), key);
  EXPECT_EQ(read(cache, 0, 0, 120, false), value);
  fill(cache, 0, 0, 128, 129);
  EXPECT_EQ(cache.extra(0, page, 0)[26], 0.0f);
}

TEST(PagedKvCache, SlowPagesAreCountedApart) {
  PagedKvCache cache(std::vector{layer_of(1, 16)}, {});
  fill(cache, 0, 0, 0, 64);
  const uint64_t page = cache.layout(0).page_bytes;
  cache.move_page(0, 0, 0, Tier::kSlow);
  EXPECT_EQ(cache.bytes(Tier::kFast), page);
  EXPECT_EQ(cache.bytes(Tier::kSlow), page);
  EXPECT_EQ(cache.moved_bytes(Tier::kSlow), page);
  EXPECT_EQ(read(cache, 0, 0, 7, true), row(16, 7));
  cache.move_page(0, 0, 0, Tier::kFast);
  EXPECT_EQ(cache.moved_bytes(Tier::kFast), page);
  EXPECT_EQ(cache.bytes(Tier::kSlow), 0u);
}

TEST(PagedKvCache, ShortAndLongPages) {
  for (const int64_t tokens : {1, 4, 16, 64}) {
    KvCacheOptions options;
    options.page = tokens;
    PagedKvCache cache(std::vector{layer_of(1, 8)}, options);
    fill(cache, 0, 0, 0, 130);
    EXPECT_EQ(static_cast<int64_t>(cache.head(0, 0).pages.size()), (130 + tokens - 1) / tokens);
    EXPECT_EQ(read(cache, 0, 0, 129, true), row(8, 129));
  }
}

}  // namespace
}  // namespace espalier
