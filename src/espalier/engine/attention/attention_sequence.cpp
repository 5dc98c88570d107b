#include <algorithm>
#include <limits>

#include "espalier/core/error.h"
#include "espalier/engine/attention/block_attention.h"
#include "espalier/engine/attention/policy.h"
#include "espalier/engine/attention/row_blocks.h"
#include "espalier/engine/attention/sequence.h"
#include "espalier/engine/simd.h"

namespace espalier {
namespace {

// Few rows over many keys are cut into ranges of this many pages, whatever the number of threads, and merged in order.
constexpr int64_t kSplitPages = 32;
// Where at most one page in so many is read, ranges would hold next to nothing: each block goes over all pages at once.
constexpr int64_t kSparse = 4;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What a thread needs for itself.
struct RankScratch {
  BlockRows rows;
  SelectionBits bits;
  std::vector<float> key;
  AttentionCounters counters;
  const Selection* looked_up = nullptr;  // in `bits`, while the units of a chunk run
  int64_t flat_rows = 0;       // since the last statistics
  uint64_t values_before = 0;  // counters.values_read at the last statistics
};

}  // namespace

struct AttentionSequence::State {
  State(std::shared_ptr<const std::vector<AttentionLayer>> layers_, const AttentionRequest& request, int64_t capacity_)
      : layers(std::move(layers_)), capacity(capacity_), policy(make_policy(request, *layers, capacity)), needs(policy->needs()),
        cache(*layers, cache_options(request)), kernels(block_kernels(request.codec, simd_level())),
        plain_kernels(block_kernels(KvCodec::kF32, simd_level())), rotation(*layers), sink_rotation(*layers), all_rotation(*layers) {
    if (needs.cache.rows)
      ESP_ASSERT(!needs.column_sums && needs.value_share >= 1 && needs.value_count == 0 && needs.flat_below < 0 && !packed() && !raw() &&
                 needs.selection.positions == Selection::Positions::kTrue && policy->far_keys() == nullptr);
    policy->begin_sequence(cache);
  }

  KvCacheOptions cache_options(const AttentionRequest& request) const {
    KvCacheOptions options = needs.cache;
    options.codec = request.codec;
    return options;
  }

  bool packed() const { return needs.selection.positions == Selection::Positions::kPacked; }
  bool raw() const { return cache.options().keys == KeyForm::kRaw; }
  bool separate_sinks(int layer) const { return needs.selection.positions == Selection::Positions::kCache && rotation.rotates(layer); }
  // Column sums, the largest probabilities and flatness need the whole sum first.
  bool splittable(const RowBlocks& blocks) const {
    return !needs.column_sums && needs.value_share >= 1 && needs.value_count == 0 && needs.flat_below < 0 && blocks.per_kv_head() == blocks.head_parts();
  }
  const AttentionLayer& at(int layer) const { return (*layers)[static_cast<size_t>(layer)]; }
  int64_t max_pages(int layer) const;
  void reserve(int64_t tokens, int team);
  void reserve_layer(int layer, int64_t tokens);
  void reserve_rows(const RowBlocks& blocks);
  void prepare_rotation(int64_t tokens);

  // Steps of attend() for tokens [begin, end) of the forward.
  void attend_chunk(int layer, const AttentionInput& input, int64_t begin, int64_t end, const TeamRank& team);
  void call_hooks(int layer, const AttentionInput& input, int64_t begin, int64_t end);
  void append(int layer, const AttentionInput& input, int64_t begin, int64_t end, const TeamRank& team);
  void select(const RowBlocks& blocks, const AttentionInput& input, const TeamRank& team);
  void run_units(const RowBlocks& blocks, const AttentionInput& input, int64_t splits, const TeamRank& team);
  void merge_splits(const RowBlocks& blocks, const AttentionInput& input, int64_t splits, const TeamRank& team);
  void finish_chunk(const RowBlocks& blocks, const AttentionInput& input, bool chunk_ends);

