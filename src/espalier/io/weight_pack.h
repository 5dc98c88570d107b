// Packed weights in the layout in which the engine multiplies them, so that a mapped file is used as it lies there. For a
// weight NAME of shape [out, in] in a form (core/weight_form.h) the file has the tensors that the form needs, flat, filled up
// with zeros to a multiple of 64 bytes and beginning at one:
//   NAME.values   the stored values in row order, then kValueSlack more (N:M, bitmap): of the precision's type, I8 for int8
//   NAME.index    N:M and bitmap: U8 [out, bitmap_stride(in)], bit i of byte j says that column 8 j + i is stored;
//                 blocks: U16, the column of each block / 16, ascending in a row
//   NAME.offsets  bitmap and blocks: I64 [out + 1], the first value / block of each row
//   NAME.scales   int8: F32 [out, ceil(in / group)], or [out, 1]
// and the metadata say "espalier.pack": {"NAME": {"form": "bf16 2:4", "shape": [out, in], "dtype": "BF16"}}; dtype is what the
// weight was and unpacks to. A negative zero unpacks as zero. (The older form of bitmap_pack.h is read as well.)
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "espalier/core/tensor.h"
#include "espalier/core/weight_form.h"
#include "espalier/io/safetensors.h"

namespace espalier {

struct PackedParts {
  WeightForm form;
  Shape shape;  // [out, in]
  DType dtype = DType::kF32;
  Tensor values, index, offsets, scales;  // those that the form has
};

// "values", … of the parts that the form has.
std::vector<std::string> part_names(const WeightForm& form);
Tensor& part_of(PackedParts& parts, const std::string& name);

// The tensor as a file holds it: flat and filled up.
Tensor filled_up(const Tensor& part);

// Types and sizes, without reading the parts. sizes: the element counts by the order of part_names(). UserError.
void check_part_sizes(const PackedParts& what, const std::vector<TensorSpec>& specs, const std::string& name, const std::string& where);
// Everything that a kernel relies on: bits, offsets, block columns and scales. Reads all but the values. UserError.
void check_parts(const PackedParts& parts, const std::string& name, const std::string& where);

// The weight in `dtype`, from parts that check_parts() accepts.
Tensor unpack_weight(const PackedParts& parts);

// Makes the parts of a weight, filled up; nothing when it is better left as it is. (Made by the engine's weight_packer().)
using WeightPacker = std::function<std::optional<PackedParts>(const std::string& name, const Tensor& weight)>;

}  // namespace espalier
