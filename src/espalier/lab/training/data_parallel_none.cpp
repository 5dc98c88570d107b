// Where libtorch or Gloo's headers lack what the back end needs.
#include "espalier/core/error.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/data_parallel_group.h"

namespace espalier {

std::unique_ptr<DataParallel::Group> make_group(const DataParallelPlace& place) {
  user_error("data parallel: this build has no Gloo, so it cannot be process {} of {}", place.rank, place.size);
}

}  // namespace espalier
