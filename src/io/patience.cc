#include "io/patience.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

namespace perdure::io {
namespace {

constexpr int kNice = 10;

bool set_nice(int value) { return ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), value) == 0; }

// Raising it by one is always allowed; lowering it again is not.
bool may_return(int own) {
  static const bool kMay = [own] { return set_nice(own + 1) && set_nice(own); }();
  return kMay;
}

}  // namespace

Patience::Patience(Wanted wanted) {
  if (wanted == Wanted::kNo) return;
  errno = 0;
  before_ = ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()));
  if (errno != 0 || before_ >= kNice || !may_return(before_)) return;
  patient_ = set_nice(kNice);
}

Patience::~Patience() {
  if (patient_) set_nice(before_);
}

}  // namespace perdure::io
