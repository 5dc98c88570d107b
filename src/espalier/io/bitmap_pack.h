// The older packed form of a weight with many zeros, which is read and no longer written (weight_pack.h): one bit for each element and the kept values in row order.
//   <name>.bitmap  U8 [out, ceil(in / 8)]: bit i of byte j (least significant first) says that column 8 j + i is kept
//   <name>.values  the weight's own dtype, [kept]
// and the file's metadata says which weights are packed: "espalier.pack": {"<name>": {"form": "bitmap", "shape": [out,
// in]}}. It pays from about 1/16 zeros on in 16-bit types: 1 bit for all elements against 16 for each one left out.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "espalier/core/tensor.h"
#include "espalier/core/weight_form.h"
#include "espalier/io/safetensors.h"

namespace espalier {

constexpr char kPackMetadataKey[] = "espalier.pack";

struct BitmapPacked {
  Tensor bitmap, values;
};

// Keeps the elements whose bits are not all zero, so unpacking restores the very bytes (a negative zero is kept).
BitmapPacked pack_bitmap(const Tensor& weight);
// Keeps the elements whose `keep` is not 0, zeros among them too; the others unpack as zeros. keep: [out * in].
BitmapPacked pack_bitmap(const Tensor& weight, std::span<const uint8_t> keep);

// The weight again. UserError (`where` names the file, `name` the weight) unless the parts fit each other.
Tensor unpack_bitmap(const BitmapPacked& packed, const Shape& shape, const std::string& name, const std::string& where);

// What can be said of the parts' types and sizes without reading them. UserError.
void check_bitmap_parts(const TensorSpec& bitmap, const TensorSpec& values, const Shape& shape, const std::string& name,
                        const std::string& where);

std::string bitmap_name(const std::string& weight);
std::string values_name(const std::string& weight);

struct PackedWeight {
  std::string name;
  Shape shape;                                   // [out, in]
  std::optional<WeightForm> form = std::nullopt;  // none: the older bitmap of this header
  DType dtype = DType::kF32;                     // with a form: what it unpacks to
};

// The text of the metadata entry and back. UserError on anything but the forms of this header and weight_pack.h.
std::string pack_metadata(const std::vector<PackedWeight>& weights);
std::vector<PackedWeight> parse_pack_metadata(const std::string& text, const std::string& where);

}  // namespace espalier
