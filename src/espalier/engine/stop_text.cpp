#include "espalier/engine/stop_text.h"

#include <algorithm>
#include <utility>

namespace espalier {

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) { std::erase(stops_, ""); }

std::string StopText::push(std::string_view piece) {
  if (stopped_) return "";
  held_ += piece;
  // The one that is complete first, so that it does not matter in which pieces the text comes.
  std::pair<size_t, size_t> first{std::string::npos, 0};  // its end, its begin
  for (const std::string& stop : stops_)
    if (const size_t at = held_.find(stop); at != std::string::npos) first = std::min(first, {at + stop.size(), at});
  if (first.first != std::string::npos) {
    stopped_ = true;
    return held_.substr(0, first.second);
  }
  // The longest end of the text that begins some stop string waits.
  size_t waiting = 0;
  for (const std::string& stop : stops_)
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > waiting; --n)
      if (held_.ends_with(std::string_view(stop).substr(0, n))) waiting = n;
  const std::string certain = held_.substr(0, held_.size() - waiting);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopText::finish() { return stopped_ ? "" : std::exchange(held_, ""); }

}  // namespace espalier
