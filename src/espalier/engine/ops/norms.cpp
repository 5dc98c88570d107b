// BatchNorm that no weights could take, and the norms with statistics of their input: LayerNorm, RMSNorm, GroupNorm,
// InstanceNorm. A mask says which channels the statistics count.
#include <cmath>

#include "espalier/engine/kernels.h"
#include "espalier/engine/ops/broadcast.h"
#include "espalier/engine/ops/dnnl_tools.h"

namespace espalier {
namespace {

void lower_batch_norm(Lowering& l) {
  const View x = l.dense(l.as_type(l.input(0), DType::kF32));
  const ChannelAffine affine = batch_norm_affine(l.graph(), l.node(), x.shape[1]);
  Shape along(x.rank() - 1, 1);
  along[0] = x.shape[1];
  const View scale = l.constant(Tensor::from_floats(along, affine.scale)),
             shift = l.constant(Tensor::from_floats(along, affine.shift));
  const View y = elementwise_output(l, DType::kF32, x.shape, {x});
  const Broadcast<3> loop(y, {x, scale, shift});
  const float least = l.fused().tail.empty() ? -std::numeric_limits<float>::infinity() : 0;  // a relu follows
  l.step({x, scale, shift}, {y}, [loop, least](const StepPointers& p) {
    const float *in = p.input<float>(0), *a = p.input<float>(1), *b = p.input<float>(2);
    float* to = p.output<float>(0);
    loop.run([&](const Broadcast<3>::Row& row) {
      const float *xs = in + row.from[0], *as = a + row.from[1], *bs = b + row.from[2];
      if (row.by[1] == 1) {
        for (int64_t i = 0; i < row.count; ++i) to[row.to + i] = std::max(least, xs[i] * as[i] + bs[i]);
      } else {
        for (int64_t i = 0; i < row.count; ++i)
          to[row.to + i] = std::max(least, xs[i] * as[i * row.by[1]] + bs[i * row.by[2]]);
      }
    });
  });
  l.set_output(0, y);
}
const RegisterLowering batch_norm("BatchNorm", lower_batch_norm);

struct Moments {
  float mean, scale;  // scale: 1 / sqrt(variance + epsilon)
};

// Over runs × positions; run r counts if mask is null or mask[r] is not 0.
Moments moments(const float* x, const float* mask, int64_t runs, int64_t positions, double epsilon) {
  double sum = 0, squares = 0, count = 0;
  for (int64_t r = 0; r < runs; ++r) {
    if (mask && mask[r] == 0) continue;
    count += static_cast<double>(positions);
    for (int64_t i = 0; i < positions; ++i) sum += x[r * positions + i];
  }
  const double mean = sum / count;
  for (int64_t r = 0; r < runs; ++r) {
    if (mask && mask[r] == 0) continue;
    for (int64_t i = 0; i < positions; ++i) {
      const double distance = x[r * positions + i] - mean;
      squares += distance * distance;
    }
  }
  return {static_cast<float>(mean), static_cast<float>(1 / std::sqrt(squares / count + epsilon))};
}

std::vector<float> optional_floats(const Lowering& l, const char* role) {
  return l.node().has_param(role) ? l.floats(role) : std::vector<float>();
}

struct NormParams {
  std::vector<float> weight, bias, mask;  // empty: none
  double epsilon;
  explicit NormParams(const Lowering& l)
      : weight(optional_floats(l, "weight")),
        bias(optional_floats(l, "bias")),
        mask(optional_floats(l, "mask")),
        epsilon(l.node().real("epsilon")) {}
  static const float* data(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }
};

// Channels [first, first + runs) of one sample. What the mask leaves out is 0 before the bias and, with a bias, after
// it.
void normalise(const float* x, float* y, const NormParams& n, int64_t first, int64_t runs, int64_t positions) {
  const float* mask = n.mask.empty() ? nullptr : n.mask.data() + first;
  const Moments m = moments(x, mask, runs, positions, n.epsilon);
  for (int64_t r = 0; r < runs; ++r) {
    const auto channel = static_cast<size_t>(first + r);
    const float kept = mask && mask[r] == 0 ? 0.0f : 1.0f;
    const float scale = kept * m.scale * (n.weight.empty() ? 1 : n.weight[channel]),
                shift = kept * (n.bias.empty() ? 0 : n.bias[channel]);
    for (int64_t i = r * positions; i < (r + 1) * positions; ++i) y[i] = (x[i] - m.mean) * scale + shift;
  }
}

// Rows of `width` values that lie next to each other.
template <typename Fn>
void over_rows(Lowering& l, const View& x, int64_t width, const Fn& fn) {
  const View y = elementwise_output(l, DType::kF32, x.shape, {x});
  l.step({x}, {y}, [fn, rows = x.count() / std::max<int64_t>(1, width), width](const StepPointers& p) {
    parallel_parts(rows, rows * width * 4, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) fn(p.input<float>(0) + r * width, p.output<float>(0) + r * width, r);
    });
  });
  l.set_output(0, y);
}

