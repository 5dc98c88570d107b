#include "espalier/engine/attention/policies/specontext.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "espalier/core/error.h"

namespace espalier {

SpeContext::SpeContext(std::span<const AttentionLayer> layers, KvCodec codec, int64_t capacity, std::unique_ptr<RetrievalRows> head, SpeContextOptions options)
    : layers_(layers.begin(), layers.end()), head_(std::move(head)), options_(std::move(options)), heads_(layers_[0].heads), kv_heads_(layers_[0].kv_heads),
      head_size_(layers_[0].head_size), keys_(kv_heads_, head_size_, codec), scores_(static_cast<size_t>(kv_heads_)),
      slots_(static_cast<size_t>(kv_heads_), ElasticSlots(options_.budget, capacity)), changes_(static_cast<size_t>(kv_heads_)), copies_(layers_.size()),
      followed_(static_cast<size_t>(kv_heads_)) {
  needs_.select = needs_.before_layers = needs_.before_layer = true;
  needs_.query_block = 1;
  needs_.steps_alone = options_.prompt == 0;
  needs_.select_from = options_.prompt;
  needs_.cache.rows = true, needs_.cache.page = kMaxPageTokens;
  needs_.cache.own_pools = options_.slow > 0 || !options_.thresholds.empty();
  needs_.cache.slow_directory = options_.slow_directory;
  for (const AttentionLayer& layer : layers_) needs_.end_chunk |= layer.window > 0;
  row_bytes_ = make_layout(codec, kMaxPageTokens, head_size_, 0, {}, true).row_bytes;
}

SpeContext::~SpeContext() {
  if (!copier_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  copier_.join();
}

void SpeContext::read_tokens(std::span<const int32_t> ids) { ids_.assign(ids.begin(), ids.end()); }

void SpeContext::before_forward(PagedKvCache& cache, int64_t position, int64_t tokens) {
  ESP_ASSERT(static_cast<int64_t>(ids_.size()) == tokens, "the retrieval head reads tokens: {} of {}", ids_.size(), tokens);
  position_ = position, tokens_ = tokens, copying_ = false;
  if (options_.prompt > 0) decoded_ = std::clamp<int64_t>(options_.prompt - position, 0, tokens);
  else decoded_ = tokens == 1 && position > 0 ? 0 : tokens;
  offload(cache, position + tokens - 1);
  head_->begin(ids_, position);
  keys_.reserve(position + tokens);
  const auto wanted = static_cast<size_t>((tokens - decoded_) * kv_heads_);
  while (choices_.size() < wanted) choices_.emplace_back().ids.reserve(static_cast<size_t>(options_.budget));
  cache.set_policy_bytes(own_bytes());
}

// Whole pages of slow layers; the page that tokens are appended to stays where it is read next.
void SpeContext::offload(PagedKvCache& cache, int64_t tokens) {
  slow_ = std::max(slow_, options_.slow);
  if (!options_.thresholds.empty()) slow_ = layers_offloaded(options_.thresholds, tokens, slow_);
  if (slow_ == 0) return;
  for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
    if (!slow(layer)) continue;
    for (int64_t g = 0; g < kv_heads_; ++g) {
      const auto& pages = cache.head(layer, g).pages;
      for (size_t i = 0; i < pages.size(); ++i)
        if (pages[i].tier == Tier::kFast && pages[i].used == cache.options().page) cache.move_page(layer, g, static_cast<int64_t>(i), Tier::kSlow);
    }
    if (layers_[static_cast<size_t>(layer)].window == 0)
      copies_[static_cast<size_t>(layer)].rows.resize(static_cast<size_t>(kv_heads_ * options_.budget) * row_bytes_);
  }
  cache.trim(false);
}

uint64_t SpeContext::own_bytes() const {
  uint64_t bytes = keys_.bytes();
  for (const Copies& copies : copies_) bytes += copies.rows.size();
  return bytes;
}

void SpeContext::before_layers(const TeamRank& team) {
  head_->project(team, decoded_);
  team.barrier();
  thread_local LargestScores largest;
  const int64_t group = heads_ / kv_heads_;
  const Slice mine = team.slice(kv_heads_);
  for (int64_t g = mine.begin; g < mine.end; ++g)
    for (int64_t t = 0; t < tokens_; ++t) keys_.append(g, position_ + t, head_->keys(t) + g * head_size_);
  for (int64_t t = decoded_; t < tokens_; ++t) {
    const int64_t count = position_ + t;
    for (int64_t g = mine.begin; g < mine.end; ++g) {
      RetrievalScores& scores = scores_[static_cast<size_t>(g)];
      if (count > options_.budget) keys_.score(g, head_->queries(t) + g * group * head_size_, group, count, scores);
      if (!options_.one_set || count <= options_.budget) choose(t, g, scores, largest);
    }
    if (options_.one_set && count > options_.budget) {
      team.barrier();
      if (team.rank == 0) choose_one_set(t);
      team.barrier();
    }
    for (int64_t g = mine.begin; g < mine.end; ++g) follow(t, g);
  }
}

void SpeContext::choose(int64_t t, int64_t kv_head, const RetrievalScores& scores, LargestScores& largest) {
  Choice& choice = choices_[static_cast<size_t>((t - decoded_) * kv_heads_ + kv_head)];
  const int64_t count = position_ + t;
  choice.all = count <= options_.budget;
  if (choice.all) {
    choice.ids.resize(static_cast<size_t>(count));
    std::iota(choice.ids.begin(), choice.ids.end(), 0);
    return;
  }
  select_tokens(scores.group, options_.budget, largest, choice.ids);
  if (options_.confidence > 0) choice.all = scores.mass(choice.ids) < options_.confidence;
}

// By the largest weight of all heads.
void SpeContext::choose_one_set(int64_t t) {
  LargestScores largest;
  RetrievalScores& first = scores_[0];
  for (size_t g = 1; g < scores_.size(); ++g)
    for (size_t j = 0; j < first.group.size(); ++j) first.group[j] = std::max(first.group[j], scores_[g].group[j]);
  choose(t, 0, first, largest);
  for (int64_t g = 1; g < kv_heads_; ++g) {
    Choice& choice = choices_[static_cast<size_t>((t - decoded_) * kv_heads_ + g)];
    const Choice& same = choices_[static_cast<size_t>((t - decoded_) * kv_heads_)];
    choice.ids = same.ids;
    choice.all = options_.confidence > 0 && scores_[static_cast<size_t>(g)].mass(choice.ids) < options_.confidence;
  }
}

// Rank 0, while the others wait.
void SpeContext::before_layer(PagedKvCache& cache, int layer) {
  if (layer == 0 && !copying_) {
    copying_ = true;
    if (slow_ > 0 && decoded_ < tokens_) start_copies(cache);
  }
  if (!slow(layer) || to_copy_ == nullptr) return;
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return copied_ > layer; });
}

