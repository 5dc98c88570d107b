// Over Gloo, on the CPU.
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/data_parallel_c10d.h"

namespace espalier {
namespace {

constexpr std::chrono::seconds kTimeout(300);

class Gloo : public C10dGroup<c10d::ProcessGroupGloo> {
 public:
  explicit Gloo(const DataParallelPlace& place) {
    found_group(place, [&] {
      c10d::TCPStoreOptions options;
      options.port = place.port;
      options.isServer = place.rank == 0;
      options.numWorkers = static_cast<size_t>(place.size);
      options.timeout = kTimeout;
      auto store = c10::make_intrusive<c10d::TCPStore>(place.host, options);
      auto settings = c10d::ProcessGroupGloo::Options::create(kTimeout);
      settings->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
      group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store, place.rank, place.size, settings);
    });
  }
};

}  // namespace

std::unique_ptr<DataParallel::Group> make_group(const DataParallelPlace& place) { return std::make_unique<Gloo>(place); }

}  // namespace espalier