void lower_layer_norm(Lowering& l) {
  const View x = l.contiguous(l.as_type(l.input(0), DType::kF32));
  const auto n = std::make_shared<const NormParams>(l);
  const int64_t width = l.node().integer_or("head_size", 0) > 0 ? l.node().integer("head_size") : x.shape.back();
  if (!n->mask.empty() && width == x.shape.back())
    return over_rows(l, x, width,
                     [n, width](const float* in, float* out, int64_t) { normalise(in, out, *n, 0, width, 1); });
  over_rows(l, x, width, [n, width, kernel = vector_kernels().layer_norm](const float* in, float* out, int64_t) {
    kernel(in, NormParams::data(n->weight), NormParams::data(n->bias), width, static_cast<float>(n->epsilon), out);
  });
}
const RegisterLowering layer_norm("LayerNorm", lower_layer_norm);

void masked_rms(const float* x, float* y, const NormParams& n, int64_t width) {
  double squares = 0, count = 0;
  for (int64_t i = 0; i < width; ++i) {
    const double kept = x[i] * n.mask[static_cast<size_t>(i)];
    squares += kept * kept;
    count += n.mask[static_cast<size_t>(i)];
  }
  const auto scale = static_cast<float>(1 / std::sqrt(squares / count + n.epsilon));
  for (int64_t i = 0; i < width; ++i) {
    const auto at = static_cast<size_t>(i);
    y[i] = x[i] * n.mask[at] * scale * (n.weight.empty() ? 1 : n.weight[at]);
  }
}

void lower_rms_norm(Lowering& l) {
  const View x = l.contiguous(l.as_type(l.input(0), DType::kF32));
  const auto n = std::make_shared<const NormParams>(l);
  const int64_t head_size = l.node().integer_or("head_size", 0), width = head_size > 0 ? head_size : x.shape.back();
  if (!n->mask.empty() && head_size == 0)
    return over_rows(l, x, width, [n, width](const float* in, float* out, int64_t) { masked_rms(in, out, *n, width); });
  over_rows(l, x, width, [n, width, kernel = vector_kernels().rms_norm](const float* in, float* out, int64_t) {
    kernel(in, NormParams::data(n->weight), width, static_cast<float>(n->epsilon), out);
  });
}
const RegisterLowering rms_norm("RMSNorm", lower_rms_norm);

// Runs of channels of [n, C, …], each with statistics over its channels and positions.
void over_channel_groups(Lowering& l, int64_t groups) {
  const View x = l.contiguous(l.as_type(l.input(0), DType::kF32));
  const auto n = std::make_shared<const NormParams>(l);
  const int64_t runs = x.shape[1] / groups, positions = x.count() / std::max<int64_t>(1, x.shape[0] * x.shape[1]);
  over_rows(l, x, runs * positions, [n, groups, runs, positions](const float* in, float* out, int64_t row) {
    normalise(in, out, *n, row % groups * runs, runs, positions);
  });
}
const RegisterLowering group_norm("GroupNorm",
                                  [](Lowering& l) { over_channel_groups(l, l.node().integer("num_groups")); });
const RegisterLowering instance_norm("InstanceNorm", [](Lowering& l) {
  over_channel_groups(l, std::max<int64_t>(1, l.input(0).shape[1]));
});

}  // namespace
}  // namespace espalier