// The slots of a head to its tokens of a step.
void SpeContext::follow(int64_t t, int64_t kv_head) {
  const auto& ids = choices_[static_cast<size_t>((t - decoded_) * kv_heads_ + kv_head)].ids;
  SlotChange& change = changes_[static_cast<size_t>(kv_head)];
  slots_[static_cast<size_t>(kv_head)].update(ids, change);
  Followed& sums = followed_[static_cast<size_t>(kv_head)];
  ++sums.steps, sums.selected += ids.size(), sums.loaded += change.load.size(), sums.evicted += change.evict.size();
}

void SpeContext::start_copies(const PagedKvCache& cache) {
  // Several steps in one forward have several sets; their rows are read where they lie.
  if (tokens_ - decoded_ > 1) {
    for (Copies& copies : copies_) copies.current = false;
    return;
  }
  if (!copier_.joinable()) copier_ = std::thread([this] { serve(); });
  {
    const std::lock_guard lock(mutex_);
    to_copy_ = &cache, copied_ = 0;
  }
  wake_.notify_all();
}

void SpeContext::serve() {
  std::unique_lock lock(mutex_);
  const auto layers = static_cast<int>(layers_.size());
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || (to_copy_ != nullptr && copied_ < layers); });
    if (stopping_) return;
    const int layer = copied_;
    lock.unlock();
    if (slow(layer) && !copies_[static_cast<size_t>(layer)].rows.empty()) copy_layer(*to_copy_, layer);
    lock.lock();
    copied_ = layer + 1;
    wake_.notify_all();
  }
}

