// Private to the room: libbpf's messages, which carry the kernel's reasons, and its error numbers.
#pragma once

#include <cstdarg>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "network/gate_abi.h"

namespace perdure::network {

// While it lives, what libbpf prints on this thread is collected here instead of on standard error.
class BpfLog {
 public:
  BpfLog();
  ~BpfLog();
  BpfLog(const BpfLog&) = delete;
  BpfLog& operator=(const BpfLog&) = delete;

  // kUnsupported unless the number says something more specific; the last lines that libbpf had to
  // say.
  Error error(std::string_view what, int error_number) const;

 private:
  std::string text_;
  BpfLog* outer_;
  static int collect(int level, const char* format, va_list arguments);
  static thread_local BpfLog* current_;
};

Result<pd_gate_entry*> map_gate_entry(int map_fd);
void unmap_gate_entry(pd_gate_entry* entry);

}  // namespace perdure::network
