// Small random damage to good files, the same for the same seed.
#pragma once

#include <string>
#include <vector>

#include "espalier/core/rng.h"

namespace espalier::fuzz {

inline void damage_once(std::string& bytes, Rng& rng) {
  static const std::vector<std::string> kTokens{"0",
                                                "-1",
                                                "9223372036854775807",
                                                "18446744073709551615",
                                                "1e9",
                                                "null",
                                                "{}",
                                                "[]",
                                                "\"\"",
                                                "\"a\"",
                                                "}",
                                                "]",
                                                ",",
                                                std::string(8, '\xff'),
                                                std::string(8, '\0'),
                                                "\xff\xff\xff\x7f",
                                                std::string("\x00\x00\x00\x80", 4),
                                                "h\x01",
                                                "}q\x01",
                                                "(",
                                                "R",
                                                "\x86"};
  const size_t at = bytes.empty() ? 0 : rng.below(bytes.size());
  switch (bytes.empty() ? 5 : rng.below(6)) {
    case 0:
      bytes[at] = static_cast<char>(rng.below(256));
      break;
    case 1:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << rng.below(8)));
      break;
    case 2:
      bytes.erase(at, 1 + rng.below(8));
      break;
    case 3:
      bytes.insert(at, bytes, rng.below(bytes.size()), 1 + rng.below(16));
      break;
    case 4:
      bytes.resize(at);
      break;
    default: {
      const std::string& token = kTokens[rng.below(kTokens.size())];
      if (rng.below(2) == 0) {
        bytes.insert(at, token);
      } else {
        bytes.replace(at, token.size(), token);
      }
    }
  }
}

// One to four damages of one of the seeds.
inline std::string damaged(const std::vector<std::string>& seeds, Rng& rng) {
  std::string bytes = seeds[rng.below(seeds.size())];
  for (uint64_t i = 0; i <= rng.below(4); ++i) damage_once(bytes, rng);
  return bytes;
}

}  // namespace espalier::fuzz
