// Libraries that end the process themselves: OpenBLAS and OpenMP call exit() where they get no memory or no thread.
#pragma once

#include <functional>

namespace espalier {

// While one lives, an exit() that nobody of ours called runs clean_up, of the newest first, says in one line what happened
// and ends with exit code 2. The program itself returns from main() instead, when none lives any more.
class ForeignExit {
 public:
  explicit ForeignExit(std::function<void()> clean_up);
  ~ForeignExit();
  ForeignExit(const ForeignExit&) = delete;
  ForeignExit& operator=(const ForeignExit&) = delete;

 private:
  static void put_in_order();

  std::function<void()> clean_up_;
  ForeignExit* outer_;
};

}  // namespace espalier
