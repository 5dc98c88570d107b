// Attention by its definition, in double precision and one key at a time: what caches, kernels and policies are held to.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/engine/attention/kv_cache.h"
#include "espalier/engine/attention/sequence.h"

namespace espalier {

struct Oracle {
  AttentionLayer layer;
  int64_t tokens;
  std::vector<float> q, k, v;  // [tokens, heads · size], before rotation

  Oracle(int64_t heads, int64_t kv_heads, int64_t size, int64_t tokens_, uint64_t seed = 1, bool rotary = true) : tokens(tokens_) {
    layer.heads = heads, layer.kv_heads = kv_heads, layer.head_size = size;
    layer.scale = 1 / std::sqrt(static_cast<double>(size));
    for (int64_t i = 0; rotary && i < size / 2; ++i) layer.inverse_frequency.push_back(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(size)));
    Rng rng(seed, "oracle");
    for (auto* list : {&q, &k, &v}) {
      list->resize(static_cast<size_t>(tokens * (list == &q ? heads : kv_heads) * size));
      for (float& x : *list) x = static_cast<float>(rng.normal() * 1.5);
    }
  }

  std::vector<double> turned(const std::vector<float>& x, int64_t heads, int64_t token, int64_t head, int64_t position) const {
    const float* from = x.data() + (token * heads + head) * layer.head_size;
    std::vector<double> y(from, from + layer.head_size);
    const auto pairs = static_cast<int64_t>(layer.inverse_frequency.size());
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(position) * static_cast<float>(layer.inverse_frequency[static_cast<size_t>(i)]);
      const double c = std::cos(static_cast<double>(angle)) * layer.rotary_scale, s = std::sin(static_cast<double>(angle)) * layer.rotary_scale;
      y[static_cast<size_t>(i)] = from[i] * c - from[i + pairs] * s;
      y[static_cast<size_t>(i + pairs)] = from[i + pairs] * c + from[i] * s;
    }
    return y;
  }

  // Position at which query i stands to key j; none: key j is not seen.
  using Sees = std::function<bool(int64_t kv_head, int64_t i, int64_t j)>;
  using Stands = std::function<int64_t(int64_t i, int64_t j)>;

  std::vector<double> probabilities(int64_t head, int64_t i, const Sees& sees, const Stands& stands = nullptr) const {
    const int64_t g = head / (layer.heads / layer.kv_heads);
    std::vector<double> p(static_cast<size_t>(tokens), 0.0);
    double sum = 0;
    for (int64_t j = 0; j <= i; ++j) {
      if (!sees(g, i, j)) continue;
      const auto a = turned(q, layer.heads, i, head, stands ? stands(i, j) : i), b = turned(k, layer.kv_heads, j, g, j);
      double score = 0;
      for (size_t c = 0; c < a.size(); ++c) score += a[c] * b[c];
      p[static_cast<size_t>(j)] = std::exp(score * layer.scale);
      sum += p[static_cast<size_t>(j)];
    }
    for (double& x : p) x /= sum;
    return p;
  }

  std::vector<double> attend(const Sees& sees, const Stands& stands = nullptr) const {
    std::vector<double> out(q.size(), 0.0);
    for (int64_t i = 0; i < tokens; ++i)
      for (int64_t h = 0; h < layer.heads; ++h) {
        const auto p = probabilities(h, i, sees, stands);
        const int64_t g = h / (layer.heads / layer.kv_heads);
        for (int64_t j = 0; j <= i; ++j)
          for (int64_t c = 0; c < layer.head_size; ++c)
            out[static_cast<size_t>((i * layer.heads + h) * layer.head_size + c)] +=
                p[static_cast<size_t>(j)] * static_cast<double>(v[static_cast<size_t>((j * layer.kv_heads + g) * layer.head_size + c)]);
      }
    return out;
  }
};

// The oracle's rows through a sequence, in forwards of the given sizes; the last one repeats.
struct Run {
  std::vector<float> out;
  std::unique_ptr<AttentionSequence> sequence;
};
inline Run run_sequence(const Oracle& oracle, const AttentionRequest& request, const std::vector<int64_t>& sizes, int threads = 1,
                        int layers = 1) {
  const AttentionLayer& layer = oracle.layer;
  Run run;
  run.out.resize(oracle.q.size());
  auto list = std::make_shared<const std::vector<AttentionLayer>>(std::vector<AttentionLayer>(static_cast<size_t>(layers), layer));
  run.sequence = std::make_unique<AttentionSequence>(list, request, oracle.tokens);
  Team team(threads);
  size_t step = 0;
  for (int64_t done = 0; done < oracle.tokens;) {
    const int64_t n = std::min(oracle.tokens - done, sizes[std::min(step++, sizes.size() - 1)]);
    AttentionInput in;
    in.q_stride = in.out_stride = layer.heads * layer.head_size, in.k_stride = in.v_stride = layer.kv_heads * layer.head_size;
    in.q = oracle.q.data() + done * in.q_stride, in.k = oracle.k.data() + done * in.k_stride, in.v = oracle.v.data() + done * in.v_stride;
    in.out = run.out.data() + done * in.out_stride, in.tokens = n;
    run.sequence->begin_forward(n, threads, std::vector<int32_t>(static_cast<size_t>(n)));
    team.run([&](int rank) {
      for (int l = 0; l < layers; ++l) {
        run.sequence->attend(l, in, {&team, rank});
        team.barrier();
      }
    });
    run.sequence->end_forward();
    done += n;
  }
  return run;
}

template <typename A, typename B>
double worst(const std::vector<A>& a, const std::vector<B>& b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

}  // namespace espalier
