// Numbers and tables for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "espalier/core/json.h"

namespace espalier {

std::string human_count(double count);            // 260, 1.23 K, 4.56 M, 7.89 G
std::string human_bytes(uint64_t bytes);          // 512 B, 1.2 KB (of 1000), 3.4 MB
std::string change(double before, double after);  // "-50.0 %"
std::string shown(const Json& value);             // a scalar, or a short list, as one word; "-" for null

// Columns as wide as their widest cell; numbers to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string str() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "key  value" lines of an object whose shape the caller does not know in detail; lists of objects become tables.
std::string describe_object(const Json& object, int indent = 0);

}  // namespace espalier
