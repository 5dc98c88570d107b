// A retrieval head whose queries and keys are given, and SpeContext with it as the policy "test-specontext".
#pragma once

#include <algorithm>
#include <cmath>

#include "espalier/engine/attention/policies/specontext.h"

namespace espalier {

// Rows of a whole text: q [tokens, heads · size] scaled, k [tokens, kv_heads · size].
struct RetrievalText {
  std::vector<float> q, k;
};

class FixedRetrieval : public RetrievalRows {
 public:
  FixedRetrieval(const RetrievalText& text, int64_t q_width, int64_t k_width) : text_(text), q_width_(q_width), k_width_(k_width) {}
  uint64_t bytes() const override { return 0; }
  void begin(std::span<const int32_t>, int64_t position) override { position_ = position; }
  void project(const TeamRank&, int64_t) override {}
  const float* queries(int64_t t) const override { return text_.q.data() + (position_ + t) * q_width_; }
  const float* keys(int64_t t) const override { return text_.k.data() + (position_ + t) * k_width_; }

 private:
  const RetrievalText& text_;
  int64_t q_width_, k_width_, position_ = 0;
};

// Set before a sequence with the policy is made.
struct FixedSpeContext {
  RetrievalText text;
  SpeContextOptions options;
};
inline FixedSpeContext fixed_specontext;

inline const RegisterPolicy test_specontext({"test-specontext", "", 0, "", {}, [](const PolicyContext& c) -> std::unique_ptr<AttentionPolicy> {
  const AttentionLayer& layer = c.layers[0];
  return std::make_unique<SpeContext>(c.layers, c.codec, c.capacity,
                                      std::make_unique<FixedRetrieval>(fixed_specontext.text, layer.heads * layer.head_size, layer.kv_heads * layer.head_size),
                                      fixed_specontext.options);
}});

}  // namespace espalier
