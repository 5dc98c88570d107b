// Readers of weights under a few thousand damaged files: they read or refuse, never crash, and refuse in bounded time.
#include <gtest/gtest.h>

#include <filesystem>

#include "espalier/core/file.h"
#include "tests/fuzz/runner.h"
#include "tests/fuzz/targets.h"
#include "tests/io/safetensors_bytes.h"
#include "tests/io/torch_bytes.h"

namespace espalier::fuzz {
namespace {

std::string fixture(const std::string& name) {
  return read_file(std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data" / name, 1u << 20);
}

TEST(WeightsFuzz, Safetensors) {
  const std::string packed =
      R"({"__metadata__":{"espalier.pack":"{\"w\":{\"form\":\"bitmap\",\"shape\":[2,9]}}"},)"
      R"("w.values":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"w.bitmap":{"dtype":"U8","shape":[2,2],"data_offsets":[6,10]}})";
  const std::string bits =
      R"({"__metadata__":{"espalier.pack":"{\"w\":{\"form\":\"int8 bitmap\",\"shape\":[1,9],\"dtype\":\"BF16\"}}"},)"
      R"("w.values":{"dtype":"I8","shape":[128],"data_offsets":[0,128]},"w.index":{"dtype":"U8","shape":[64],"data_offsets":[128,192]},)"
      R"("w.offsets":{"dtype":"I64","shape":[8],"data_offsets":[192,256]},"w.scales":{"dtype":"F32","shape":[16],"data_offsets":[256,320]}})";
  std::string bytes(320, '\0');
  bytes[128] = 3;  // two values
  bytes[200] = 2;  // the offset behind the only row
  const std::string blocks =
      R"({"__metadata__":{"espalier.pack":"{\"w\":{\"form\":\"bf16 block:1x16\",\"shape\":[1,40],\"dtype\":\"BF16\"}}"},)"
      R"("w.values":{"dtype":"BF16","shape":[32],"data_offsets":[0,64]},"w.index":{"dtype":"U16","shape":[32],"data_offsets":[64,128]},)"
      R"("w.offsets":{"dtype":"I64","shape":[8],"data_offsets":[128,192]}})";
  std::string block_bytes(192, '\0');
  block_bytes[64] = 1;
  block_bytes[66] = 2;
  block_bytes[136] = 2;
  fuzz(
      fuzz_safetensors,
      {test::safetensors_bytes("{}"),
       test::safetensors_bytes(
           R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"é":{"dtype":"F8_E4M3","shape":[],"data_offsets":[8,9]}})",
           "123456789"),
       test::safetensors_bytes(bits, bytes), test::safetensors_bytes(blocks, block_bytes),
       test::safetensors_bytes(packed, std::string("123456\x01\x01\x80\x00", 10))},
      60'000);
}

TEST(WeightsFuzz, TorchPickle) {
  fuzz(
      fuzz_torch_pickle,
      {fixture("zip_form.pt"), fixture("old_form.pt"), fixture("training_zip_form.pt"), fixture("training_old_form.pt"),
       test::torch_zip(
           test::pickle::dict(
               {{"a", test::pickle::tensor(test::pickle::storage("0", test::pickle::number(2)), 0, {2}, {1})}}),
           {"12345678"}, true)},
      60'000);
}

TEST(WeightsFuzz, Json) {
  fuzz(fuzz_json, {R"({"a":[1,-2.5e3,null,true,"\u00e9\n"],"b":{"c":{}}})", R"([[[[]]]])", "0"}, 60'000);
}

TEST(WeightsFuzz, RandomBytesBehindAGoodStart) {
  Rng rng(2, "fuzz");
  for (int i = 0; i < 5'000; ++i) {
    std::string tail(rng.below(64), '\0');
    for (char& c : tail) c = static_cast<char>(rng.below(256));
    EXPECT_NO_THROW(run(fuzz_safetensors, test::with_length(tail.size(), "{" + tail)));
    EXPECT_NO_THROW(run(fuzz_torch_pickle, test::torch_zip(tail, {"1234"})));
    EXPECT_NO_THROW(run(fuzz_torch_pickle, test::torch_old(tail, {"0"}, "1234")));
    EXPECT_NO_THROW(run(fuzz_json, tail));
  }
}

}  // namespace
}  // namespace espalier::fuzz
