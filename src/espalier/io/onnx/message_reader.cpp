#include "espalier/io/onnx/message_reader.h"

#include <algorithm>
#include <cstring>

namespace espalier {
namespace {

std::span<const std::byte> up_to_end_of(std::span<const std::byte> file, std::string_view message) {
  return file.first(static_cast<size_t>(std::as_bytes(std::span(message)).data() - file.data()) + message.size());
}

}  // namespace

MessageReader::MessageReader(OnnxParse& parse, std::string_view message, const char* kind, OnnxExtras& extras)
    : parse_(parse),
      kind_(kind),
      extras_(extras),
      fields_(up_to_end_of(parse.file, message), parse.where,
              static_cast<uint64_t>(std::as_bytes(std::span(message)).data() - parse.file.data())) {
  if (++parse_.depth > kMaxOnnxDepth)
    fail("nesting", fmt::format("at most {} messages in each other", kMaxOnnxDepth), "more");
}

bool MessageReader::next() {
  if (fields_.next()) return true;
  std::stable_sort(extras_.unknown.begin(), extras_.unknown.end(),
                   [](const OnnxUnknownField& a, const OnnxUnknownField& b) { return a.number < b.number; });
  return false;
}

void MessageReader::fail(const std::string& what, const std::string& expected, const std::string& found) const {
  throw UserError(parse_.where, fmt::format("{} at byte {}: {}", kind_, fields_.begin(), what), expected, found);
}

void MessageReader::mark() {
  if (field() < 32) extras_.present |= 1u << field();
}

void MessageReader::once() {
  if (extras_.has(static_cast<uint32_t>(field()))) fail(fmt::format("field {}", field()), "it once", "it twice");
  mark();
}

void MessageReader::count_item() {
  if (++parse_.items > kMaxOnnxItems)
    user_error("{}: more than {} messages and strings in one file", parse_.where, kMaxOnnxItems);
}

void MessageReader::text(std::string& target) { target = bytes(); }

void MessageReader::integer(int64_t& target) {
  once();
  target = fields_.integer();
}

int32_t MessageReader::int32() {
  int64_t value = 0;
  integer(value);
  if (value < INT32_MIN || value > INT32_MAX)
    fail(fmt::format("field {}", field()), "a number of 32 bits", std::to_string(value));
  return static_cast<int32_t>(value);
}

void MessageReader::single(float& target) {
  once();
  target = fields_.single();
}

std::string_view MessageReader::bytes() {
  once();
  return fields_.bytes();
}

void MessageReader::texts(std::vector<std::string>& target) { target.emplace_back(element()); }

std::string_view MessageReader::element() {
  mark();
  count_item();
  return fields_.bytes();
}

void MessageReader::note_packing(bool repacked) {
  mark();
  if (repacked) extras_.repacked |= 1u << field();
}

void MessageReader::integers(std::vector<int64_t>& target) {
  note_packing(fields_.wire() == kBytes);
  if (fields_.wire() != kBytes) return target.push_back(fields_.integer());
  for (ByteReader list(std::as_bytes(std::span(fields_.bytes())), parse_.where); list.remaining() > 0;)
    target.push_back(static_cast<int64_t>(read_proto_varint(list)));
}

void MessageReader::floats(std::vector<float>& target) {
  note_packing(fields_.wire() == kBytes);
  if (fields_.wire() != kBytes) return target.push_back(fields_.single());
  for (ByteReader list(std::as_bytes(std::span(fields_.bytes())), parse_.where); list.remaining() > 0;)
    target.push_back(list.number<float>());
}

void MessageReader::packed(OnnxBytes& target, int wire) {
  const bool is_packed = fields_.wire() == kBytes;
  note_packing(!is_packed);
  if (!is_packed) fields_.expect(wire);
  std::string_view added = is_packed ? fields_.bytes() : fields_.raw();
  if (!is_packed && wire == kVarint) {
    while ((static_cast<unsigned char>(added.front()) & 0x80) != 0) added.remove_prefix(1);
    added.remove_prefix(1);
  } else if (!is_packed) {
    added.remove_prefix(added.size() - (wire == kFixed64 ? 8 : 4));
  }
  if (target.view.empty()) {
    target = parse_.bytes(added);
    return;
  }
  // A second part: join them in memory. The string grows in place, for this reader is its only owner.
  auto joined = joined_.lock();
  if (!joined || joined.get() != target.owner.get()) {
    joined = std::make_shared<std::string>(target.view);
    joined_ = joined;
  }
  joined->append(added);
  target = {joined, *joined};
}

void MessageReader::unknown() {
  mark();
  count_item();
  extras_.unknown.push_back({static_cast<uint32_t>(field()), parse_.bytes(fields_.raw())});
}

}  // namespace espalier
