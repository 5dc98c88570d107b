// Learns a byte-level BPE vocabulary from text and writes it as a Hugging Face tokenizer.json.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace espalier {

struct BpeVocabulary {
  std::vector<std::string> tokens;                          // by id, in the byte-level alphabet; [0] is end of text
  std::vector<std::pair<std::string, std::string>> merges;  // in rank order
};

// Greedy most-frequent-pair merging (Sennrich et al. 2016) inside words; ties go to the pair that sorts first.
// vocab_size counts the end-of-text token, the 256 bytes and the merges. single_digits: no merge touches a digit.
BpeVocabulary train_bpe(const std::string& text, size_t vocab_size, bool single_digits = false);

void write_tokenizer(const BpeVocabulary& vocabulary, const std::filesystem::path& directory);

}  // namespace espalier
