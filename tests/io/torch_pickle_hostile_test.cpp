// Torch files that nobody's torch.save wrote. Nothing in them may be executed, read out of bounds, or make the reader
// allocate more than the file justifies.
#include <gtest/gtest.h>

#include <chrono>

#include "espalier/io/torch_pickle_machine.h"
#include "espalier/io/zip_reader.h"
#include "tests/io/torch_bytes.h"
#include "tests/support.h"

namespace espalier {
namespace {

using test::bytes_of_floats;
using test::parse_body;
using test::raw;
namespace p = test::pickle;

const std::string kTensor = p::tensor(p::storage("0", p::number(4)), 0, {4}, {1});
const std::vector<std::string> kStorages{bytes_of_floats({1, 2, 3, 4})};

TEST(TorchHostile, TheBuilderOfTheseTestsMakesGoodFiles) {
  EXPECT_EQ(parse_body(p::dict({{"a", kTensor}}), kStorages).size(), 1u);
}

TEST(TorchHostile, CallsOfSystemFunctionsAreRefusedByName) {
  test::TempDir dir;
  const std::string marker = dir / "executed";
  for (auto [module, name] : {std::pair{"os", "system"},
                              {"posix", "system"},
                              {"builtins", "eval"},
                              {"subprocess", "Popen"},
                              {"torch.hub", "load"}})
    ESP_EXPECT_USER_ERROR(parse_body(p::global(module, name) + p::tuple({p::text("touch " + marker)}) + "R"),
                          fmt::format("the Python name {}.{} is not allowed", module, name));
  EXPECT_FALSE(std::filesystem::exists(marker));
}

TEST(TorchHostile, NamesFromTheStackAreRefusedToo) {
  ESP_EXPECT_USER_ERROR(parse_body(p::text("os") + p::text("system") + "\x93"), "os.system is not allowed");
  ESP_EXPECT_USER_ERROR(parse_body(p::number(1) + p::text("system") + "\x93"), "not text");
}

TEST(TorchHostile, AWholePickledModuleIsRefusedByName) {
  const auto path = std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/whole_module.pt";
  ESP_EXPECT_USER_ERROR(TorchFile::open(path),
                        "the Python name torch.nn.modules.linear.Linear is not allowed: only plain state dicts");
}

TEST(TorchHostile, ComplexNumbersAreRefusedByName) {
  const auto path = std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/complex.pt";
  ESP_EXPECT_USER_ERROR(TorchFile::open(path), "torch.ComplexFloatStorage is not allowed");
}

TEST(TorchHostile, UnknownAndUnusedOpcodes) {
  ESP_EXPECT_USER_ERROR(parse_body("\xff"), "pickle at byte 2: unknown opcode 0xff");
  ESP_EXPECT_USER_ERROR(parse_body("(ios\nsystem\n"), "the opcode INST is not allowed");
  ESP_EXPECT_USER_ERROR(parse_body("P1\n"), "the opcode PERSID is not allowed");
  ESP_EXPECT_USER_ERROR(parse_body("\x82\x01"), "the opcode EXT1 is not allowed");
  ESP_EXPECT_USER_ERROR(parse_body(std::string("\x80\x07", 2)), "pickle protocol 7");
}

TEST(TorchHostile, StackUnderflow) {
  for (const char* body :
       {"", "a", "s", "R", "b", "Q", "t", "u", "e", "\x85", "\x87", "0", "1", "2", "q\x01", "(s", "((0"})
    EXPECT_THROW(parse_body(body), UserError) << body;
  ESP_EXPECT_USER_ERROR(parse_body("(0"), "the stack is empty");
  ESP_EXPECT_USER_ERROR(parse_body("t"), "no mark on the stack");
}

TEST(TorchHostile, ObjectsOfTheWrongKind) {
  ESP_EXPECT_USER_ERROR(parse_body(p::number(1) + p::tuple({}) + "R"), "a call of what is not a Python name");
  ESP_EXPECT_USER_ERROR(parse_body(p::global("torch", "FloatStorage") + p::tuple({}) + "R"),
                        "storage class or dtype is called");
  ESP_EXPECT_USER_ERROR(parse_body(p::global("torch._utils", "_rebuild_tensor_v2") + p::number(1) + "R"),
                        "a tuple of arguments");
  ESP_EXPECT_USER_ERROR(parse_body(p::global("torch._utils", "_rebuild_tensor_v2") + p::tuple({}) + "R"),
                        "at least 1 arguments");
  ESP_EXPECT_USER_ERROR(parse_body(p::global("torch._utils", "_rebuild_tensor_v2") + p::tuple({p::number(1)}) + "R"),
                        "a storage as argument 1");
  ESP_EXPECT_USER_ERROR(parse_body(p::tuple({p::text("module")}) + "Q"), "'storage' as first value");
  ESP_EXPECT_USER_ERROR(parse_body(p::tuple({p::text("storage"), p::global("collections", "OrderedDict"), p::text("0"),
                                             p::text("cpu"), p::number(1)}) +
                                   "Q"),
                        "a storage class as second value");
  ESP_EXPECT_USER_ERROR(parse_body(p::number(1) + p::number(2) + "a"), "not a container");
  ESP_EXPECT_USER_ERROR(parse_body("}(" + p::number(1) + "u"), "a dictionary key without a value");
  ESP_EXPECT_USER_ERROR(parse_body(p::number(1) + "Nb"), "BUILD of what is not an object");
  ESP_EXPECT_USER_ERROR(
      parse_body(p::global("collections", "OrderedDict") + p::tuple({"](" + p::number(1) + "e"}) + "R"),
      "a list of pairs");
  ESP_EXPECT_USER_ERROR(
      parse_body(p::global("torch._tensor", "_rebuild_from_type_v2") +
                 p::tuple({p::global("torch._tensor", "_rebuild_from_type_v2"), "N", ")", "N"}) + "R"),
      "a function that makes a tensor");
}

TEST(TorchHostile, NoTensors) {
  ESP_EXPECT_USER_ERROR(parse_body("}"), "holds no tensors");
  ESP_EXPECT_USER_ERROR(parse_body("]"), "no dictionary of tensors");
  ESP_EXPECT_USER_ERROR(parse_body(kTensor, kStorages), "no dictionary of tensors");
}

TEST(TorchHostile, HugeLengths) {
  ESP_EXPECT_USER_ERROR(parse_body("X" + raw(uint32_t{0xffffffff})), "a text of 4294967295 bytes");
  ESP_EXPECT_USER_ERROR(parse_body("\x8d" + raw(~uint64_t{0})), "a text of 18446744073709551615 bytes");
  ESP_EXPECT_USER_ERROR(parse_body("T" + raw(int32_t{-1})), "a text of -1 bytes");
  ESP_EXPECT_USER_ERROR(parse_body("\x8b" + raw(int32_t{-5})), "a text of -5 bytes");
  ESP_EXPECT_USER_ERROR(parse_body("c" + std::string(1000, 'x') + "\n"), "no end of line within 256 bytes");
}

// A memo slot is a key, not the size of a table.
TEST(TorchHostile, HugeMemoSlots) {
  ESP_EXPECT_USER_ERROR(parse_body("}r" + raw(uint32_t{0xffffffff}) + "j" + raw(uint32_t{0xfffffffe})),
                        "the memo has no entry 4294967294");
}

TEST(TorchHostile, DictionariesThatContainThemselves) {
  ESP_EXPECT_USER_ERROR(parse_body("}q\x01" + p::text("a") + "h\x01s"), "nested deeper than 16");
  ESP_EXPECT_USER_ERROR(parse_body("}q\x01" + p::text("b") + kTensor + "s" + p::text("a") + "h\x01s", kStorages),
                        "nested deeper than 16");
}

// d0 = {k: tensor}; d(n+1) = {a: dn, …, d: dn}: 4^14 paths from some hundred bytes.
TEST(TorchHostile, DictionariesThatShareEachOther) {
  std::string body = "}" + p::text("k") + kTensor + "sq" + std::string(1, '\x40');
  for (char level = 0x41; level < 0x4e; ++level) {
    body += "}";
    for (const char* key : {"a", "b", "c", "d"})
      body += p::text(key) + "h" + std::string(1, static_cast<char>(level - 1)) + "s";
    body += "q" + std::string(1, level);
  }
  const auto start = std::chrono::steady_clock::now();
  ESP_EXPECT_USER_ERROR(parse_body(body, kStorages), "more than 1000000 dictionary entries");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(TorchHostile, ManyValuesAreBounded) {
  ESP_EXPECT_USER_ERROR(parse_body(std::string(1'000'001, 'N')), "more than 1000000 values on the stack");
  ESP_EXPECT_USER_ERROR(parse_body(std::string(1'000'001, '(')), "more than 1000000 marks");
  std::string pushes_and_pops;
  for (size_t i = 0; i <= kMaxPickleNodes; ++i) pushes_and_pops += "N0";
  ESP_EXPECT_USER_ERROR(parse_body(pushes_and_pops), "more than 4000000 values");
}

// Each call copies the same large list of pairs.
TEST(TorchHostile, CopiesOfALargeListAreBounded) {
  std::string body = p::tuple({"N", "N"}) + "q\x01" + "0](";
  for (int i = 0; i < 500'000; ++i) body += "h\x01";
  body += "eq\x02";
  for (int i = 0; i < 100; ++i) body += p::global("collections", "OrderedDict") + "h\x02\x85R0";
  ESP_EXPECT_USER_ERROR(parse_body(body), "more than 16000000 items");
}

TEST(TorchHostile, StorageThatIsMissingOrOfAnotherSize) {
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{"a", kTensor}})), "tensor 'a': the storage '0' is missing");
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{"a", kTensor}}), {"123"}),
                        "storage '0': size: expected 4 elements of 4 bytes, found 3 bytes");
  ESP_EXPECT_USER_ERROR(
      parse_body(p::dict({{"a", p::tensor(p::storage("0", p::large(int64_t{1} << 62)), 0, {4}, {1})}}), kStorages),
      "storage '0': size");
  ESP_EXPECT_USER_ERROR(parse_body(p::storage("0", p::number(-4))), "integers of at least 0");
}

