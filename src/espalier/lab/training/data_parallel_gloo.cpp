// Over Gloo, on the CPU.
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "espalier/core/error.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/data_parallel_group.h"

namespace espalier {
namespace {

constexpr std::chrono::seconds kTimeout(300);

class Gloo : public DataParallel::Group {
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

  void sum(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    finished([&] { return group_->allreduce(tensors, {}); });
  }

  void broadcast(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    finished([&] { return group_->broadcast(tensors, {}); });
  }

 private:
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

}  // namespace

std::unique_ptr<DataParallel::Group> make_group(const DataParallelPlace& place) { return std::make_unique<Gloo>(place); }

}  // namespace espalier
