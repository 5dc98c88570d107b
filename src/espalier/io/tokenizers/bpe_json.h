// Merges written as text, checked against a vocabulary.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "espalier/io/tokenizers/bpe.h"

namespace espalier::tok {

using MergePair = std::pair<std::string, std::string>;

// "a b", the merge number `index` of `where`.
MergePair split_merge(const std::string& text, size_t index, const std::string& where);

// The rank of a merge is its index. UserError naming the merge whose halves or whose result are no tokens.
PairTable merge_table(const Vocab& vocab, const std::vector<MergePair>& merges, const std::string& continuing_prefix,
                      const std::string& where);

}  // namespace espalier::tok
