#include "espalier/lab/training/data_parallel.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/data_parallel_group.h"

namespace espalier {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

int64_t whole(const char* name, int64_t least, int64_t most, int64_t otherwise) {
  const std::string text = variable(name);
  if (text.empty()) return otherwise;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
    throw UserError("data parallel", name, fmt::format("a whole number from {} to {}", least, most), fmt::format("'{}'", printable(text)));
  return value;
}

}  // namespace

std::string first_slurm_host(const std::string& list) {
  const size_t bracket = list.find('['), comma = list.find(',');
  if (bracket == std::string::npos || comma < bracket) return list.substr(0, comma);
  return list.substr(0, bracket) + list.substr(bracket + 1, list.find_first_of(",-]", bracket + 1) - bracket - 1);
}

DataParallelPlace data_parallel_place() {
  DataParallelPlace place;
  const bool slurm = variable("WORLD_SIZE").empty() && !variable("SLURM_PROCID").empty();
  place.size = static_cast<int>(whole(slurm ? "SLURM_NTASKS" : "WORLD_SIZE", 1, 65536, 1));
  if (place.size == 1) return place;
  const char* rank = slurm ? "SLURM_PROCID" : "RANK";
  if (variable(rank).empty()) throw UserError("data parallel", rank, fmt::format("this process's number, 0 to {}", place.size - 1), "nothing");
  place.rank = static_cast<int>(whole(rank, 0, place.size - 1, 0));
  place.host = variable("MASTER_ADDR");
  if (place.host.empty() && slurm) place.host = first_slurm_host(variable("SLURM_JOB_NODELIST"));
  if (place.host.empty()) throw UserError("data parallel", "MASTER_ADDR", "the host of process 0", "nothing");
  const int64_t by_job = slurm ? 20000 + whole("SLURM_JOB_ID", 0, INT64_MAX, 9500) % 20000 : 29500;
  place.port = static_cast<uint16_t>(whole("MASTER_PORT", 1, 65535, by_job));
  return place;
}

DataParallel::DataParallel(const DataParallelPlace& place) : place_(place), group_(make_group(place)) {}
DataParallel::~DataParallel() = default;

DataParallel::Group& DataParallel::group_of(const at::Tensor& tensor) {
  if (!tensor.is_cuda()) return *group_;
  if (!cuda_group_) cuda_group_ = make_cuda_group(place_);
  return *cuda_group_;
}

void DataParallel::average(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> flat;
  for (const auto& tensor : tensors) flat.push_back(tensor.reshape({-1}));
  at::Tensor all = at::cat(flat);
  group_of(all).sum(all);
  all.div_(place_.size);
  int64_t at = 0;
  for (const auto& tensor : tensors) {
    tensor.copy_(all.narrow(0, at, tensor.numel()).view(tensor.sizes()));
    at += tensor.numel();
  }
}

std::string DataParallel::from_first(const std::string& bytes) {
  at::Tensor size = at::full({1}, static_cast<int64_t>(bytes.size()), at::kLong);
  group_->broadcast(size);
  at::Tensor content = at::empty({size.item<int64_t>()}, at::kByte);
  if (place_.rank == 0) std::memcpy(content.data_ptr(), bytes.data(), bytes.size());
  if (content.numel() > 0) group_->broadcast(content);
  return {static_cast<const char*>(content.data_ptr()), static_cast<size_t>(content.numel())};
}

void DataParallel::check_equal(const std::string& value, const char* what) {
  const std::string mine = sha256_of(value), first = from_first(mine);
  at::Tensor different = at::full({1}, first == mine ? 0.0f : 1.0f);
  group_->sum(different);
  if (different.item<float>() > 0) user_error("data parallel: {} is not the same in all {} processes", what, place_.size);
}

}  // namespace espalier
