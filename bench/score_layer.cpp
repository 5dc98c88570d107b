// Times one pruning decision for one Linear layer: the espalier side of score_layer.sh.
//   score_layer DIR METHOD OUT IN TOKENS THREADS     METHOD: wanda | sparsegpt
// Reads DIR/W.f32 [OUT, IN] and DIR/X.f32 [TOKENS, IN], prunes 50 %, prints the seconds (statistics and reading not
// counted) and writes the mask to DIR/METHOD.espalier.mask and, for sparsegpt, the weights to DIR/METHOD.espalier.f32.
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "espalier/core/error.h"
#include "espalier/lab/criteria/sparsegpt.h"
#include "espalier/lab/criteria/wanda.h"
#include "espalier/lab/measure/statistics.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

at::Tensor read_matrix(const std::string& path, int64_t rows, int64_t cols) {
  auto matrix = at::empty({rows, cols}, at::kFloat);
  std::ifstream in(path, std::ios::binary);
  in.read(static_cast<char*>(matrix.data_ptr()), rows * cols * 4);
  if (!in) user_error("{}: cannot read {} numbers", path, rows * cols);
  return matrix;
}

void write_bytes(const std::string& path, const at::Tensor& tensor) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(tensor.data_ptr()), static_cast<std::streamsize>(tensor.nbytes()));
}

template <typename Work>
double seconds_of(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double time_wanda(const std::string& prefix, const at::Tensor& w, const at::Tensor& x) {
  ColumnNorms norms(w.size(1), "layer");
  norms.add(x);
  const auto c = norms.norms();
  at::Tensor mask;
  const double seconds = seconds_of([&] { mask = wanda_mask(w, c, {.sparsity = 0.5}, "layer"); });
  write_bytes(prefix + ".espalier.mask", mask);
  return seconds;
}

double time_sparsegpt(const std::string& prefix, const at::Tensor& w, const at::Tensor& x) {
  const auto hessian = at::mm(x.t(), x).mul_(2.0 / static_cast<double>(x.size(0)));
  SparseGptResult result;
  const double seconds = seconds_of([&] { result = sparsegpt(w, hessian, {}, "layer"); });
  write_bytes(prefix + ".espalier.mask", result.keep);
  write_bytes(prefix + ".espalier.f32", result.weight);
  return seconds;
}

int run(char** arguments) {
  const std::string directory = arguments[1], method = arguments[2], prefix = directory + "/" + method;
  const int64_t out = std::atoll(arguments[3]), in = std::atoll(arguments[4]), tokens = std::atoll(arguments[5]);
  at::set_num_threads(std::atoi(arguments[6]));
  const auto w = read_matrix(directory + "/W.f32", out, in), x = read_matrix(directory + "/X.f32", tokens, in);
  fmt::print("{:.4f}\n", method == "wanda" ? time_wanda(prefix, w, x) : time_sparsegpt(prefix, w, x));
  return 0;
}

}  // namespace
}  // namespace espalier

int main(int count, char** arguments) {
  if (count != 7) {
    fmt::print(stderr, "usage: score_layer DIR wanda|sparsegpt OUT IN TOKENS THREADS\n");
    return 2;
  }
  try {
    return espalier::run(arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "score_layer: {}\n", error.what());
    return 1;
  }
}