// The loads of the step, or all slots of a layer that has just become slow.
void SpeContext::copy_layer(const PagedKvCache& cache, int layer) {
  Copies& copies = copies_[static_cast<size_t>(layer)];
  for (int64_t g = 0; g < kv_heads_; ++g) {
    const auto& pages = cache.head(layer, g).pages;
    std::byte* rows = copies.rows.data() + static_cast<size_t>(g * options_.budget) * row_bytes_;
    const auto copy = [&](int32_t token, int32_t slot) {
      const KvPage& page = pages[static_cast<size_t>(token) / kMaxPageTokens];
      std::memcpy(rows + static_cast<size_t>(slot) * row_bytes_, page.memory + static_cast<size_t>(token) % kMaxPageTokens * row_bytes_, row_bytes_);
      copied_bytes_ += row_bytes_;
    };
    const SlotChange& change = changes_[static_cast<size_t>(g)];
    const auto tokens = slots_[static_cast<size_t>(g)].tokens();
    if (copies.current) {
      for (size_t i = 0; i < change.load.size(); ++i) copy(change.load[i], change.load_slots[i]);
    } else {
      for (size_t slot = 0; slot < tokens.size(); ++slot)
        if (tokens[slot] >= 0) copy(tokens[slot], static_cast<int32_t>(slot));
    }
    reload_bytes_ += row_bytes_ * static_cast<uint64_t>(std::count_if(tokens.begin(), tokens.end(), [](int32_t token) { return token >= 0; }));
  }
  copies.current = true;
}

uint64_t SpeContext::select(const SelectQuery& query, Selection& selection) const {
  const int64_t t = query.position - position_;
  if (t < decoded_) return 0;
  const uint64_t scored = query.layer == 0 && query.position > options_.budget ? static_cast<uint64_t>(query.position) : 0;
  const Choice& choice = choices_[static_cast<size_t>((t - decoded_) * kv_heads_ + query.kv_head)];
  // A window of the model's own bounds the cost already.
  if (choice.all || layers_[static_cast<size_t>(query.layer)].window > 0) return scored;
  selection.kind = Selection::Kind::kTokens, selection.window = 1;
  selection.ids = choice.ids;
  return scored;
}

RowCopies SpeContext::row_copies(int layer, int64_t kv_head) const {
  const Copies& copies = copies_[static_cast<size_t>(layer)];
  if (tokens_ - decoded_ != 1 || !copies.current) return {};
  const auto& slots = slots_[static_cast<size_t>(kv_head)].slots();
  return {slots.data(), static_cast<int64_t>(slots.size()), copies.rows.data() + static_cast<size_t>(kv_head * options_.budget) * row_bytes_, row_bytes_};
}

void SpeContext::end_chunk(PagedKvCache& cache, int layer, int64_t length) {
  const int64_t window = layers_[static_cast<size_t>(layer)].window;
  for (int64_t g = 0; window > 0 && g < kv_heads_; ++g) cache.drop_between(layer, g, 0, length - window + 1);
}

Json SpeContext::report() const {
  Followed sums;
  for (const Followed& head : followed_) sums.selected += head.selected, sums.loaded += head.loaded, sums.evicted += head.evicted;
  const double selected = static_cast<double>(std::max<uint64_t>(1, sums.selected));
  return {{"steps", followed_[0].steps},
          {"selected", sums.selected},
          {"loaded", sums.loaded},
          {"evicted", sums.evicted},
          {"overlap", 1 - static_cast<double>(sums.loaded) / selected},
          {"slow_layers", slow_},
          {"copied_bytes", copied_bytes_},
          {"reload_bytes", reload_bytes_},
          {"retrieval_bytes", head_->bytes()}};
}

