// The collective operations that data parallel training needs; one file a back end.
#pragma once

#include <exception>

#include "espalier/core/error.h"
#include "espalier/lab/training/data_parallel.h"

namespace espalier {

class DataParallel::Group {
 public:
  virtual ~Group() = default;
  virtual void sum(at::Tensor& tensor) = 0;        // over all processes, in place; fp32
  virtual void broadcast(at::Tensor& tensor) = 0;  // from process 0
};

std::unique_ptr<DataParallel::Group> make_group(const DataParallelPlace& place);       // of tensors on the processor
std::unique_ptr<DataParallel::Group> make_cuda_group(const DataParallelPlace& place);  // of others; the first one must be there

inline std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

// What c10d throws, as UserErrors.
template <typename Make>
void found_group(const DataParallelPlace& place, const Make& make) {
  try {
    make();
  } catch (const std::exception& error) {
    user_error("data parallel: process {} of {} found no group at {}:{}: {}", place.rank, place.size, place.host, place.port, first_line(error));
  }
}

template <typename Start>
void finished(const Start& start) {
  try {
    start()->wait();
  } catch (const std::exception& error) {
    user_error("data parallel: another process was lost: {}", first_line(error));
  }
}

}  // namespace espalier
