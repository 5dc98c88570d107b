#include "espalier/engine/gemm.h"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <vector>

#include "espalier/core/error.h"

// Of OpenMP, which oneDNN would otherwise start threads with inside ours.
extern "C" void omp_set_num_threads(int count);

namespace espalier {
namespace {

// Rows of one tile of expanded weights: half of a core's second cache.
int64_t tile_rows(int64_t columns) { return std::max<int64_t>(16, (int64_t{1} << 17) / std::max<int64_t>(1, columns) / 16 * 16); }

void sgemm(const float* x, int64_t x_stride, int64_t vectors, const float* weights, int64_t columns, float* y, int64_t y_stride, int64_t rows) {
  const dnnl_status_t status = dnnl_sgemm('N', 'T', vectors, rows, columns, 1.0f, x, x_stride, weights, columns, 0.0f, y, y_stride);
  ESP_ASSERT(status == dnnl_success);
}

}  // namespace

struct GemmWorkspace::State {
  std::vector<std::vector<float>> tiles;  // by rank
};

struct GemmAccess {
  static float* tile(GemmWorkspace& workspace, int rank) { return workspace.state_->tiles.at(static_cast<size_t>(rank)).data(); }
};

GemmWorkspace::GemmWorkspace() : state_(std::make_unique<State>()) {}
GemmWorkspace::~GemmWorkspace() = default;

void GemmWorkspace::reserve(const WeightMatrix& matrix, int64_t, int team) {
  auto& tiles = state_->tiles;
  if (tiles.size() < static_cast<size_t>(team)) tiles.resize(static_cast<size_t>(team));
  const auto need = static_cast<size_t>(tile_rows(matrix.columns) * matrix.columns);
  for (std::vector<float>& tile : tiles) tile.resize(std::max(tile.size(), need));
}

void gemm(const WeightMatrix& matrix, const float* x, int64_t x_stride, int64_t vectors, float* y, int64_t y_stride, Slice rows,
          GemmWorkspace& workspace, int rank) {
  omp_set_num_threads(1);
  const int64_t columns = matrix.columns;
  if (matrix.form == WeightForm{}) {
    const float* weights = matrix.values.as<float>().data() + rows.begin * columns;
    return sgemm(x, x_stride, vectors, weights, columns, y + rows.begin, y_stride, rows.end - rows.begin);
  }
  float* tile = GemmAccess::tile(workspace, rank);
  for (int64_t r = rows.begin; r < rows.end; r += tile_rows(columns)) {
    const int64_t end = std::min(rows.end, r + tile_rows(columns));
    expand_rows(matrix, r, end, tile, columns);
    sgemm(x, x_stride, vectors, tile, columns, y + r, y_stride, end - r);
  }
}

}  // namespace espalier
