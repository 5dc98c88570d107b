// The engine's kernels beside what bounds them. Every figure is taken in turns with its yardstick – a pass over memory,
// the dense form of the same precision, oneDNN's product – and medians of the turns are compared, so that a busy machine
// slows both alike. Matrix-vector: 16384 × 4096, larger than the last cache. OMP_NUM_THREADS does not matter.
//   kernels_bench --benchmark_filter='mat_vec/bf16.*threads:2'
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "espalier/core/rng.h"
#include "espalier/engine/gemm.h"
#include "espalier/engine/kernels.h"
#include "espalier/engine/machine_limits.h"
#include "espalier/engine/team.h"

extern "C" void omp_set_num_threads(int count);

namespace {

using namespace espalier;

constexpr int64_t kRows = 16384, kColumns = 4096;
constexpr int kTurns = 21;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Runs all in turns; medians in their order. The first is what the benchmark reports as its time. Works with threads of their
// own wait for each other's to stop spinning, which would take their cores, and then wake theirs.
std::vector<double> take_turns(benchmark::State& state, const std::vector<std::function<void()>>& works, bool own_threads = false) {
  std::vector<std::vector<double>> times(works.size());
  for ([[maybe_unused]] auto unused : state) {
    for (size_t i = 0; i < works.size(); ++i) {
      if (own_threads) {
        // Awake: a thread that is woken by one that slept shares its core at first.
        for (const auto start = std::chrono::steady_clock::now(); std::chrono::steady_clock::now() - start < std::chrono::milliseconds(15);) continue;
        for (int run = 0; run < 3; ++run) works[i]();
      }
      times[i].push_back(seconds_of(works[i]));
    }
    state.SetIterationTime(times[0].back());
  }
  std::vector<double> medians;
  for (const auto& list : times) medians.push_back(median(list));
  return medians;
}

template <typename T>
struct LineAllocator {
  using value_type = T;
  LineAllocator() = default;
  template <typename U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(operator new(n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, size_t) { operator delete(p, std::align_val_t{64}); }
  bool operator==(const LineAllocator&) const { return true; }
};

// How many of each 100 columns are kept, in which pattern.
struct Kept {
  int percent = 100;
  Layout pattern = Layout::kDense;
};

bool keeps(const Kept& kept, Rng& rng, int64_t column, bool before) {
  if (kept.percent == 100) return true;
  if (kept.pattern == Layout::kNOfM) return column % 4 < 2;
  if (kept.pattern == Layout::kBlock16 && column % kBlockColumns != 0) return before;
  return rng.uniform() * 100 < kept.percent;
}

Tensor random_weight(int64_t rows, int64_t columns, const Kept& kept) {
  Rng rng(1, "bench");
  Tensor weight(DType::kF32, {rows, columns});
  const auto values = weight.mutable_as<float>();
  bool keep = true;
  for (size_t i = 0; i < values.size(); ++i) {
    keep = keeps(kept, rng, static_cast<int64_t>(i) % columns, keep);
    if (keep) values[i] = static_cast<float>(static_cast<int>(i * 2654435761u % 2000u) - 1000) * 1e-3f + 5e-4f;
  }
  return weight;
}

const WeightMatrix& matrix_of(const WeightForm& form, const Kept& kept) {
  static std::map<std::string, WeightMatrix> made;
  const std::string key = to_string(form) + std::to_string(kept.percent);
  auto found = made.find(key);
  if (found == made.end()) found = made.emplace(key, make_matrix(random_weight(kRows, kColumns, kept), form, "bench")).first;
  return found->second;
}

Team& team_of(int threads) {
  static std::map<int, std::unique_ptr<Team>> teams;
  std::unique_ptr<Team>& team = teams[threads];
  if (!team) team = std::make_unique<Team>(threads);
  return *team;
}

MemoryStream& memory_stream() {
  static MemoryStream stream;
  return stream;
}

// Whole cache lines, as the decoder's buffers are: a load across two costs twice.
using Floats = std::vector<float, LineAllocator<float>>;

void multiply(const WeightMatrix& matrix, Team& team, int64_t vectors, const Floats& x, Floats& y) {
  const MatVec kernel = mat_vec(matrix.form);
  team.run([&](int rank) {
    const Slice rows = slice_of(matrix.rows, rank, team.size(), 16);
    kernel(matrix, x.data(), matrix.columns, vectors, y.data(), matrix.rows, rows.begin, rows.end);
  });
}

void mat_vec_benchmark(benchmark::State& state, const WeightForm& form, const Kept& kept, int64_t vectors, int threads) {
  Team& team = team_of(threads);
  const WeightMatrix& matrix = matrix_of(form, kept);
  const WeightMatrix& dense = matrix_of({form.precision, Layout::kDense, form.group}, {});
  Floats x(static_cast<size_t>(vectors * kColumns), 0.5f), y(static_cast<size_t>(vectors * kRows));
  const std::vector<double> seconds = take_turns(state, {[&] { multiply(matrix, team, vectors, x, y); }, [&] { memory_stream().pass(team); },
                                                         [&] { multiply(dense, team, vectors, x, y); }});
  const double bytes = static_cast<double>(matrix.byte_size());
  state.counters["GB/s"] = bytes / seconds[0] / 1e9;
  state.counters["stream_GB/s"] = memory_stream().bytes() / seconds[1] / 1e9;
  state.counters["of_stream"] = bytes / seconds[0] / (memory_stream().bytes() / seconds[1]);
  state.counters["times_dense"] = seconds[2] / seconds[0];
  state.counters["byte_ratio"] = static_cast<double>(dense.byte_size()) / bytes;
}

// The product of one shape by oneDNN, on weights laid out as ours: [rows, columns].
class OneDnnProduct {
 public:
  OneDnnProduct(dnnl::memory::data_type type, int64_t vectors, int64_t rows, int64_t columns)
      : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using Memory = dnnl::memory;
    const auto result = type == Memory::data_type::s8 ? Memory::data_type::s32 : Memory::data_type::f32;
    const Memory::desc x({vectors, columns}, type, Memory::format_tag::ab), w({columns, rows}, type, Memory::format_tag::ba),
        y({vectors, rows}, result, Memory::format_tag::ab);
    product_ = dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(x, w, y), engine_));
    arguments_ = {{DNNL_ARG_SRC, filled(x)}, {DNNL_ARG_WEIGHTS, filled(w)}, {DNNL_ARG_DST, filled(y)}};
  }

  void run(int threads) {
    omp_set_num_threads(threads);
    product_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  // Bytes that are small whole numbers in every type.
  dnnl::memory filled(const dnnl::memory::desc& layout) {
    dnnl::memory memory(layout, engine_);
    std::fill_n(static_cast<unsigned char*>(memory.get_data_handle()), layout.get_size(), static_cast<unsigned char>(1));
    return memory;
  }

  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::matmul product_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

dnnl::memory::data_type oneDnn_type(Precision precision) {
  if (precision == Precision::kBF16) return dnnl::memory::data_type::bf16;
  return precision == Precision::kI8 ? dnnl::memory::data_type::s8 : dnnl::memory::data_type::f32;
}

struct GemmShape {
  int64_t vectors, columns, rows;
};

void gemm_benchmark(benchmark::State& state, const WeightForm& form, const Kept& kept, const GemmShape& shape, int threads) {
  Team& team = team_of(threads);
  const WeightMatrix matrix = make_matrix(random_weight(shape.rows, shape.columns, kept), form, "bench");
  GemmWorkspace workspace;
  workspace.reserve(matrix, shape.vectors, threads);
  Floats x(static_cast<size_t>(shape.vectors * shape.columns), 0.5f), y(static_cast<size_t>(shape.vectors * shape.rows));
  const std::function<void(int)> pass = [&](int rank) {
    gemm(matrix, x.data(), shape.columns, shape.vectors, y.data(), shape.rows, slice_of(shape.rows, rank, threads, 16), workspace, rank);
  };
  OneDnnProduct other(oneDnn_type(form.precision), shape.vectors, shape.rows, shape.columns);
  const std::vector<double> seconds = take_turns(state, {[&] { team.run(pass); }, [&] { other.run(threads); }}, threads > 1);
  const double flops = 2.0 * static_cast<double>(shape.vectors) * static_cast<double>(shape.rows) * static_cast<double>(shape.columns);
  static std::map<int, double> peaks;
  if (!peaks.contains(threads)) peaks[threads] = peak_flops(team);
  state.counters["GFLOP/s"] = flops / seconds[0] / 1e9;
  state.counters["oneDNN_GFLOP/s"] = flops / seconds[1] / 1e9;
  state.counters["times_oneDNN"] = seconds[1] / seconds[0];
  state.counters["of_fp32_peak"] = flops / seconds[0] / peaks[threads];
}

void stream_benchmark(benchmark::State& state, int threads) {
  const std::vector<double> seconds = take_turns(state, {[&] { memory_stream().pass(team_of(threads)); }});
  state.counters["GB/s"] = memory_stream().bytes() / seconds[0] / 1e9;
}

void peak_benchmark(benchmark::State& state, int threads) {
  for ([[maybe_unused]] auto unused : state) {
    double flops = 0;
    state.SetIterationTime(seconds_of([&] { flops = peak_flops(team_of(threads)); }));
    state.counters["GFLOP/s"] = flops / 1e9;
  }
}

std::string form_name(const WeightForm& form, const Kept& kept) {
  std::string name = to_string(form);
  std::replace(name.begin(), name.end(), ' ', ':');
  return kept.percent == 100 ? name : name + ":" + std::to_string(kept.percent) + "%";
}

template <typename F>
void add(const std::string& name, int turns, F function) {
  benchmark::RegisterBenchmark(name.c_str(), function)->UseManualTime()->Iterations(turns)->Unit(benchmark::kMillisecond);
}

void add_mat_vec(const WeightForm& form, const Kept& kept, int threads) {
  for (int64_t vectors : {1, 8}) {
    const std::string name = "mat_vec/" + form_name(form, kept) + "/vectors:" + std::to_string(vectors) + "/threads:" + std::to_string(threads);
    add(name, kTurns, [=](benchmark::State& state) { mat_vec_benchmark(state, form, kept, vectors, threads); });
  }
}

void add_gemm(const WeightForm& form, const Kept& kept, int threads) {
  for (const GemmShape& shape : {GemmShape{256, 768, 2048}, GemmShape{256, 2048, 768}, GemmShape{256, 768, 768}, GemmShape{256, 2048, 8192}}) {
    const std::string size = std::to_string(shape.vectors) + "x" + std::to_string(shape.columns) + "x" + std::to_string(shape.rows);
    add("gemm/" + form_name(form, kept) + "/" + size + "/threads:" + std::to_string(threads), kTurns,
        [=](benchmark::State& state) { gemm_benchmark(state, form, kept, shape, threads); });
  }
}

void register_all() {
  using enum Precision;
  for (int threads : {1, 2}) {
    add("stream/threads:" + std::to_string(threads), kTurns, [=](benchmark::State& state) { stream_benchmark(state, threads); });
    add("peak/threads:" + std::to_string(threads), 1, [=](benchmark::State& state) { peak_benchmark(state, threads); });
    for (const WeightForm& form : {WeightForm{kF32}, {kBF16}, {kF16}, {kI8}, {kI8, Layout::kDense, 32}, {kI8, Layout::kDense, 64}, {kI8, Layout::kDense, 128}}) {
      add_mat_vec(form, {}, threads);
      add_gemm(form, {}, threads);
    }
    for (Precision precision : {kF32, kBF16, kF16, kI8}) {
      add_mat_vec({precision, Layout::kNOfM, 0, 2, 4}, {50, Layout::kNOfM}, threads);
      for (int percent : {50, 30})
        for (Layout layout : {Layout::kBitmap, Layout::kBlock16}) add_mat_vec({precision, layout}, {percent, layout}, threads);
      add_gemm({precision, Layout::kBitmap}, {50, Layout::kBitmap}, threads);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (machine_simd_level() < SimdLevel::kAvx2) {
    std::fputs("kernels_bench: needs a machine with AVX2\n", stderr);
    return 2;
  }
  register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
