// The collective operations of a group of c10d, whatever its back end.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include "espalier/lab/training/data_parallel_group.h"

namespace espalier {

template <typename Backend>
class C10dGroup : public DataParallel::Group {
 public:
  void sum(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    finished([&] { return group_->allreduce(tensors, {}); });
  }

  void broadcast(at::Tensor& tensor) override {
    std::vector<at::Tensor> tensors = {tensor};
    finished([&] { return group_->broadcast(tensors, {}); });
  }

 protected:
  c10::intrusive_ptr<Backend> group_;
};

}  // namespace espalier