namespace {

void check_layers(const PolicyContext& c) {
  for (size_t l = 1; l < c.layers.size(); ++l) {
    const AttentionLayer &a = c.layers[0], &b = c.layers[l];
    const auto sizes = [](const AttentionLayer& x) { return fmt::format("{} heads on {} KV heads of {}", x.heads, x.kv_heads, x.head_size); };
    if (sizes(a) != sizes(b)) c.fail("model", "the same heads in every layer, " + sizes(a), fmt::format("{} in layer {}", sizes(b), l));
  }
}

// Distilled where there is a file, else the model's first layer.
std::unique_ptr<RetrievalRows> head_of(const PolicyContext& c) {
  const std::string given = c.text("head");
  if (c.model.empty()) c.fail("model", "one that was read from files", "none");
  const auto beside = c.model / kRetrievalHeadFile;
  const bool file = given == "auto" ? std::filesystem::exists(beside) : given != "layer0";
  const Model model = load_model(c.model);
  RetrievalWeights weights = file ? read_retrieval_head(given == "auto" ? beside : std::filesystem::path(given), model) : weights_of(model, model.graph);
  const AttentionLayer& layer = c.layers[0];
  if (weights.heads != layer.heads || weights.kv_heads != layer.kv_heads || weights.head_size != layer.head_size)
    c.fail("head", fmt::format("{} heads on {} KV heads of {}, as the model has", layer.heads, layer.kv_heads, layer.head_size),
           fmt::format("{} on {} of {}", weights.heads, weights.kv_heads, weights.head_size));
  return std::make_unique<RetrievalHead>(std::move(weights), layer, c.capacity);
}

std::unique_ptr<AttentionPolicy> make_specontext(const PolicyContext& c) {
  SpeContextOptions options;
  options.budget = c.tokens("budget", 1);
  options.one_set = c.choice("sets", {"kv-head", "all"}) == 1;
  options.confidence = c.real("confidence", 0, 1);
  options.prompt = c.has("prompt") ? c.integer("prompt", 1, c.capacity) : 0;
  check_layers(c);
  const auto layers = static_cast<int64_t>(c.layers.size());
  options.slow = c.integer("slow_layers", 0, layers);
  if (c.has("memory") && options.slow > 0) c.fail("memory", "no slow_layers beside it", "slow_layers=" + c.text("slow_layers"));
  options.slow_directory = c.text("slow_dir");
  if (c.has("slow_dir") && !c.has("memory") && options.slow == 0) c.fail("slow_dir", "memory or slow_layers beside it", "neither");
  auto head = head_of(c);
  if (c.has("memory")) {
    MemoryModel m;
    m.layers = layers, m.kv_heads = c.layers[0].kv_heads, m.groups = c.layers[0].heads / m.kv_heads;
    m.head_token_bytes = static_cast<int64_t>(make_layout(c.codec, kMaxPageTokens, c.layers[0].head_size, 0, {}, true).token_bytes);
    m.budget = options.budget, m.model_bytes = c.weight_bytes, m.retrieval_bytes = head->bytes();
    m.memory_bytes = static_cast<uint64_t>(c.integer("memory", 1, std::numeric_limits<int64_t>::max()));
    options.thresholds = offload_thresholds(m);
  }
  return std::make_unique<SpeContext>(c.layers, c.codec, c.capacity, std::move(head), std::move(options));
}

const RegisterPolicy specontext(
    {"05-specontext", "SpeContext", 2025, "a small retrieval head chooses the tokens of a decoding step for all layers before they run",
     {{"budget", "int", "2048", "1 … context", "tokens that a KV head sees of a step's past"},
      {"head", "text", "auto", "auto, layer0, a file", "the retrieval head: retrieval-head.safetensors beside the model, else the model's first layer"},
      {"sets", "text", "kv-head", "kv-head, all", "a set of tokens for each KV head, or one for all"},
      {"confidence", "real", "0", "0 … 1", "a KV head whose tokens have less of the retrieval head's weight sees everything"},
      {"memory", "int", "", "bytes", "fast memory for weights and cache: as the text grows, layers move to slow memory (see plan --context)"},
      {"slow_layers", "int", "0", "0 … layers", "instead of memory: so many last layers are in slow memory from the start"},
      {"slow_dir", "text", "", "a directory", "slow memory is an unnamed file there instead of memory; it is gone when the sequence ends"},
      {"prompt", "int", "", "1 … context", "tokens of the prompt; by default whatever comes in forwards of several tokens"}},
     make_specontext});

}  // namespace
}  // namespace espalier
