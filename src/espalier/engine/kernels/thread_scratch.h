// Memory of the calling thread for x in another form.
#pragma once

#include <cstddef>

namespace espalier {

// Aligned to 64 bytes; grows with the largest product that this thread has seen.
void* thread_scratch(size_t bytes);

}  // namespace espalier
