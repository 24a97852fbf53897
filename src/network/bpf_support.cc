#include "network/bpf_support.h"

#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <format>

namespace perdure::network {
namespace {

// The end of a verifier log says why; its beginning is long.
constexpr std::size_t kTailBytes = 600;
constexpr std::size_t kCollectedBytes = 64 << 10;

std::size_t entry_bytes() {
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

thread_local BpfLog* BpfLog::current_ = nullptr;

BpfLog::BpfLog() : outer_(current_) {
  current_ = this;
  libbpf_set_print([](libbpf_print_level level, const char* format, va_list arguments) {
    return collect(static_cast<int>(level), format, arguments);
  });
}

BpfLog::~BpfLog() {
  current_ = outer_;
}

int BpfLog::collect(int level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG || current_ == nullptr) return 0;
  char line[4096];
  const int size = std::vsnprintf(line, sizeof line, format, arguments);
  current_->text_ += line;
  if (current_->text_.size() > kCollectedBytes) current_->text_.erase(0, kCollectedBytes / 2);
  return size;
}

Error BpfLog::error(std::string_view what, int error_number) const {
  std::string tail = text_.size() > kTailBytes ? text_.substr(text_.size() - kTailBytes) : text_;
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  for (char& c : tail) c = c == '\n' ? ' ' : c;
  std::string message = std::format("{}: {}", what, std::strerror(error_number));
  if (!tail.empty()) message += std::format(" ({})", tail);
  switch (error_number) {
    case EPERM:
    case EACCES:
      return Error(ErrorCode::kPermission, std::move(message));
    case ENODEV:
    case ENXIO:
      return Error(ErrorCode::kNotFound, std::move(message));
    case ENOMEM:
    case E2BIG:
      return Error(ErrorCode::kNoSpace, std::move(message));
    case EAGAIN:
    case EINTR:
      return Error(ErrorCode::kTransient, std::move(message));
    default:
      return Error(ErrorCode::kUnsupported, std::move(message));
  }
}

Result<pd_gate_entry*> map_gate_entry(int map_fd) {
  void* at = ::mmap(nullptr, entry_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
  if (at == MAP_FAILED) return fail_errno("map the gate's entry");
  return static_cast<pd_gate_entry*>(at);
}

void unmap_gate_entry(pd_gate_entry* entry) {
  if (entry != nullptr) ::munmap(entry, entry_bytes());
}

}  // namespace perdure::network
