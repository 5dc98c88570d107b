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
    try {
      c10d::TCPStoreOptions options;
      options.port = place.port;
      options.isServer = place.rank == 0;
      options.numWorkers = static_cast<size_t>(place.size);
      options.timeout = kTimeout;
      auto store = c10::make_intrusive<c10d::TCPStore>(place.host, options);
      auto settings = c10d::ProcessGroupGloo::Options::create(kTimeout);
      settings->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
      group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store, place.rank, place.size, settings);
    } catch (const std::exception& error) {
      user_error("data parallel: process {} of {} found no group at {}:{}: {}", place.rank, place.size, place.host, place.port, first_line(error));
    }
  }

  void sum(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    wait([&] { return group_->allreduce(tensors, {}); });
  }

  void broadcast(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    wait([&] { return group_->broadcast(tensors, {}); });
  }

 private:
  static std::string first_line(const std::exception& error) {
    const std::string text = error.what();
    return text.substr(0, text.find('\n'));
  }

  template <typename Start>
  void wait(const Start& start) {
    try {
      start()->wait();
    } catch (const std::exception& error) {
      user_error("data parallel: another process was lost: {}", first_line(error));
    }
  }

  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

}  // namespace

std::unique_ptr<DataParallel::Group> make_group(const DataParallelPlace& place) { return std::make_unique<Gloo>(place); }

}  // namespace espalier
