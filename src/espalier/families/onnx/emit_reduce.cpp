// Reductions, Softmax and Resize.
#include <numeric>

#include "espalier/families/onnx/export_emitter.h"

namespace espalier::emit_reduce {
namespace {

void reduce(OnnxEmitter& e) {
  e.finish(e.reduce_call(e.node().op, e.in(), e.node().integers_or("axes", {}), e.node().flag_or("keepdims", true)));
}

void arg_max(OnnxEmitter& e) {
  e.finish({"ArgMax",
            {e.in()},
            {onnx_int("axis", e.node().integers("axes").at(0)),
             onnx_int("keepdims", e.node().flag_or("keepdims", true))}},
           OnnxDataType::kInt64);
}

// Before 13 it runs over all dims from `axis` on, which is the same for the last one alone.
void softmax(OnnxEmitter& e) {
  const int64_t rank = std::ssize(e.shape()), given = e.node().integer_or("axis", -1);
  const int64_t axis = given < 0 ? given + rank : given;
  if (e.opset() >= 13 || axis == rank - 1) return e.finish("Softmax", {e.in()}, {onnx_int("axis", given)});
  std::vector<int64_t> swap(static_cast<size_t>(rank));
  std::iota(swap.begin(), swap.end(), 0);
  std::swap(swap[static_cast<size_t>(axis)], swap.back());
  const std::string last = e.emit("Softmax", {e.transpose(e.in(), swap)}, {onnx_int("axis", -1)});
  e.finish("Transpose", {last}, {onnx_ints("perm", swap)});
}

std::string resize_scales(OnnxEmitter& e) {
  const auto& scales = std::get<std::vector<double>>(e.node().attributes.at("scales"));
  std::vector<float> all{1, 1};
  for (double scale : scales) all.push_back(static_cast<float>(scale));
  return e.constant("scales", Tensor::from_floats({std::ssize(all)}, all));
}

// Batch and channels as they come.
std::string resize_sizes(OnnxEmitter& e) {
  const auto& sizes = e.node().integers("sizes");
  return e.emit("Concat", {e.slice(e.emit("Shape", {e.in()}), 0, 0, 2), e.ints(sizes)}, {onnx_int("axis", 0)});
}

void resize(OnnxEmitter& e) {
  const bool by_size = e.node().attributes.count("sizes") != 0;
  const auto none = [&](const char* name) {  // optional from 13 on, empty before
    return e.opset() >= 13 ? "" : e.constant(name, Tensor(DType::kF32, {0}));
  };
  std::vector<OnnxAttribute> attributes{
      onnx_string("mode", e.node().text_or("mode", "nearest")),
      onnx_string("coordinate_transformation_mode", e.node().text_or("coordinates", "half_pixel"))};
  if (e.node().text_or("mode", "nearest") == "nearest")
    attributes.push_back(onnx_string("nearest_mode", e.node().text_or("nearest_mode", "round_prefer_floor")));
  e.finish("Resize",
           {e.in(), none("no_roi"), by_size ? none("no_scales") : resize_scales(e), by_size ? resize_sizes(e) : ""},
           std::move(attributes));
}

const RegisterOnnxEmit registered[] = {{"ReduceMean", reduce}, {"ReduceSum", reduce}, {"ReduceMax", reduce},
                                       {"ReduceMin", reduce},  {"ArgMax", arg_max},   {"Softmax", softmax},
                                       {"Resize", resize}};

}  // namespace
}  // namespace espalier::emit_reduce