TEST(TorchHostile, TensorBeyondItsStorage) {
  auto parse_tensor = [](int64_t offset, std::vector<int64_t> sizes, std::vector<int64_t> strides) {
    return parse_body(p::dict({{"a", p::tensor(p::storage("0", p::number(4)), offset, sizes, strides)}}), kStorages);
  };
  EXPECT_NO_THROW(parse_tensor(1, {3}, {1}));
  ESP_EXPECT_USER_ERROR(parse_tensor(2, {3}, {1}), "found offset 2, shape [3], strides [1]");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, {2}, {4}), "offset and strides");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, {5}, {1}), "at most the 4 elements of its storage, found [5]");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, {2, 2}, {INT64_MAX, INT64_MAX}), "offset and strides");
  ESP_EXPECT_USER_ERROR(parse_tensor(INT64_MAX, {2}, {INT64_MAX}), "offset and strides");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, {int64_t{1} << 32, int64_t{1} << 32}, {0, 0}), "at most the 4 elements");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, {1000}, {0}), "at most the 4 elements");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, {-1}, {1}), "integers of at least 0");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, {4}, {-1}), "integers of at least 0");
  ESP_EXPECT_USER_ERROR(parse_tensor(-1, {4}, {1}), "integers of at least 0");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, {2, 2}, {1}), "as many strides as sizes");
  ESP_EXPECT_USER_ERROR(parse_tensor(0, std::vector<int64_t>(33, 1), std::vector<int64_t>(33, 1)), "at most 32 axes");
  const auto empty = parse_tensor(0, {0, int64_t{1} << 40, int64_t{1} << 40}, {1, 1, 1});
  EXPECT_TRUE(empty[0].contiguous());
}

