// Room in lists that grow a little at each step of decoding, so that hardly any step allocates.
#pragma once

#include <cstddef>
#include <vector>

namespace espalier {

// For n entries; when there is none, for half as many more. What is in the list stays.
template <typename T>
void make_room(std::vector<T>& list, size_t n) {
  if (n > list.capacity()) list.reserve(n + n / 2);
}

}  // namespace espalier
