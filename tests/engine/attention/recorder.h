// Runs of a policy that write down what it chooses for each query.
#pragma once

#include <algorithm>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <tuple>

#include "espalier/engine/attention/policy.h"
#include "oracle.h"

namespace espalier {

struct Choice {
  int layer;
  int64_t kv_head, head, position, rows;
  Selection selection;
  uint64_t scored;
};

// What a sequence's policy did, in order of layer, head and position; log_sum_exp [tokens, heads] of layer 0.
struct Recording {
  std::vector<Choice> choices;
  std::vector<float> log_sum_exp;
  AttentionPolicy* policy = nullptr;

  const Choice& of(int layer, int64_t head, int64_t position) const {  // head: of queries, or of KV where these share
    for (const Choice& c : choices)
      if (c.layer == layer && (c.head < 0 ? c.kv_head : c.head) == head && c.position <= position && position < c.position + c.rows) return c;
    throw std::out_of_range("there is no such choice");
  }
};

// A key is seen when the definition in selection.h says so.
inline bool sees(const Selection& s, int64_t i, int64_t j) {
  const auto chosen = [&](int64_t id) { return std::binary_search(s.ids.begin(), s.ids.end(), static_cast<int32_t>(id)); };
  if (j > i || std::binary_search(s.exclude.begin(), s.exclude.end(), static_cast<int32_t>(j))) return false;
  if (s.kind == Selection::Kind::kAll || j < s.sink || i - j < s.window) return true;
  return chosen(s.kind == Selection::Kind::kBlocks ? j / s.block : j);
}

// Set before a run with the policy "test-recorder".
struct RecordedRun {
  AttentionRequest request;
  Recording* recording = nullptr;
  std::function<void(AttentionPolicy&, PagedKvCache&, int layer, int64_t length)> at_end_of_chunk;
};
inline RecordedRun recorded_run;

class Recorder : public AttentionPolicy {
 public:
  explicit Recorder(const PolicyContext& c) : inner_(make_policy(recorded_run.request, c.layers, c.capacity)), needs_(inner_->needs()) {
    heads_ = c.layers[0].heads;
    needs_.row_statistics = true;
    recorded_run.recording->policy = inner_.get();
  }
  const PolicyNeeds& needs() const override { return needs_; }
  void begin_sequence(PagedKvCache& cache) override { inner_->begin_sequence(cache); }
  void read_tokens(std::span<const int32_t> ids) override { inner_->read_tokens(ids); }
  void before_forward(PagedKvCache& cache, int64_t position, int64_t tokens) override { inner_->before_forward(cache, position, tokens); }
  void before_layers(const TeamRank& team) override { inner_->before_layers(team); }
  RowCopies row_copies(int layer, int64_t kv_head) const override { return inner_->row_copies(layer, kv_head); }
  void before_layer(PagedKvCache& cache, int layer) override { inner_->before_layer(cache, layer); }
  void on_append(PagedKvCache& cache, const AppendedTokens& tokens) override { inner_->on_append(cache, tokens); }
  uint64_t select(const SelectQuery& query, Selection& selection) const override {
    const uint64_t scored = inner_->select(query, selection);
    const std::lock_guard lock(mutex_);
    recorded_run.recording->choices.push_back({query.layer, query.kv_head, query.head, query.position, query.rows, selection, scored});
    return scored;
  }
  void after_attention(PagedKvCache& cache, const AttentionStatistics& s) override {
    if (inner_->needs().column_sums || inner_->needs().row_statistics) inner_->after_attention(cache, s);
    if (s.layer != 0) return;
    auto& all = recorded_run.recording->log_sum_exp;
    all.insert(all.end(), s.log_sum_exp, s.log_sum_exp + s.tokens * heads_);
  }
  void end_chunk(PagedKvCache& cache, int layer, int64_t length) override {
    if (recorded_run.at_end_of_chunk) recorded_run.at_end_of_chunk(*inner_, cache, layer, length);
    inner_->end_chunk(cache, layer, length);
  }

 private:
  std::unique_ptr<AttentionPolicy> inner_;
  PolicyNeeds needs_;
  int64_t heads_ = 0;
  mutable std::mutex mutex_;
};

inline const RegisterPolicy test_recorder(
    {"test-recorder", "", 0, "", {}, [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> { return std::make_unique<Recorder>(c); }});

// As run_sequence, under the request's policy.
inline Run run_recorded(const Oracle& oracle, const AttentionRequest& request, const std::vector<int64_t>& sizes, Recording& recording,
                        int threads = 1, int layers = 1) {
  recorded_run.request = request, recorded_run.recording = &recording;
  AttentionRequest recorder = request;
  recorder.policy = "test-recorder", recorder.options.clear();
  Run run = run_sequence(oracle, recorder, sizes, threads, layers);
  std::sort(recording.choices.begin(), recording.choices.end(), [](const Choice& a, const Choice& b) {
    return std::tuple(a.layer, a.kv_head, a.head, a.position) < std::tuple(b.layer, b.kv_head, b.head, b.position);
  });
  return run;
}

inline AttentionRequest ask(const std::string& policy, std::map<std::string, std::string> options = {}, KvCodec codec = KvCodec::kF32) {
  AttentionRequest r;
  r.policy = policy, r.options = std::move(options), r.codec = codec;
  return r;
}

// The line of the error that making the policy for `tokens` of two query heads on one KV head ends in; empty: none.
inline std::string refusal(const AttentionRequest& request, int64_t tokens, bool rotary = true) {
  try {
    const Oracle oracle(2, 1, 16, 1, 1, rotary);
    make_policy(request, std::vector<AttentionLayer>{oracle.layer}, tokens);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace espalier
