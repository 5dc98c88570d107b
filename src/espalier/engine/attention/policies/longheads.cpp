#include "espalier/engine/attention/policies/longheads.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/core/largest_scores.h"
#include "espalier/core/rng.h"
#include "espalier/engine/simd.h"

namespace espalier {

LongHeads::LongHeads(std::span<const AttentionLayer> layers, KvCodec codec, const LongHeadsOptions& options)
    : layers_(layers.begin(), layers.end()), options_(options), kernels_(block_kernels(codec, simd_level())),
      plain_kernels_(block_kernels(KvCodec::kF32, simd_level())), places_(layers_), states_(layers_.size()) {
  needs_.select = needs_.on_append = needs_.end_chunk = true;
  needs_.per_head = options.per_head;
  needs_.query_block = 1;
  needs_.any_length = true;
  needs_.select_from = std::max<int64_t>(0, options.start - 1);
  needs_.chunk = options.chunk;
  needs_.cache.page = std::gcd(options.chunk, kMaxPageTokens);
  needs_.selection.positions = Selection::Positions::kPacked, needs_.selection.block = options.chunk;
  places_.prepare(options.chunk, [](int64_t t) { return t; });
}

void LongHeads::begin_sequence(PagedKvCache& cache) {
  int64_t width = 0;
  for (size_t l = 0; l < layers_.size(); ++l) {
    width = std::max(width, cache.layout(static_cast<int64_t>(l)).width);
    states_[l].queries.resize(static_cast<size_t>(options_.chunk * layers_[l].heads * layers_[l].head_size));
    states_[l].vectors.resize(static_cast<size_t>(layers_[l].heads));
  }
  rows_.reserve(width);
}

void LongHeads::before_forward(PagedKvCache&, int64_t, int64_t tokens) { tokens_ = tokens; }

void LongHeads::on_append(PagedKvCache&, const AppendedTokens& appended) {
  State& state = states_[static_cast<size_t>(appended.layer)];
  const AttentionLayer& layer = layers_[static_cast<size_t>(appended.layer)];
  const int64_t row = layer.heads * layer.head_size;
  for (int64_t t = 0; t < appended.tokens; ++t)
    std::copy_n(appended.input->q + t * appended.input->q_stride, row, state.queries.data() + (appended.position + t) % options_.chunk * row);
}

// Where all chunks fit, where the model itself sees no further than a window, and in the first part of a prompt.
bool LongHeads::sees_all(const SelectQuery& query) const {
  const bool early = query.position < options_.start && tokens_ > 1;
  return early || query.position / options_.chunk < options_.chunks || layers_[static_cast<size_t>(query.layer)].window > 0;
}

uint64_t LongHeads::select(const SelectQuery& query, Selection& selection) const {
  if (sees_all(query)) return 0;
  const AttentionLayer& layer = layers_[static_cast<size_t>(query.layer)];
  const int64_t group = layer.heads / layer.kv_heads, own = query.position / options_.chunk;
  const int64_t first = query.head < 0 ? query.kv_head * group : query.head, heads = query.head < 0 ? group : 1;
  thread_local std::vector<float> scores;  // of chunks 1 … own - 2
  thread_local LargestScores largest;
  scores.assign(static_cast<size_t>(own - 2), 0.0f);
  if (options_.random) {
    Rng rng(options_.seed, fmt::format("longheads/{}/{}/{}", query.layer, first, query.position));
    for (float& score : scores) score = static_cast<float>(rng.uniform());
  } else {
    for (int64_t head = first; head < first + heads; ++head)
      for (int64_t j = 1; j <= own - 2; ++j)
        scores[static_cast<size_t>(j - 1)] += score(query.layer, head, j, query.q + head * layer.head_size);
  }
  selection.kind = Selection::Kind::kBlocks;
  largest.choose(scores, options_.chunks - 3, selection.ids);
  for (int32_t& id : selection.ids) ++id;
  selection.ids.insert(selection.ids.begin(), 0);
  for (const int64_t last : {own - 1, own}) selection.ids.push_back(static_cast<int32_t>(last));
  return options_.random ? 0 : static_cast<uint64_t>(heads * (own - 2));
}

float LongHeads::score(int layer, int64_t head, int64_t chunk, const float* q) const {
  const int64_t size = layers_[static_cast<size_t>(layer)].head_size;
  const float* vector = states_[static_cast<size_t>(layer)].vectors[static_cast<size_t>(head)].data() + chunk * size;
  float sum = 0;
  for (int64_t c = 0; c < size; ++c) sum += q[c] * vector[c];
  return sum;
}

void LongHeads::end_chunk(PagedKvCache& cache, int index, int64_t length) {
  const AttentionLayer& layer = layers_[static_cast<size_t>(index)];
  if (layer.window > 0) {
    for (int64_t g = 0; g < layer.kv_heads; ++g) cache.drop_between(index, g, 0, length - layer.window + 1);
    return;
  }
  for (int64_t head = 0; head < layer.heads; ++head) {
    const std::vector<float> vector = represent(cache, index, head, length / options_.chunk - 1).vector;
    auto& all = states_[static_cast<size_t>(index)].vectors[static_cast<size_t>(head)];
    all.insert(all.end(), vector.begin(), vector.end());
  }
}

std::vector<float> LongHeads::mean_output(const PagedKvCache& cache, int index, int64_t head, int64_t chunk) {
  const AttentionLayer& layer = layers_[static_cast<size_t>(index)];
  const int64_t size = layer.head_size, width = cache.layout(index).width, pages = options_.chunk / cache.options().page;
  const auto scale = static_cast<float>(layer.scale);
  PageList list;
  list.cache = &cache, list.layer = index, list.kv_head = head / (layer.heads / layer.kv_heads);
  list.begin = chunk * pages, list.end = list.begin + pages;
  list.kernels = &kernels_, list.plain_kernels = &plain_kernels_, list.rotation = &places_;
  const Selection all;
  const SelectionBits bits;
  std::vector<float> mean(static_cast<size_t>(size), 0.0f), out(static_cast<size_t>(size));
  for (int64_t first = 0; first < options_.chunk; first += kBlockRows) {
    const int64_t count = std::min(kBlockRows, options_.chunk - first);
    rows_.start(count, width);
    for (int64_t r = 0; r < count; ++r) {
      float* q = rows_.q(r);
      std::copy_n(states_[static_cast<size_t>(index)].queries.data() + ((first + r) * layer.heads + head) * size, size, q);
      places_.rotate(index, first + r, q);
      for (int64_t c = 0; c < size; ++c) q[c] *= scale;
      std::fill(q + size, q + width, 0.0f);
      // All stand at the chunk's last token: each sees the whole chunk.
      rows_.position(r) = static_cast<int32_t>((chunk + 1) * options_.chunk - 1);
    }
    rows_.attend(list, PageMasks(all, bits, 0), false);
    for (int64_t r = 0; r < count; ++r) {
      rows_.write(r, size, out.data());
      for (int64_t c = 0; c < size; ++c) mean[static_cast<size_t>(c)] += out[static_cast<size_t>(c)];
    }
  }
  for (float& x : mean) x /= static_cast<float>(options_.chunk);
  return mean;
}

// One query whose values are the keys themselves.
LongHeads::Representation LongHeads::represent(const PagedKvCache& cache, int index, int64_t head, int64_t chunk) {
  const AttentionLayer& layer = layers_[static_cast<size_t>(index)];
  const KvLayout& layout = cache.layout(index);
  const KvHead& stored = cache.head(index, head / (layer.heads / layer.kv_heads));
  const auto size = static_cast<size_t>(layer.head_size);
  Representation result{mean_output(cache, index, head, chunk), std::vector<float>(size, 0.0f)};
  std::vector<float> keys(static_cast<size_t>(options_.chunk) * size), weights(static_cast<size_t>(options_.chunk));
  for (int64_t t = 0; t < options_.chunk; ++t) {
    const int64_t token = chunk * options_.chunk + t;
    float* key = keys.data() + static_cast<size_t>(t) * size;
    codec_ops(layout.codec).read_key(layout, stored.pages[static_cast<size_t>(token / layout.tokens)].memory, token % layout.tokens, key);
    const float product = std::inner_product(key, key + size, result.mean.begin(), 0.0f);
    weights[static_cast<size_t>(t)] = product * static_cast<float>(layer.scale);
  }
  const float largest = *std::max_element(weights.begin(), weights.end());
  float sum = 0;
  for (float& w : weights) sum += w = std::exp(w - largest);
  for (size_t t = 0; t < weights.size(); ++t)
    for (size_t c = 0; c < size; ++c) result.vector[c] += weights[t] / sum * keys[t * size + c];
  return result;
}

namespace {

constexpr int64_t kMost = int64_t{1} << 30;

// Both follow the model where they are not given: 4096 tokens or its context, in 16 chunks of at most 256.
std::pair<int64_t, int64_t> chunk_and_attention(const PolicyContext& c) {
  const int64_t context = c.trained > 0 ? c.trained : c.capacity, usual = std::min<int64_t>(4096, context);
  int64_t attention = c.has("attention") ? c.integer("attention", 1, kMost) : usual;
  const int64_t chunk = c.has("chunk") ? c.integer("chunk", 1, context) : std::clamp<int64_t>(attention / 16, 1, 256);
  if (!c.has("attention")) attention = attention / chunk * chunk;
  if (attention % chunk != 0) c.fail("attention", fmt::format("a multiple of chunk, {}", chunk), std::to_string(attention));
  if (attention / chunk < 4) c.fail("attention", fmt::format("at least 4 chunks of {} tokens", chunk), std::to_string(attention));
  if (attention > context && c.integer("allow_extrapolation", 0, 1) == 0)
    c.fail("attention", fmt::format("at most the context of {} tokens, or allow_extrapolation=1", context), std::to_string(attention));
  return {chunk, attention};
}

std::unique_ptr<AttentionPolicy> make_longheads(const PolicyContext& c) {
  const auto turns = [](const AttentionLayer& layer) { return !layer.inverse_frequency.empty(); };
  if (std::none_of(c.layers.begin(), c.layers.end(), turns)) c.fail("model", "rotary positions", "none in any layer");
  const auto [chunk, attention] = chunk_and_attention(c);
  LongHeadsOptions options;
  options.chunk = chunk, options.chunks = attention / chunk;
  options.start = c.has("start") ? c.integer("start", 1, kMost) : attention;
  options.per_head = c.choice("per", {"head", "group"}) == 0;
  options.random = c.choice("rank", {"best", "random"}) == 1, options.seed = c.seed;
  return std::make_unique<LongHeads>(c.layers, c.codec, options);
}

const RegisterPolicy longheads(
    {"28-longheads", "LongHeads", 2024, "each head sees a few chunks side by side, at positions that the model was made for",
     {{"attention", "int", "", "4 chunks … context", "tokens that a query sees, a multiple of chunk; default 4096, or the context"},
      {"chunk", "int", "", "1 … context", "tokens of a chunk; default a sixteenth of attention, at most 256"},
      {"start", "int", "", "1 … 2^30", "queries of a prompt before this position see everything; default attention"},
      {"per", "text", "head", "head, group", "chunks for each query head, or the same for those of a KV head"},
      {"rank", "text", "best", "best, random", "which chunks besides those that are always taken; random is a control"},
      {"allow_extrapolation", "int", "0", "0, 1", "1: attention may exceed the model's context"}},
     make_longheads});

}  // namespace
}  // namespace espalier
