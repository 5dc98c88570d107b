#include "espalier/core/foreign_exit.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace espalier {
namespace {

ForeignExit* newest = nullptr;

}  // namespace

// Each registers anew, so that what libraries loaded before it have to take down is still there.
ForeignExit::ForeignExit(std::function<void()> clean_up) : clean_up_(std::move(clean_up)), outer_(std::exchange(newest, this)) {
  std::atexit(put_in_order);
}

ForeignExit::~ForeignExit() { newest = outer_; }

void ForeignExit::put_in_order() {
  if (!newest) return;
  for (const ForeignExit* each = std::exchange(newest, nullptr); each; each = each->outer_) each->clean_up_();
  std::fputs("espalier: error: not enough memory or threads: a library ended the program; what it said stands before this line\n", stderr);
  ::_exit(2);
}

}  // namespace espalier