  void load(RankScratch& scratch, const RowBlocks& blocks, const RowBlock& block, const AttentionInput& input) const;
  void store(RankScratch& scratch, const RowBlocks& blocks, const RowBlock& block, const AttentionInput& input);
  PageList pages(const RowBlocks& blocks, int64_t kv_head, int64_t split, int64_t splits) const;
  int64_t splits_of(const RowBlocks& blocks) const;
  const Selection& selection_of(const RowBlocks& blocks, const RowBlock& block) const;
  void attend_block(RankScratch& scratch, const RowBlocks& blocks, const RowBlock& block, const PageList& list, bool whole);
  float* partial(const RowBlocks& blocks, int64_t unit) { return partials.data() + unit * blocks.most_rows() * (cache.layout(blocks.layer()).width + 2); }

  std::shared_ptr<const std::vector<AttentionLayer>> layers;
  int64_t capacity, length = 0;
  std::unique_ptr<AttentionPolicy> policy;
  PolicyNeeds needs;
  PagedKvCache cache;
  const BlockKernels &kernels, &plain_kernels;
  // Of the forward's tokens; of the same as they stand to sinks; of every position (raw keys).
  RotaryRows rotation, sink_rotation, all_rotation;
  AttentionCounters counters;

  // Scratch of the forward that runs.
  int64_t tokens = 0;
  std::vector<RankScratch> ranks;
  std::vector<float> partials, column_sums, log_sum_exp, row_maximum;
  std::vector<Selection> selections;
};

int64_t AttentionSequence::State::max_pages(int layer) const {
  size_t most = 0;
  for (int64_t g = 0; g < cache.kv_heads(layer); ++g) {
    const KvHead& head = cache.head(layer, g);
    most = std::max(most, head.pages.size() + head.reserved.size());
  }
  return static_cast<int64_t>(most);
}

void AttentionSequence::State::prepare_rotation(int64_t count) {
  rotation.prepare(count, [&](int64_t t) { return length + t; });
  if (raw() || packed()) all_rotation.extend(length + count);
  const Selection& s = needs.selection;
  if (s.positions == Selection::Positions::kCache)
    sink_rotation.prepare(count, [&](int64_t t) { return std::min(length + t, s.sink + s.window - 1); });
}

void AttentionSequence::State::reserve_layer(int layer, int64_t count) {
  for (int64_t g = 0; g < cache.kv_heads(layer); ++g) cache.reserve(layer, g, count);
  reserve_rows(RowBlocks(at(layer), layer, needs, length, 0, count));
  const int64_t first_selected = std::max<int64_t>(0, needs.select_from - length);
  if (first_selected > 0 && first_selected < count) reserve_rows(RowBlocks(at(layer), layer, needs, length, first_selected, count));
}

void AttentionSequence::State::reserve_rows(const RowBlocks& blocks) {
  const int layer = blocks.layer();
  const int64_t width = cache.layout(layer).width, most = max_pages(layer), count = blocks.end() - blocks.begin();
  const auto grow = [](std::vector<float>& list, int64_t size) { list.resize(std::max(list.size(), static_cast<size_t>(size))); };
  // A piece of the tokens may be short enough where the whole is not.
  const bool pieces = !needs.column_sums && (needs.chunk > 0 || needs.select_from > 0);
  if (pieces || splittable(blocks)) grow(partials, blocks.kv_heads() * blocks.head_parts() * ceil_div(most, kSplitPages) * blocks.most_rows() * (width + 2));
  if (needs.column_sums) grow(column_sums, blocks.kv_heads() * most * kMaxPageTokens);
  if (needs.row_statistics) {
    grow(log_sum_exp, blocks.end() * at(layer).heads);
    grow(row_maximum, blocks.end() * at(layer).heads);
  }
  if (!blocks.selects()) return;
  // Of a piece between two ends of chunks, which may begin inside a query block.
  const int64_t piece = needs.chunk > 0 ? std::min(count, needs.chunk) : count;
  const RowBlocks some(at(layer), layer, needs, length + blocks.begin(), 0, piece);
  const int64_t heads = needs.per_head ? at(layer).heads : at(layer).kv_heads;
  selections.resize(std::max(selections.size(), static_cast<size_t>(some.selections() + heads)));
}

void AttentionSequence::State::reserve(int64_t count, int team) {
  if (ranks.size() < static_cast<size_t>(team)) ranks.resize(static_cast<size_t>(team));
  int64_t width = 0, pages = 0;
  for (int layer = 0; layer < static_cast<int>(layers->size()); ++layer) {
    reserve_layer(layer, count);
    width = std::max(width, cache.layout(layer).width), pages = std::max(pages, max_pages(layer));
  }
  for (RankScratch& scratch : ranks) {
    scratch.rows.reserve(width);
    if (needs.value_share < 1 || needs.value_count > 0) scratch.rows.reserve_pages(pages);
    scratch.key.resize(static_cast<size_t>(width));
    scratch.bits.reserve(length + count);
  }
}

void AttentionSequence::State::call_hooks(int layer, const AttentionInput& input, int64_t begin, int64_t end) {
  if (needs.before_layer) policy->before_layer(cache, layer);
  if (!needs.on_append) return;
  AttentionInput rows = input;
  rows.q += begin * input.q_stride, rows.k += begin * input.k_stride, rows.v += begin * input.v_stride;
  rows.out += begin * input.out_stride, rows.tokens = end - begin;
  policy->on_append(cache, {layer, length + begin, end - begin, &rows});
}

void AttentionSequence::State::append(int layer, const AttentionInput& input, int64_t begin, int64_t end, const TeamRank& team) {
  const int64_t size = at(layer).head_size;
  const Slice heads = team.slice(at(layer).kv_heads);
  float* key = ranks[static_cast<size_t>(team.rank)].key.data();
  for (int64_t g = heads.begin; g < heads.end; ++g)
    for (int64_t t = begin; t < end; ++t) {
      std::copy_n(input.k + t * input.k_stride + g * size, size, key);
      if (packed()) all_rotation.rotate(layer, (length + t) % needs.selection.block, key);
      else if (!raw()) rotation.rotate(layer, t, key);
      cache.append(layer, g, length + t, key, input.v + t * input.v_stride + g * size);
    }
}

void AttentionSequence::State::select(const RowBlocks& blocks, const AttentionInput& input, const TeamRank& team) {
  const AttentionLayer& layer = at(blocks.layer());
  for (int64_t i = team.rank; i < blocks.selections(); i += team.size()) {
    Selection& selection = selections[static_cast<size_t>(i)];
    selection.ids.clear(), selection.exclude.clear();
    selection.kind = Selection::Kind::kAll, selection.sink = selection.window = 0;
    selection.positions = needs.selection.positions, selection.block = needs.selection.block;
    SelectQuery query{};
    const auto [begin, end] = blocks.selection_tokens(i);
    query.layer = blocks.layer(), query.kv_head = blocks.selection_kv_head(i), query.head = blocks.selection_head(i);
    query.position = length + begin, query.rows = end - begin;
    query.q = input.q + begin * input.q_stride, query.stride = input.q_stride, query.cache = &cache;
    ranks[static_cast<size_t>(team.rank)].counters.keys_scored += policy->select(query, selection);
    ESP_ASSERT(selection.positions != Selection::Positions::kCache, "layer of {} heads", layer.heads);
  }
}

const Selection& AttentionSequence::State::selection_of(const RowBlocks& blocks, const RowBlock& block) const {
  return blocks.selects() ? selections[static_cast<size_t>(blocks.selection_of(block))] : needs.selection;
}

void AttentionSequence::State::load(RankScratch& scratch, const RowBlocks& blocks, const RowBlock& block, const AttentionInput& input) const {
  const AttentionLayer& layer = at(blocks.layer());
  const int64_t width = cache.layout(blocks.layer()).width, size = layer.head_size;
  const auto scale = static_cast<float>(layer.scale);
  const bool sinks = separate_sinks(blocks.layer());
  scratch.rows.start(block.rows(), width);
  const auto fill = [&](const RotaryRows& turns, int64_t t, int64_t head, float* q) {
    std::copy_n(input.q + t * input.q_stride + head * size, size, q);
    if (!packed()) turns.rotate(blocks.layer(), t, q);
    for (int64_t c = 0; c < size; ++c) q[c] *= scale;
    std::fill(q + size, q + width, 0.0f);
  };
  int64_t r = 0;
  for (int64_t t = block.begin; t < block.end; ++t)
    for (int64_t head = block.first_head; head < block.first_head + block.heads; ++head, ++r) {
      scratch.rows.position(r) = static_cast<int32_t>(length + t);
      if (needs.gives_up && !policy->attends(blocks.layer(), length + t)) scratch.rows.give_up(r, needs.blind);
      fill(rotation, t, head, scratch.rows.q(r));
      if (sinks) fill(sink_rotation, t, head, scratch.rows.sink_q(r));
    }
}

void AttentionSequence::State::store(RankScratch& scratch, const RowBlocks& blocks, const RowBlock& block, const AttentionInput& input) {
  const AttentionLayer& layer = at(blocks.layer());
  int64_t r = 0;
  for (int64_t t = block.begin; t < block.end; ++t)
    for (int64_t head = block.first_head; head < block.first_head + block.heads; ++head, ++r) {
      scratch.rows.write(r, layer.head_size, input.out + t * input.out_stride + head * layer.head_size);
      if (!needs.row_statistics) continue;
      const auto at_row = static_cast<size_t>(t * layer.heads + head);
      log_sum_exp[at_row] = scratch.rows.log_sum_exp(r), row_maximum[at_row] = scratch.rows.maximum(r);
    }
}

PageList AttentionSequence::State::pages(const RowBlocks& blocks, int64_t kv_head, int64_t split, int64_t splits) const {
  const auto count = static_cast<int64_t>(cache.head(blocks.layer(), kv_head).pages.size());
  PageList list;
  list.cache = &cache, list.layer = blocks.layer(), list.kv_head = kv_head;
  list.begin = splits == 1 ? 0 : std::min(count, split * kSplitPages);
  list.end = splits == 1 ? count : std::min(count, (split + 1) * kSplitPages);
  list.kernels = &kernels, list.plain_kernels = &plain_kernels, list.rotation = &all_rotation;
  list.far = policy->far_keys();
  if (needs.cache.rows) list.copies = policy->row_copies(blocks.layer(), kv_head);
  list.value_share = needs.value_share, list.value_count = needs.value_count, list.flat_below = tokens == 1 ? needs.flat_below : -1;
  return list;
}

void AttentionSequence::State::attend_block(RankScratch& scratch, const RowBlocks& blocks, const RowBlock& block, const PageList& list, bool whole) {
  const AttentionLayer& layer = at(blocks.layer());
  const Selection& selection = selection_of(blocks, block);
  if (scratch.looked_up != &selection) scratch.bits.set(selection, length + tokens);
  scratch.looked_up = &selection;
  const PageMasks masks(selection, scratch.bits, layer.window);
  const bool sinks = separate_sinks(blocks.layer());
  const BlockCounts counts = scratch.rows.attend(list, masks, sinks);
  scratch.counters.keys_attended += counts.pairs, scratch.counters.values_read += counts.value_pairs;
  scratch.flat_rows += scratch.rows.flat_rows();
  scratch.counters.key_multiplies += counts.key_multiplies;
  scratch.counters.multiply_adds += counts.key_multiplies + counts.value_pairs * static_cast<uint64_t>(layer.head_size);
  scratch.counters.fast_bytes += counts.fast_bytes, scratch.counters.slow_bytes += counts.slow_bytes;
  if (whole && needs.column_sums)
    scratch.rows.add_column_sums(list, masks, sinks, column_sums.data() + list.kv_head * max_pages(blocks.layer()) * kMaxPageTokens);
}

// Without splits a unit is a block of rows; with column sums all blocks of a KV head, in order. With splits, ranges of
// pages follow one another, so that each thread reads on.
void AttentionSequence::State::run_units(const RowBlocks& blocks, const AttentionInput& input, int64_t splits, const TeamRank& team) {
  RankScratch& scratch = ranks[static_cast<size_t>(team.rank)];
  scratch.looked_up = nullptr;
  const int64_t per_head = blocks.per_kv_head();
  if (splits > 1) {
    const Slice units = team.slice(blocks.kv_heads() * per_head * splits);
    for (int64_t unit = units.begin; unit < units.end; ++unit) {
      const RowBlock block = blocks.block(unit / splits);
      load(scratch, blocks, block, input);
      PageList list = pages(blocks, block.kv_head, unit % splits, splits);
      if (unit + 1 < units.end) list.next_kv_head = blocks.block((unit + 1) / splits).kv_head;
      attend_block(scratch, blocks, block, list, false);
      scratch.rows.save(partial(blocks, unit));
    }
    return;
  }
  const auto run = [&](int64_t index, int64_t next_kv_head) {
    const RowBlock block = blocks.block(index);
    load(scratch, blocks, block, input);
    PageList list = pages(blocks, block.kv_head, 0, 1);
    list.next_kv_head = next_kv_head;
    attend_block(scratch, blocks, block, list, true);
    store(scratch, blocks, block, input);
  };
  if (needs.column_sums) {
    const int64_t floats = max_pages(blocks.layer()) * kMaxPageTokens;
    for (int64_t g = team.rank; g < blocks.kv_heads(); g += team.size()) {
      std::fill_n(column_sums.begin() + g * floats, floats, 0.0f);
      for (int64_t i = 0; i < per_head; ++i) run(g * per_head + i, -1);
    }
    return;
  }
  // Later rows see more keys: dealt out in turn, from the last on.
  const int64_t all = blocks.kv_heads() * per_head;
  for (int64_t i = team.rank; i < all; i += team.size()) {
    const int64_t next = i + team.size();
    run(i % blocks.kv_heads() * per_head + per_head - 1 - i / blocks.kv_heads(), next < all ? next % blocks.kv_heads() : -1);
  }
}

void AttentionSequence::State::merge_splits(const RowBlocks& blocks, const AttentionInput& input, int64_t splits, const TeamRank& team) {
  RankScratch& scratch = ranks[static_cast<size_t>(team.rank)];
  const Slice mine = team.slice(blocks.kv_heads() * blocks.per_kv_head());
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const RowBlock block = blocks.block(i);
    scratch.rows.start(block.rows(), cache.layout(blocks.layer()).width);
    for (int64_t split = 0; split < splits; ++split) scratch.rows.merge(partial(blocks, i * splits + split));
    store(scratch, blocks, block, input);
  }
}

