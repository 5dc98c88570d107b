// Attention policies: what each head keeps, reads and drops. A policy is one file with one static RegisterPolicy.
//
// Hooks are called only where needs() asks for them. In one forward of `tokens` new tokens they come in this order:
// read_tokens, before_forward; before_layers (all threads); for each layer and chunk: before_layer, on_append, [keys and values are appended], select (several
// threads), [attention], after_attention, end_chunk.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/engine/attention/far_keys.h"
#include "espalier/engine/attention/kv_cache.h"
#include "espalier/engine/attention/row_copies.h"
#include "espalier/engine/attention/selection.h"

namespace espalier {

struct PolicyNeeds {
  bool before_layers = false, before_layer = false, on_append = false, select = false;
  bool steps_alone = false;     // select is asked in forwards of one token; in longer ones `selection` holds
  bool column_sums = false;     // softmax mass of each stored key, summed over the query rows and heads of its KV group
  bool row_statistics = false;  // log-sum-exp and row maximum of each query row
  bool end_chunk = false;
  bool step_ends_chunk = false;  // with a chunk: end_chunk also after a forward of one token, which is a step of decoding
  bool per_head = false;    // select() decides for each query head, else for each KV head and its group of query heads
  double value_share = 1;   // each query row multiplies only this share of its probabilities, the largest, with values
  int64_t value_count = 0;  // likewise, a number; 0: by share
  // Keys in planes, forwards of one token: only rows whose largest probability is below it read the low plane; < 0: all do.
  double flat_below = -1;
  bool gives_up = false;    // attends() is asked
  bool blind = false;       // queries that were given up see nothing; else they see, but count in no column sum
  int64_t query_block = 0;  // tokens that share a selection; 0: as many as the kernel likes
  bool any_length = false;  // positions stay within what the model was made for, however long the text is
  int64_t select_from = 0;  // for queries at earlier positions `selection` holds, and select is not asked
  // Tokens between two calls of end_chunk, counted from the sequence's start; queries see what the last call left and the
  // tokens since. 0: whatever a forward brings.
  int64_t chunk = 0;
  KvCacheOptions cache;  // its codec is the user's
  // For all queries, where select is not asked for. Its positions and, if these are kPacked, its block hold in any case:
  // keys are then stored rotated by their place inside their block, and queries turn to each block as they stand to it.
  Selection selection;
};

struct SelectQuery {
  int layer;
  int64_t kv_head;
  int64_t head;               // the query head; -1: the whole group
  int64_t position, rows;     // of the first query, how many consecutive ones
  const float* q;             // un-rotated, row r of head h at q + r · stride + h · head_size
  int64_t stride;
  const PagedKvCache* cache;       // the queries' own keys are in it
};

struct AppendedTokens {
  int layer;
  int64_t position, tokens;   // of the first; they are not in the cache yet
  const AttentionInput* input;  // un-rotated; rows of these tokens
};

struct AttentionStatistics {
  int layer;
  int64_t position, tokens;
  // By KV head, page and slot: [kv_heads][pages · 64]; column_stride floats between heads.
  const float* column_sums = nullptr;
  int64_t column_stride = 0;
  int64_t flat_rows = 0;  // rows of queries that read both planes of the keys
  uint64_t values_read = 0;  // (row, key) pairs
  // [tokens, heads]
  const float *log_sum_exp = nullptr, *row_maximum = nullptr;
  const AttentionInput* input = nullptr;  // out: the heads' outputs
};

class AttentionPolicy {
 public:
  virtual ~AttentionPolicy() = default;
  virtual const PolicyNeeds& needs() const = 0;
  // Whether the query at a position of this forward is still of use in this layer.
  virtual bool attends(int /*layer*/, int64_t /*position*/) const { return true; }
  // Where queries see keys in another form than they are stored in the cache, with append-only heads; null: nowhere.
  virtual const FarKeys* far_keys() const { return nullptr; }
  // Of the tokens in rows that the head reads in this layer; while the layer runs they stay.
  virtual RowCopies row_copies(int /*layer*/, int64_t /*kv_head*/) const { return {}; }
  // Figures of the sequence so far, for who measures; null: none.
  virtual Json report() const { return nullptr; }
  // What the user should know of these options and this model; lines without an end.
  virtual std::vector<std::string> notes() const { return {}; }
  virtual void begin_sequence(PagedKvCache&) {}
  // Of the forward that comes, where its caller knows them.
  virtual void read_tokens(std::span<const int32_t> /*ids*/) {}
  virtual void before_forward(PagedKvCache&, int64_t /*position*/, int64_t /*tokens*/) {}
  // Every thread of the team at once, before the first layer's attention.
  virtual void before_layers(const TeamRank&) {}
  virtual void before_layer(PagedKvCache&, int /*layer*/) {}
  virtual void on_append(PagedKvCache&, const AppendedTokens&) {}
  // Ids ascending. selection comes empty; returns the key rows that were scored to decide. Called from several threads.
  virtual uint64_t select(const SelectQuery&, Selection& /*selection*/) const { return 0; }
  virtual void after_attention(PagedKvCache&, const AttentionStatistics&) {}
  // `length` tokens were seen. What is dropped here is freed.
  virtual void end_chunk(PagedKvCache&, int /*layer*/, int64_t /*length*/) {}
};

struct PolicyOption {
  std::string name, type, value;  // type: int, real, text; value: the default as text
  std::string range, doc;
};

struct PolicyContext;

struct PolicyInfo {
  std::string id, name;
  int year = 0;
  std::string summary;  // one line
  std::vector<PolicyOption> options;
  std::unique_ptr<AttentionPolicy> (*make)(const PolicyContext& context);
};

// What a policy is made for, and the user's options.
struct PolicyContext {
  std::span<const AttentionLayer> layers;
  int64_t capacity = 0;  // the most tokens of the sequence
  KvCodec codec = KvCodec::kF32;
  uint64_t seed = 0;
  int64_t trained = 0;  // tokens of context that the model was made for; 0: unknown
  uint64_t weight_bytes = 0;  // of the model as it runs; 0: unknown
  std::filesystem::path model;  // where it was read from: files of its own lie beside it; may be empty
  const PolicyInfo* info = nullptr;
  const std::map<std::string, std::string>* given = nullptr;

  // Of an option of info, or its default. UserError naming policy and option if it is no number or out of range.
  std::string text(const std::string& name) const;
  int64_t integer(const std::string& name, int64_t least, int64_t most) const;
  int64_t tokens(const std::string& name, int64_t least) const;  // integer up to capacity; a larger default shrinks to it
  double real(const std::string& name, double least, double most) const;
  size_t choice(const std::string& name, const std::vector<std::string>& words) const;  // which of the words it is
  bool has(const std::string& name) const;  // the policy has the option, and it was given or has a default
  [[noreturn]] void fail(const std::string& name, const std::string& expected, const std::string& found) const;
  // Tokens a head may keep, from whichever of `budget` (tokens), `budget_bytes` (of the whole cache, in whole pages) and
  // `share` (of the tokens seen: 0 is returned) is given. UserError unless exactly one is.
  int64_t budget_tokens(int64_t page) const;
};

struct RegisterPolicy {
  explicit RegisterPolicy(PolicyInfo info);
};

std::vector<const PolicyInfo*> registered_policies();  // by id
const PolicyInfo& find_policy(const std::string& id);  // or number, or word; UserError with near names
// UserError on unknown options.
std::unique_ptr<AttentionPolicy> make_policy(const AttentionRequest& request, std::span<const AttentionLayer> layers, int64_t capacity);

}  // namespace espalier
