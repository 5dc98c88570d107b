// Layout and field names after PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.
#include "espalier/io/zip_reader.h"

#include <algorithm>
#include <unordered_set>

#include "espalier/core/byte_reader.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50,
                   kEnd64Locator = 0x07064b50;
constexpr uint64_t kLocalHeaderBytes = 30, kCentralHeaderBytes = 46, kEndBytes = 22, kEnd64LocatorBytes = 20;
constexpr uint16_t kEncrypted = 1, kZip64Extra = 1;
constexpr uint32_t kSeeExtra = 0xffffffff;  // the real value stands in the zip64 extra field
constexpr uint16_t kSeeEnd64 = 0xffff;

struct Directory {
  uint64_t entries = 0, bytes = 0, begin = 0;
};

// The end record is the last thing in the file but for a comment, whose length it gives.
uint64_t find_end_record(std::span<const std::byte> file, const std::string& where) {
  constexpr uint64_t kMaxComment = 0xffff;
  ByteReader reader(file, where);
  for (uint64_t comment = 0; comment <= kMaxComment && kEndBytes + comment <= file.size(); ++comment) {
    const uint64_t position = file.size() - kEndBytes - comment;
    reader.seek(position);
    if (reader.number<uint32_t>() != kEnd) continue;
    reader.skip(kEndBytes - 4 - 2);
    if (reader.number<uint16_t>() == comment) return position;
  }
  user_error("{}: not a complete zip archive: no end record (incomplete download?)", where);
}

Directory read_end64(std::span<const std::byte> file, uint64_t end_record, const std::string& where) {
  if (end_record < kEnd64LocatorBytes) user_error("{}: the zip64 locator is missing", where);
  ByteReader reader(file, where, end_record - kEnd64LocatorBytes);
  if (reader.number<uint32_t>() != kEnd64Locator) user_error("{}: the zip64 locator is missing", where);
  reader.skip(4);
  reader.seek(reader.number<uint64_t>());
  if (reader.number<uint32_t>() != kEnd64) user_error("{}: the zip64 end record is missing", where);
  reader.skip(8 + 2 + 2 + 4 + 4);
  Directory directory;
  const auto entries_here = reader.number<uint64_t>();
  directory.entries = reader.number<uint64_t>();
  directory.bytes = reader.number<uint64_t>();
  directory.begin = reader.number<uint64_t>();
  if (entries_here != directory.entries) user_error("{}: zip archives of several volumes cannot be read", where);
  return directory;
}

Directory read_end(std::span<const std::byte> file, const std::string& where) {
  const uint64_t position = find_end_record(file, where);
  ByteReader reader(file, where, position + 4);
  const auto disk = reader.number<uint16_t>();
  reader.skip(2 + 2);
  Directory directory;
  directory.entries = reader.number<uint16_t>();
  directory.bytes = reader.number<uint32_t>();
  directory.begin = reader.number<uint32_t>();
  const bool zip64 = directory.entries == kSeeEnd64 || directory.bytes == kSeeExtra || directory.begin == kSeeExtra;
  if (zip64) return read_end64(file, position, where);
  if (disk != 0) user_error("{}: zip archives of several volumes cannot be read", where);
  return directory;
}

struct CentralEntry {
  std::string_view name;
  uint16_t flags = 0, method = 0;
  uint64_t packed_size = 0, size = 0, local_header = 0;
};

// Replaces the 32-bit fields that only refer to the extra field; those present stand there in a fixed order.
void read_zip64_extra(std::string_view extra, CentralEntry& entry, const std::string& where) {
  ByteReader reader(std::as_bytes(std::span(extra)), where);
  while (reader.remaining() >= 4) {
    const auto id = reader.number<uint16_t>();
    const auto content = reader.text(reader.number<uint16_t>());
    if (id != kZip64Extra) continue;
    ByteReader fields(std::as_bytes(std::span(content)), where);
    for (uint64_t* field : {&entry.size, &entry.packed_size, &entry.local_header})
      if (*field == kSeeExtra) *field = fields.number<uint64_t>();
    return;
  }
}

CentralEntry read_central_entry(ByteReader& reader) {
  if (reader.number<uint32_t>() != kCentralHeader) user_error("{}: the zip directory is damaged", reader.where());
  CentralEntry entry;
  reader.skip(2 + 2);
  entry.flags = reader.number<uint16_t>();
  entry.method = reader.number<uint16_t>();
  reader.skip(2 + 2 + 4);
  entry.packed_size = reader.number<uint32_t>();
  entry.size = reader.number<uint32_t>();
  const auto name_bytes = reader.number<uint16_t>(), extra_bytes = reader.number<uint16_t>(),
             comment_bytes = reader.number<uint16_t>();
  reader.skip(2 + 2 + 4);
  entry.local_header = reader.number<uint32_t>();
  entry.name = reader.text(name_bytes);
  read_zip64_extra(reader.text(extra_bytes), entry, reader.where());
  reader.skip(comment_bytes);
  return entry;
}

// Where the content begins: only the local header knows how long its own name and extra field are.
uint64_t content_begin(std::span<const std::byte> file, const CentralEntry& entry, const std::string& where) {
  ByteReader reader(file, where, entry.local_header);
  if (reader.number<uint32_t>() != kLocalHeader)
    user_error("{}: zip entry '{}': its local header is missing", where, printable(entry.name));
  reader.skip(kLocalHeaderBytes - 4 - 4);
  const auto name_bytes = reader.number<uint16_t>(), extra_bytes = reader.number<uint16_t>();
  if (reader.text(name_bytes) != entry.name)
    user_error("{}: zip entry '{}': its local header has another name", where, printable(entry.name));
  reader.skip(extra_bytes);
  return reader.position();
}

ZipEntry located_entry(std::span<const std::byte> file, const CentralEntry& entry, const std::string& where) {
  if (entry.flags & kEncrypted) user_error("{}: zip entry '{}' is encrypted", where, printable(entry.name));
  if (entry.method != 0 || entry.packed_size != entry.size)
    user_error("{}: zip entry '{}' is compressed (method {}); only stored entries can be read in place", where,
               printable(entry.name), entry.method);
  const uint64_t begin = content_begin(file, entry, where);
  if (entry.size > file.size() - begin)
    throw UserError(fmt::format("{}: zip entry '{}'", where, printable(entry.name)), "size",
                    fmt::format("at most {}", file.size() - begin), std::to_string(entry.size));
  return {std::string(entry.name), begin, entry.size};
}

}  // namespace

bool looks_like_zip(std::span<const std::byte> file) {
  return file.size() >= 4 && ByteReader(file, "").number<uint32_t>() == kLocalHeader;
}

std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> file, const std::string& where) {
  const Directory directory = read_end(file, where);
  ByteReader reader(file, where, directory.begin);
  if (directory.bytes > reader.remaining() || directory.entries > directory.bytes / kCentralHeaderBytes)
    user_error("{}: the zip directory ({} entries in {} bytes) does not fit the file", where, directory.entries,
               directory.bytes);
  std::vector<ZipEntry> entries;
  entries.reserve(directory.entries);
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    entries.push_back(located_entry(file, read_central_entry(reader), where));
    if (!names.insert(entries.back().name).second)
      user_error("{}: two zip entries are named '{}'", where, printable(entries.back().name));
  }
  return entries;
}

}  // namespace espalier
