// Over NCCL, for tensors on CUDA devices. The processes meet at the store that the first one's Gloo group serves.
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/data_parallel_c10d.h"

namespace espalier {
namespace {

class Nccl : public C10dGroup<c10d::ProcessGroupNCCL> {
 public:
  explicit Nccl(const DataParallelPlace& place) {
    found_group(place, [&] {
      c10d::TCPStoreOptions options;
      options.port = place.port;
      options.waitWorkers = false;
      auto store = c10::make_intrusive<c10d::PrefixStore>("cuda", c10::make_intrusive<c10d::TCPStore>(place.host, options));
      group_ = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, place.rank, place.size);
    });
  }
};

}  // namespace

std::unique_ptr<DataParallel::Group> make_cuda_group(const DataParallelPlace& place) { return std::make_unique<Nccl>(place); }

}  // namespace espalier
