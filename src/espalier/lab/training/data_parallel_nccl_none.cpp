// Where libtorch has no CUDA, or no NCCL.
#include "espalier/core/error.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/data_parallel_group.h"

namespace espalier {

std::unique_ptr<DataParallel::Group> make_cuda_group(const DataParallelPlace& place) {
  user_error("data parallel: this build has no NCCL, so process {} of {} cannot average what is on CUDA devices", place.rank, place.size);
}

}  // namespace espalier
