// Work on a pool's thread that nobody waits for, so that it leaves the processors to work that somebody waits for.
#pragma once

namespace perdure::io {

// While it lives the thread that made it has a nice value of 10 instead of its own; with what it starts meanwhile. Nothing
// where the kernel would not let it have its own back (no CAP_SYS_NICE). Destroyed on the same thread.
class Patience {
 public:
  enum class Wanted { kNo, kYes };
  explicit Patience(Wanted wanted);
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;
  ~Patience();

 private:
  int before_ = 0;
  bool patient_ = false;
};

}  // namespace perdure::io