TEST(TorchHostile, AnExpandedTensorWouldGrowBeyondTheFile) {
  const auto path = std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests/io/data/expanded.pt";
  ESP_EXPECT_USER_ERROR(TorchFile::open(path),
                        "tensor 'w': shape: expected at most the 2 elements of its storage, found [1000, 2]");
}

TEST(TorchHostile, TensorNames) {
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{"", kTensor}}), kStorages), "is empty");
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{std::string("a\0b", 3), kTensor}}), kStorages), "control character");
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{"../a", kTensor}}), kStorages), "path component '..'");
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{"\xff", kTensor}}), kStorages), "not valid UTF-8");
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{std::string(2000, 'a'), kTensor}}), kStorages), "2000 bytes");
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{"a", kTensor}, {"a", kTensor}}), kStorages), "two tensors are named 'a'");
  ESP_EXPECT_USER_ERROR(parse_body(p::dict({{"a.b", kTensor}, {"a", p::dict({{"b", kTensor}})}}), kStorages),
                        "two tensors are named 'a.b'");
  ESP_EXPECT_USER_ERROR(parse_body("}N" + kTensor + "s", kStorages), "neither text nor a number");
}

TEST(TorchHostile, EveryTruncationIsRefused) {
  const std::string zip = test::torch_zip(p::dict({{"a", kTensor}}), kStorages);
  const std::string old = test::torch_old(p::dict({{"a", kTensor}}), {"0"}, raw(int64_t{4}) + kStorages[0]);
  EXPECT_EQ(test::parse_torch_bytes(old).size(), 1u);
  for (const std::string& good : {zip, old})
    for (size_t size = 0; size < good.size(); ++size)
      EXPECT_THROW(test::parse_torch_bytes(good.substr(0, size)), UserError) << size;
}

