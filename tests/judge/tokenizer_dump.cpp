// What the judge compares: tokenizer_dump MODEL FILE prints one JSON line {"ids", "plain_ids", "decoded"} for each
// text. FILE.jsonl: each line is a JSON string; any other file is one text.
#include <cstdio>
#include <filesystem>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/json.h"
#include "espalier/io/tokenizer.h"

namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 31;

std::vector<std::string> texts_of(const std::filesystem::path& path) {
  std::string content = espalier::read_file(path, kMaxBytes);
  if (path.extension() != ".jsonl") return {std::move(content)};
  std::vector<std::string> texts;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    texts.push_back(
        espalier::parse_json(std::string_view(content).substr(begin, end - begin), path.string()).get<std::string>());
    begin = end + 1;
  }
  return texts;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: tokenizer_dump MODEL FILE\n");
    return 2;
  }
  try {
    const auto tokenizer = espalier::Tokenizer::load(argv[1]);
    for (const std::string& text : texts_of(argv[2])) {
      const auto ids = tokenizer->encode(text);
      const espalier::Json line = {
          {"ids", ids}, {"plain_ids", tokenizer->encode(text, false)}, {"decoded", tokenizer->decode(ids)}};
      std::printf("%s\n", line.dump().c_str());
    }
  } catch (const espalier::UserError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  return 0;
}
