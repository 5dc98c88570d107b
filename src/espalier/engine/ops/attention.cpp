// Attention and RotaryEmbedding over whole sequences from position 0. Scores of a block of queries at a time, a head a
// thread, so that they stay in the cache.
#include <oneapi/dnnl/dnnl.h>

#include <cmath>
#include <limits>

#include "espalier/engine/kernels.h"
#include "espalier/engine/ops/lowering.h"
#include "espalier/engine/ops/parallel.h"
#include "espalier/graph/ops/attention_masks.h"

namespace espalier {
namespace {

constexpr int64_t kQueries = 64;  // a block

// [batch, tokens, heads · size] under strides whose last is 1.
struct Rows {
  int64_t by_batch, by_token;
  explicit Rows(const View& view) : by_batch(view.strides[0]), by_token(view.strides[1]) {}
};

// A mask under its strides for [batch, heads, queries, keys], 0 where it repeats.
struct Mask {
  int64_t kind, rows;  // rows: of its first dim, which the batch goes through again and again
  float fill;
  Shape strides;

  void apply(float* scores, const float* mask, int64_t b, int64_t h, int64_t query, int64_t keys) const {
    const float* row = mask + b % rows * strides[0] + h * strides[1] + query * strides[2];
    for (int64_t j = 0; j < keys; ++j) {
      const float m = row[j * strides[3]];
      if (kind == kAddMask) {
        scores[j] += m;
      } else if ((m != 0) == (kind == kFillWhere)) {
        scores[j] = fill;
      }
    }
  }
};

struct Heads {
  int64_t batch, tokens, keys, heads, kv_heads, size, window;
  float scale;
  bool causal;
  Rows q, k, v;
  std::vector<Mask> masks;
  void (*softmax)(float*, int64_t);

  // −infinity where query i of the sequence must not look: the future, and what the window has left behind.
  void mask(float* scores, int64_t query) const {
    constexpr float kNever = -std::numeric_limits<float>::infinity();
    for (int64_t j = query + 1; j < keys; ++j) scores[j] = kNever;
    for (int64_t j = 0; window > 0 && j <= query - window && j < keys; ++j) scores[j] = kNever;
  }

  void block(const StepPointers& p, int64_t b, int64_t h, int64_t first, float* scores) const {
    const int64_t kv = h / (heads / kv_heads);
    const float* query = p.input<float>(0) + b * q.by_batch + h * size;
    const float* key = p.input<float>(1) + b * k.by_batch + kv * size;
    const float* value = p.input<float>(2) + b * v.by_batch + kv * size;
    float* y = p.output<float>(0) + b * tokens * heads * size + h * size;
    const int64_t rows = std::min(kQueries, tokens - first), width = heads * size;
    dnnl_sgemm('N', 'T', rows, keys, size, scale, query + first * q.by_token, q.by_token, key, k.by_token, 0, scores,
               keys);
    for (int64_t i = 0; i < rows; ++i) {
      for (size_t m = 0; m < masks.size(); ++m)
        masks[m].apply(scores + i * keys, p.input<float>(3 + m), b, h, first + i, keys);
      if (causal) mask(scores + i * keys, first + i);
      softmax(scores + i * keys, keys);
    }
    dnnl_sgemm('N', 'N', rows, size, keys, 1, scores, keys, value, v.by_token, 0, y + first * width, width);
  }