void AttentionSequence::State::finish_chunk(const RowBlocks& blocks, const AttentionInput& input, bool chunk_ends) {
  if (needs.column_sums || needs.row_statistics) {
    AttentionStatistics statistics{};
    statistics.layer = blocks.layer(), statistics.position = length + blocks.begin(), statistics.tokens = blocks.end() - blocks.begin();
    statistics.column_sums = needs.column_sums ? column_sums.data() : nullptr;
    statistics.column_stride = max_pages(blocks.layer()) * kMaxPageTokens;
    const int64_t first = blocks.begin() * at(blocks.layer()).heads;
    statistics.log_sum_exp = needs.row_statistics ? log_sum_exp.data() + first : nullptr;
    statistics.row_maximum = needs.row_statistics ? row_maximum.data() + first : nullptr;
    statistics.input = &input;
    for (RankScratch& rank : ranks) {
      statistics.flat_rows += rank.flat_rows;
      statistics.values_read += rank.counters.values_read - rank.values_before;
      rank.flat_rows = 0, rank.values_before = rank.counters.values_read;
    }
    policy->after_attention(cache, statistics);
  }
  if (chunk_ends) policy->end_chunk(cache, blocks.layer(), length + blocks.end());
}

// Depends on what is stored and selected alone.
int64_t AttentionSequence::State::splits_of(const RowBlocks& blocks) const {
  int64_t pages = 0, stored = 0, selected = 0;  // tokens
  for (int64_t g = 0; g < blocks.kv_heads(); ++g) {
    const KvHead& head = cache.head(blocks.layer(), g);
    pages = std::max(pages, static_cast<int64_t>(head.pages.size())), stored = std::max(stored, head.tokens);
  }
  if (!splittable(blocks) || pages <= kSplitPages) return 1;
  for (int64_t i = 0; i < blocks.selections(); ++i) {
    const Selection& s = blocks.selects() ? selections[static_cast<size_t>(i)] : needs.selection;
    const auto ids = static_cast<int64_t>(s.ids.size());
    selected = std::max(selected, s.kind == Selection::Kind::kAll ? stored : s.sink + s.window + ids * (s.kind == Selection::Kind::kBlocks ? s.block : 1));
  }
  return std::min(stored, selected) * kSparse <= pages * cache.options().page ? 1 : ceil_div(pages, kSplitPages);
}

