// Weights that torch.save wrote: the zip form (since torch 1.6) and the older stream of pickles. See
// torch_pickle_machine.h for what makes this safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "espalier/core/file.h"
#include "espalier/core/tensor.h"

namespace espalier {

// A tensor of the state dict and where its elements lie in the file. Proven: all lie within the tensor's storage and
// that within the file, and there are not more of them than the storage has elements.
struct TorchTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape, strides;  // strides in elements
  uint64_t begin = 0;    // byte position of the first element

  bool contiguous() const;
};

// Either form, by its first bytes. UserError: `where` and what is wrong.
std::vector<TorchTensor> parse_torch(std::span<const std::byte> file, const std::string& where);

// The elements in row-major order, copied.
Tensor gather_torch_tensor(std::span<const std::byte> file, const TorchTensor& tensor);

class TorchFile {
 public:
  static std::shared_ptr<const TorchFile> open(const std::filesystem::path& path);

  const std::vector<TorchTensor>& tensors() const { return tensors_; }
  // A view where the tensor is contiguous and aligned, else a copy.
  Tensor tensor(const TorchTensor& tensor) const;
  const MappedFile& file() const { return *file_; }
  std::shared_ptr<const MappedFile> shared_file() const { return file_; }

 private:
  TorchFile() = default;
  std::shared_ptr<const MappedFile> file_;
  std::vector<TorchTensor> tensors_;
};

}  // namespace espalier
