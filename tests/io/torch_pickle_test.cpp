#include "espalier/io/torch_pickle.h"

#include <gtest/gtest.h>

#include "tests/io/safetensors_bytes.h"
#include "tests/io/torch_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::bytes_of_floats;
using test::parse_body;
namespace p = test::pickle;

std::shared_ptr<const TorchFile> open_fixture(const std::string& name) {
  return TorchFile::open(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data" / name);
}

std::vector<std::string> names_of(const std::vector<TorchTensor>& tensors) {
  std::vector<std::string> names;
  for (const auto& tensor : tensors) names.push_back(tensor.name);
  return names;
}

Tensor find(const TorchFile& file, const std::string& name) {
  for (const auto& tensor : file.tensors())
    if (tensor.name == name) return file.tensor(tensor);
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

std::vector<float> values_in(const std::string& file, const TorchTensor& tensor) {
  return gather_torch_tensor(std::as_bytes(std::span(file)), tensor).to_floats();
}

// The values that make_torch_fixtures.py put into both forms.
void check_fixture(const TorchFile& file) {
  EXPECT_EQ(names_of(file.tensors()),
            (std::vector<std::string>{"plain", "transposed", "columns", "half", "bfloat", "double", "count", "short",
                                      "flags", "empty", "parameter"}));
  EXPECT_EQ(find(file, "plain").shape(), (Shape{3, 4}));
  EXPECT_EQ(find(file, "plain").to_floats(), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(find(file, "transposed").shape(), (Shape{4, 3}));
  EXPECT_EQ(find(file, "transposed").to_floats(), (std::vector<float>{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
  EXPECT_EQ(find(file, "columns").shape(), (Shape{3, 2}));
  EXPECT_EQ(find(file, "columns").to_floats(), (std::vector<float>{1, 3, 5, 7, 9, 11}));
  EXPECT_EQ(find(file, "half").dtype(), DType::kF16);
  EXPECT_EQ(find(file, "half").to_floats(), (std::vector<float>{1, -2.5f, 65504}));
  EXPECT_EQ(find(file, "bfloat").dtype(), DType::kBF16);
  EXPECT_EQ(find(file, "bfloat").to_floats(), (std::vector<float>{1, -3}));
  EXPECT_EQ(find(file, "double").as<double>()[0], 0.1);
  EXPECT_EQ(find(file, "count").shape(), Shape{});
  EXPECT_EQ(find(file, "count").as<int64_t>()[0], 7);
  EXPECT_EQ(find(file, "short").to_floats(), (std::vector<float>{-1, 300}));
  EXPECT_EQ(find(file, "flags").dtype(), DType::kBool);
  EXPECT_EQ(find(file, "flags").to_floats(), (std::vector<float>{1, 0, 1}));
  EXPECT_EQ(find(file, "empty").shape(), (Shape{0, 5}));
  EXPECT_EQ(find(file, "parameter").to_floats(), (std::vector<float>{0.5f, 0.25f}));
}

TEST(TorchPickle, ReadsTheZipForm) { check_fixture(*open_fixture("zip_form.pt")); }
TEST(TorchPickle, ReadsTheOldForm) { check_fixture(*open_fixture("old_form.pt")); }

TEST(TorchPickle, ContiguousTensorsOfTheZipFormAreViews) {
  const auto file = open_fixture("zip_form.pt");
  const Tensor plain = find(*file, "plain"), strided = find(*file, "columns");
  auto lies_in_file = [&](const Tensor& tensor) {
    return tensor.bytes() >= file->file().data() && tensor.bytes() < file->file().data() + file->file().size();
  };
  EXPECT_TRUE(lies_in_file(plain));
  EXPECT_FALSE(lies_in_file(strided));
}

TEST(TorchPickle, UnwrapsTheStateDictOfATrainingCheckpoint) {
  for (const char* name : {"training_zip_form.pt", "training_old_form.pt"}) {
    const auto file = open_fixture(name);
    EXPECT_EQ(names_of(file->tensors()),
              (std::vector<std::string>{"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var",
                                        "1.num_batches_tracked"}));
    EXPECT_EQ(find(*file, "0.weight").to_floats(), (std::vector<float>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(find(*file, "1.running_var").to_floats(), (std::vector<float>{50, 51, 52}));
    EXPECT_EQ(find(*file, "1.num_batches_tracked").as<int64_t>()[0], 60);
  }
}

TEST(TorchPickle, OtherNestedDictionariesGiveDottedNames) {
  const auto file = open_fixture("two_networks.pt");
  EXPECT_EQ(names_of(file->tensors()), (std::vector<std::string>{"generator.w", "critic.body.w"}));
  EXPECT_EQ(find(*file, "critic.body.w").to_floats(), (std::vector<float>{0, 0, 0}));
}

TEST(TorchPickle, UnwrapsOnlyWhereNoTensorLiesBeside) {
  const std::string a = p::tensor(p::storage("0", p::number(2)), 0, {2}, {1});
  const std::vector<std::string> storages{bytes_of_floats({1, 2})};
  EXPECT_EQ(names_of(parse_body(p::dict({{"model", p::dict({{"state_dict", p::dict({{"w", a}})}})}}), storages)),
            std::vector<std::string>{"w"});
  EXPECT_EQ(names_of(parse_body(p::dict({{"model", p::dict({{"w", a}})}, {"b", a}}), storages)),
            (std::vector<std::string>{"model.w", "b"}));
  EXPECT_EQ(names_of(parse_body(p::dict({{"model", p::dict({})}, {"net", p::dict({{"w", a}})}}), storages)),
            std::vector<std::string>{"w"});
}

TEST(TorchPickle, ReadsStorageKeysAndStridesMadeByHand) {
  const std::string file =
      test::torch_zip(p::dict({{"a", p::tensor(p::storage("1", p::number(6)), 1, {2, 2}, {1, 3})}}),
                      {"", bytes_of_floats({0, 1, 2, 3, 4, 5})});
  const auto tensors = test::parse_torch_bytes(file);
  ASSERT_EQ(tensors.size(), 1u);
  EXPECT_EQ(values_in(file, tensors[0]), (std::vector<float>{1, 4, 2, 5}));
}

TEST(TorchPickle, ReadsZip64) {
  const std::string file = test::torch_zip(p::dict({{"a", p::tensor(p::storage("0", p::number(2)), 0, {2}, {1})}}),
                                           {bytes_of_floats({7, 8})}, true);
  EXPECT_EQ(values_in(file, test::parse_torch_bytes(file).at(0)), (std::vector<float>{7, 8}));
}

// torch 2.x writes float8 and unsigned types through storages without an element type.
TEST(TorchPickle, ReadsUntypedStorages) {
  const std::string storage = p::tuple({p::text("storage"), p::global("torch.storage", "UntypedStorage"), p::text("0"),
                                        p::text("cpu"), p::number(3)}) +
                              "Q";
  const std::string tensor = p::global("torch._utils", "_rebuild_tensor_v3") +
                             p::tuple({storage, p::number(1), p::numbers({2}), p::numbers({1}), "\x89", "N",
                                       p::global("torch", "float8_e4m3fn")}) +
                             "R";
  const std::string file = test::torch_zip(p::dict({{"a", tensor}}), {std::string("\x00\x38\xc0", 3)});
  const auto tensors = test::parse_torch_bytes(file);
  EXPECT_EQ(tensors.at(0).dtype, DType::kF8E4M3);
  EXPECT_EQ(values_in(file, tensors[0]), (std::vector<float>{1, -2}));
}

TEST(TorchPickle, ReadsParametersWithStateAndTensorsWithAttributes) {
  const std::string a = p::tensor(p::storage("0", p::number(2)), 0, {2}, {1});
  const std::string parameter = p::global("torch._utils", "_rebuild_parameter_with_state") +
                                p::tuple({a, "\x88", "N", p::dict({{"tag", p::number(1)}})}) + "R";
  const std::string arguments =
      p::tuple({p::storage("0", p::number(2)), p::number(0), p::numbers({2}), p::numbers({1}), "\x89", "N"});
  const std::string attributed = p::global("torch._tensor", "_rebuild_from_type_v2") +
                                 p::tuple({p::global("torch._utils", "_rebuild_tensor_v2"),
                                           p::global("torch", "Tensor"), arguments, p::dict({})}) +
                                 "R";
  const std::string file = test::torch_zip(p::dict({{"a", parameter}, {"b", attributed}}), {bytes_of_floats({3, 4})});
  const auto tensors = test::parse_torch_bytes(file);
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(values_in(file, tensors[0]), (std::vector<float>{3, 4}));
  EXPECT_EQ(values_in(file, tensors[1]), (std::vector<float>{3, 4}));
}

TEST(TorchPickle, ReadsViewsIntoSharedStoragesOfTheOldForm) {
  const std::string view =
      p::tuple({p::text("storage"), p::global("torch", "FloatStorage"), p::text("k"), p::text("cpu"), p::number(5),
                p::tuple({p::text("v"), p::number(2), p::number(3)})}) +
      "Q";
  const std::string file = test::torch_old(p::dict({{"a", p::tensor(view, 1, {2}, {1})}}), {"k"},
                                           test::raw(int64_t{5}) + bytes_of_floats({0, 1, 2, 3, 4}));
  EXPECT_EQ(values_in(file, test::parse_torch_bytes(file).at(0)), (std::vector<float>{3, 4}));
}

TEST(TorchPickle, KeysCanBeNumbers) {
  const std::string a = p::tensor(p::storage("0", p::number(1)), 0, {1}, {1});
  EXPECT_EQ(names_of(parse_body("}(" + p::text("layers") + "}(" + p::number(3) + a + "uu", {bytes_of_floats({1})})),
            std::vector<std::string>{"layers.3"});
}

}  // namespace
}  // namespace espalier