void AttentionSequence::State::attend_chunk(int layer, const AttentionInput& input, int64_t begin, int64_t end, const TeamRank& team) {
  const RowBlocks blocks(at(layer), layer, needs, length, begin, end);
  if (needs.before_layer || needs.on_append) {
    if (team.rank == 0) call_hooks(layer, input, begin, end);
    team.barrier();
  }
  append(layer, input, begin, end, team);
  team.barrier();
  if (blocks.selects()) {
    select(blocks, input, team);
    team.barrier();
  }
  const int64_t splits = splits_of(blocks);
  run_units(blocks, input, splits, team);
  if (splits > 1) {
    team.barrier();
    merge_splits(blocks, input, splits, team);
  }
  const bool step = needs.step_ends_chunk && tokens == 1;
  const bool chunk_ends = needs.end_chunk && needs.chunk > 0 && (step || (length + end) % needs.chunk == 0);
  if (!chunk_ends && !needs.column_sums && !needs.row_statistics) return;
  team.barrier();
  if (team.rank == 0) finish_chunk(blocks, input, chunk_ends);
  team.barrier();
}

AttentionSequence::AttentionSequence(std::shared_ptr<const std::vector<AttentionLayer>> layers, const AttentionRequest& request, int64_t capacity) {
  if (capacity < 1 || capacity > std::numeric_limits<int32_t>::max() - kMaxPageTokens)
    throw UserError("sequence", "tokens", "between 1 and 2^31", std::to_string(capacity));
  state_ = std::make_unique<State>(std::move(layers), request, capacity);
}
AttentionSequence::~AttentionSequence() = default;

