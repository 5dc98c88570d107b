// Reads the fields of one ONNX message into plain members, and notes in OnnxExtras what these do not tell.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/io/onnx/model.h"
#include "espalier/io/protobuf.h"

namespace espalier {

// Sub-messages, repeated strings and unknown fields of one file: each costs far more memory than the two bytes that it
// may take in the file.
constexpr uint64_t kMaxOnnxItems = 4'000'000;
constexpr int kMaxOnnxDepth = 100;  // messages in messages, as protobuf's own parsers

struct OnnxParse {
  std::span<const std::byte> file;
  std::string where;
  std::shared_ptr<const void> owner;
  uint64_t items = 0;
  int depth = 0;

  OnnxBytes bytes(std::string_view view) const { return {owner, view}; }
};

class MessageReader {
 public:
  // `message` lies in parse.file; kind is the message's name in the specification.
  MessageReader(OnnxParse& parse, std::string_view message, const char* kind, OnnxExtras& extras);
  ~MessageReader() { --parse_.depth; }
  MessageReader(const MessageReader&) = delete;

  bool next();
  uint64_t field() const { return fields_.field(); }

  // Fields that may stand once; UserError at the second.
  void text(std::string& target);
  void integer(int64_t& target);
  template <typename Enum>
  void enumeration(Enum& target) {
    target = static_cast<Enum>(int32());
  }
  void single(float& target);
  std::string_view bytes();

  // Fields that may stand often.
  void texts(std::vector<std::string>& target);
  void integers(std::vector<int64_t>& target);  // packed or not; the specification does not pack
  void floats(std::vector<float>& target);
  std::string_view element();
  // A list of numbers that the specification packs, of wire type `wire` each: joins its packed form to `target`.
  void packed(OnnxBytes& target, int wire);

  void unknown();

  // Sub-messages, by read(parse, bytes).
  template <typename T, typename Read>
  void message(T& target, Read read) {
    const std::string_view content = bytes();
    count_item();
    target = read(parse_, content);
  }
  template <typename T, typename Read>
  void messages(std::vector<T>& target, Read read) {
    target.push_back(read(parse_, element()));
  }

  [[noreturn]] void fail(const std::string& what, const std::string& expected, const std::string& found) const;

 private:
  void once();
  void note_packing(bool repacked);
  void mark();
  void count_item();
  int32_t int32();

  OnnxParse& parse_;
  const char* kind_;
  OnnxExtras& extras_;
  ProtoReader fields_;
  std::weak_ptr<std::string> joined_;  // by packed()
};

}  // namespace espalier