TEST(TorchHostile, OldForm) {
  const std::string body = p::dict({{"a", kTensor}}), bytes = raw(int64_t{4}) + kStorages[0];
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(test::torch_old(body, {"0"}, bytes, false)),
                        "not written on a little-endian machine");
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(test::torch_old(body, {}, bytes)), "the storage '0' is missing");
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(test::torch_old(body, {"9"}, bytes)),
                        "a storage key that no tensor mentions: '9'");
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(test::torch_old(body, {"0", "0"}, bytes + bytes)),
                        "the storage '0' stands twice");
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(test::torch_old(body, {"0"}, raw(int64_t{3}) + kStorages[0])),
                        "size: expected 4 elements");
  for (int64_t count : {int64_t{5}, int64_t{-1}, INT64_MAX, int64_t{1} << 62})
    ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(test::torch_old(body, {"0"}, raw(count) + kStorages[0])),
                          "number of elements: expected no more than");
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(p::whole("}")), "a pickle, but not of torch.save");
}

TEST(TorchHostile, OldFormWithAViewBeyondItsStorage) {
  for (auto [begin, count] : {std::pair{2, 3}, {5, 0}, {-1, 1}}) {
    const std::string view =
        p::tuple({p::text("storage"), p::global("torch", "FloatStorage"), p::text("0"), p::text("cpu"), p::number(4),
                  p::tuple({p::text("v"), p::number(begin), p::number(count)})}) +
        "Q";
    EXPECT_THROW(parse_body(p::dict({{"a", p::tensor(view, 0, {1}, {1})}}), kStorages), UserError) << begin;
  }
}

TEST(TorchHostile, OtherFiles) {
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(""), "not a file of torch.save");
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes("GIF89a"), "not a file of torch.save");
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(test::zip({{"word/document.xml", "x"}})),
                        "not of torch: no entry '<name>/data.pkl'");
  ESP_EXPECT_USER_ERROR(test::parse_torch_bytes(test::zip({{"m/data.pkl", p::whole("}")}, {"m/byteorder", "big"}})),
                        "big-endian");
}

std::vector<ZipEntry> read_zip(const std::string& file) {
  return read_zip_directory(std::as_bytes(std::span(file)), "m.zip");
}

TEST(ZipHostile, CompressedAndEncryptedEntriesAreRefusedByName) {
  EXPECT_EQ(read_zip(test::zip({{"a", "123"}, {"b", ""}})).size(), 2u);
  ESP_EXPECT_USER_ERROR(read_zip(test::zip({{"a", "123", 8}})), "zip entry 'a' is compressed (method 8)");
  ESP_EXPECT_USER_ERROR(read_zip(test::zip({{"a", "123", 0, 1}})), "zip entry 'a' is encrypted");
  ESP_EXPECT_USER_ERROR(read_zip(test::zip({{"a", "1"}, {"a", "2"}})), "two zip entries are named 'a'");
}

// Every field of the directory set to all ones or zero: refused, or read as something within the file.
TEST(ZipHostile, EveryByteChanged) {
  for (bool zip64 : {false, true}) {
    const std::string good = test::zip({{"a", "123"}, {"bc", "45"}}, zip64);
    for (size_t i = 0; i < good.size(); ++i)
      for (char value : {'\0', '\x01', '\x7f', '\xff'}) {
        std::string bad = good;
        bad[i] = value;
        try {
          for (const ZipEntry& entry : read_zip(bad))
            ASSERT_TRUE(entry.begin <= bad.size() && entry.size <= bad.size() - entry.begin) << i;
        } catch (const UserError&) {
        }
      }
  }
}

TEST(ZipHostile, PositionsBeyondTheFile) {
  std::string file = test::zip({{"a", "123"}});
  const size_t end = file.size() - 22;
  auto with = [&](size_t at, auto value) {
    std::string changed = file;
    changed.replace(at, sizeof(value), raw(value));
    return changed;
  };
  ESP_EXPECT_USER_ERROR(read_zip(with(end + 16, uint32_t{0xfffffff0})), "truncated");  // directory's position
  ESP_EXPECT_USER_ERROR(read_zip(with(end + 12, uint32_t{0xfffffff0})), "does not fit the file");  // its size
  ESP_EXPECT_USER_ERROR(read_zip(with(end + 10, uint16_t{0xfff0})), "does not fit the file");      // number of entries
  ESP_EXPECT_USER_ERROR(read_zip(with(end + 16, uint32_t{0xffffffff})), "zip64 locator is missing");
  const size_t directory = end - 47;
  ESP_EXPECT_USER_ERROR(read_zip(with(directory + 42, uint32_t{0x7fffffff})), "truncated");  // local header's position
  ESP_EXPECT_USER_ERROR(read_zip(with(directory + 42, uint32_t{1})), "local header is missing");
  std::string larger = with(directory + 20, uint32_t{5000});
  larger.replace(directory + 24, 4, raw(uint32_t{5000}));
  ESP_EXPECT_USER_ERROR(read_zip(larger), "zip entry 'a': size: expected at most");
}

}  // namespace
}  // namespace espalier
