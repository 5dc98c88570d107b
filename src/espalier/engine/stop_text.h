// Text that ends before the first of some stop strings. What may become one is held back until it cannot.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace espalier {

class StopText {
 public:
  explicit StopText(std::vector<std::string> stops);  // empty strings are left out
  // The text that is now certain to be shown. Nothing more once stopped().
  std::string push(std::string_view piece);
  bool stopped() const { return stopped_; }
  std::string finish();  // what was held back, when no more comes

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace espalier
