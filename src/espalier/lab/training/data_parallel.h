// Several processes that train one model, each on its share of every batch, over torch's c10d. They are started by
// whatever sets the usual variables: torchrun and Kubernetes operators (MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE), or
// Slurm (SLURM_PROCID, SLURM_NTASKS, SLURM_JOB_ID and the first of SLURM_JOB_NODELIST, unless MASTER_ADDR names it).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace espalier {

struct DataParallelPlace {
  std::string host;
  uint16_t port = 29500;
  int rank = 0, size = 1;
};

// From the environment; size 1 when nothing asks for several processes. UserError naming the variable.
DataParallelPlace data_parallel_place();

class DataParallel {
 public:
  // Waits for the others. UserError when they do not come.
  explicit DataParallel(const DataParallelPlace& place);
  ~DataParallel();
  DataParallel(const DataParallel&) = delete;

  int rank() const { return place_.rank; }
  int size() const { return place_.size; }

  // Each tensor becomes its mean over the processes, in place; they have the same tensors in the same order, all on one
  // device: Gloo averages on the processor, NCCL on CUDA. UserError when a process is lost, or without NCCL.
  void average(const std::vector<at::Tensor>& tensors);
  // Every process gets rank 0's bytes.
  std::string from_first(const std::string& bytes);
  // UserError unless all processes say the same: `what` is named.
  void check_equal(const std::string& value, const char* what);

  class Group;

 private:
  Group& group_of(const at::Tensor& tensor);

  DataParallelPlace place_;
  std::unique_ptr<Group> group_, cuda_group_;  // the latter when the first tensor asks for it
};

// The first host of Slurm's short form: "node[03-07,9],other" is node03.
std::string first_slurm_host(const std::string& list);

}  // namespace espalier