int64_t AttentionSequence::length() const { return state_->length; }
int64_t AttentionSequence::capacity() const { return state_->capacity; }

void AttentionSequence::begin_forward(int64_t tokens, int team_size, std::span<const int32_t> ids) {
  State& s = *state_;
  ESP_ASSERT(tokens >= 1 && s.length + tokens <= s.capacity, "{} tokens after {}, room for {}", tokens, s.length, s.capacity);
  s.tokens = tokens;
  if (!ids.empty()) s.policy->read_tokens(ids);
  s.policy->before_forward(s.cache, s.length, tokens);
  s.reserve(tokens, team_size);
  s.prepare_rotation(tokens);
}

void AttentionSequence::attend(int layer, const AttentionInput& input, const TeamRank& team) {
  State& s = *state_;
  const int64_t chunk = s.needs.chunk;
  if (layer == 0 && s.needs.before_layers) {
    s.policy->before_layers(team);
    team.barrier();
  }
  for (int64_t begin = 0; begin < input.tokens;) {
    int64_t end = chunk == 0 ? input.tokens : std::min(input.tokens, ((s.length + begin) / chunk + 1) * chunk - s.length);
    if (s.length + begin < s.needs.select_from) end = std::min(end, s.needs.select_from - s.length);
    s.attend_chunk(layer, input, begin, end, team);
    begin = end;
  }
}

void AttentionSequence::end_forward() {
  State& s = *state_;
  s.length += s.tokens;
  for (RankScratch& rank : s.ranks) {
    AttentionCounters& c = rank.counters;
    s.counters.keys_scored += c.keys_scored, s.counters.keys_attended += c.keys_attended, s.counters.values_read += c.values_read;
    s.counters.key_multiplies += c.key_multiplies, s.counters.multiply_adds += c.multiply_adds, s.counters.fast_bytes += c.fast_bytes, s.counters.slow_bytes += c.slow_bytes;
    c = {}, rank.values_before = 0;
  }
  if (!s.needs.end_chunk) return;
  if (s.needs.chunk == 0)
    for (int layer = 0; layer < static_cast<int>(s.layers->size()); ++layer) s.policy->end_chunk(s.cache, layer, s.length);
  s.cache.trim(s.tokens > 1);
}

const AttentionCounters& AttentionSequence::counters() const { return state_->counters; }
uint64_t AttentionSequence::cache_bytes() const { return state_->cache.bytes(); }
const PagedKvCache& AttentionSequence::cache() const { return state_->cache; }
const AttentionPolicy& AttentionSequence::policy() const { return *state_->policy; }

}  // namespace espalier
