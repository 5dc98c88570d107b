// The collective operations that data parallel training needs; one file a back end.
#pragma once

#include "espalier/lab/training/data_parallel.h"

namespace espalier {

class DataParallel::Group {
 public:
  virtual ~Group() = default;
  virtual void sum(at::Tensor& tensor) = 0;        // over all processes, in place; fp32
  virtual void broadcast(at::Tensor& tensor) = 0;  // from process 0
};

std::unique_ptr<DataParallel::Group> make_group(const DataParallelPlace& place);

}  // namespace espalier