  void run(const StepPointers& p) const {
    parallel_parts(batch * heads, batch * heads * tokens * keys * size, [&](int64_t begin, int64_t end) {
      float* scores = reinterpret_cast<float*>(p.scratch) + begin * kQueries * keys;
      for (int64_t i = begin; i < end; ++i) {
        for (int64_t first = 0; first < tokens; first += kQueries) block(p, i / heads, i % heads, first, scores);
      }
    });
  }
};

// Rows whose channels lie next to each other; a token's may lie anywhere after the last one's.
View rows_of(Lowering& l, size_t i) {
  const View x = l.as_type(l.input(i), DType::kF32);
  const bool fits = x.strides[2] == 1 && x.strides[1] >= x.shape[2] && x.strides[0] >= 0;
  return fits ? x : l.contiguous(x);
}

// As floats, of four dims.
View mask_of(Lowering& l, size_t i) {
  const View mask = l.contiguous(l.as_type(l.input(i), DType::kF32));
  Shape shape(4 - mask.rank(), 1);
  shape.insert(shape.end(), mask.shape.begin(), mask.shape.end());
  return *reshaped(mask, shape);
}

std::vector<Mask> masks_of(const Lowering& l, const std::vector<View>& inputs) {
  std::vector<Mask> masks;
  const auto fills = attention_fills(l.node());
  for (size_t i = 3; i < inputs.size(); ++i) {
    Shape strides = contiguous_strides(inputs[i].shape);
    for (size_t d = 0; d < 4; ++d)
      if (inputs[i].shape[d] == 1) strides[d] = 0;
    masks.push_back({l.node().integers("masks")[i - 3], inputs[i].shape[0], static_cast<float>(fills[i - 3]), strides});
  }
  return masks;
}

void lower_attention(Lowering& l) {
  const View q = rows_of(l, 0), k = rows_of(l, 1), v = rows_of(l, 2);
  const View y = l.make(DType::kF32, q.shape);
  const int64_t size = l.node().integer("head_size");
  std::vector<View> inputs{q, k, v};
  for (size_t i = 3; i < l.input_count(); ++i) inputs.push_back(mask_of(l, i));
  const Heads heads{q.shape[0],
                    q.shape[1],
                    k.shape[1],
                    q.shape[2] / size,
                    k.shape[2] / size,
                    size,
                    l.node().integer_or("window", 0),
                    static_cast<float>(l.node().real("scale")),
                    l.node().flag_or("causal", true),
                    Rows(q),
                    Rows(k),
                    Rows(v),
                    masks_of(l, inputs),
                    vector_kernels().softmax};
  const int64_t slots = heads.batch * heads.heads;
  l.step(
      inputs, {y}, [heads](const StepPointers& p) { heads.run(p); },
      static_cast<uint64_t>(slots * kQueries * heads.keys) * sizeof(float));
  l.set_output(0, y);
}
const RegisterLowering attention("Attention", lower_attention);

struct Rotation {
  std::vector<float> cosine, sine;  // [tokens, half]
  int64_t half, size;

  void head(const float* x, float* y, int64_t token) const {
    const float *c = cosine.data() + token * half, *s = sine.data() + token * half;
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[half + i];
      y[i] = a * c[i] - b * s[i];
      y[half + i] = b * c[i] + a * s[i];
    }
    for (int64_t i = 2 * half; i < size; ++i) y[i] = x[i];
  }
};

void lower_rotary(Lowering& l) {
  const View x = l.contiguous(l.as_type(l.input(0), DType::kF32));
  const auto& frequency = std::get<std::vector<double>>(l.node().attributes.at("inverse_frequency"));
  const int64_t size = l.node().integer("head_size"), tokens = x.shape[1], heads = x.shape[2] / size;
  auto rotation = std::make_shared<Rotation>();
  rotation->half = std::ssize(frequency);
  rotation->size = size;
  for (int64_t t = 0; t < tokens; ++t)
    for (double f : frequency) {
      const float angle = static_cast<float>(t) * static_cast<float>(f);  // fp32, as the models were trained with
      rotation->cosine.push_back(std::cos(angle) * static_cast<float>(l.node().real("scale")));
      rotation->sine.push_back(std::sin(angle) * static_cast<float>(l.node().real("scale")));
    }
  const View y = l.make(DType::kF32, x.shape);
  l.step({x}, {y}, [rotation, rows = x.shape[0] * tokens, tokens, heads](const StepPointers& p) {
    parallel_parts(rows, rows * heads * rotation->size, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * heads; i < end * heads; ++i)
        rotation->head(p.input<float>(0) + i * rotation->size, p.output<float>(0) + i * rotation->size,
                       i / heads % tokens);
    });
  });
  l.set_output(0, y);
}
const RegisterLowering rotary("RotaryEmbedding", lower_rotary);

}  // namespace
}  // namespace espalier
