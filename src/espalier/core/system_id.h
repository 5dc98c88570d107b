// Ids of the survey's systems: a number of two digits and a word ("19-duoattention"); those of baselines are words.
#pragma once

#include <cctype>
#include <string>

namespace espalier {

// "19" of "19-duoattention"; empty where there is none.
inline std::string system_number(const std::string& id) {
  return id.size() > 2 && id[2] == '-' && std::isdigit(static_cast<unsigned char>(id[0])) ? id.substr(0, 2) : "";
}

// An id is called by itself, by its number or by its word.
inline bool answers_to(const std::string& id, const std::string& asked) {
  const std::string number = system_number(id);
  return id == asked || (!number.empty() && (number == asked || id.substr(3) == asked));
}

}  // namespace espalier
