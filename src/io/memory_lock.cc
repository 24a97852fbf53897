#include "io/memory_lock.h"

#include <link.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <format>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/units.h"

namespace perdure::io {
namespace {

// Deep enough for a message's parser and a log line, with a sanitizer's larger frames; and little enough to be locked whole.
constexpr std::size_t kStackBytes = std::size_t{512} << 10;
// glibc's arenas are this large at most (HEAP_MAX_SIZE). What is larger serves other threads as well.
constexpr std::uintptr_t kMaxHeapBytes = std::uintptr_t{64} << 20;
constexpr std::size_t kMaxMapsBytes = std::size_t{16} << 20;

struct Range {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::size_t size() const { return end - begin; }
};

std::uintptr_t page_bytes() { return static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE)); }

std::unexpected<Error> fail_to_lock(std::string_view what, std::size_t bytes) {
  Error error = Error::last_errno(std::format("lock {} of {} in memory", format_bytes(Bytes{bytes}), what));
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  return fail(error.code(), std::format("{}; give the daemon CAP_IPC_LOCK or LimitMEMLOCK=infinity (it is {} now)", error.message(),
                                        limit.rlim_cur == RLIM_INFINITY ? "infinite" : format_bytes(Bytes{limit.rlim_cur})));
}

struct Mapping {
  Range range;
  bool reserved = false;  // no access: to be grown into
  bool shared_heap = false;
};

template <typename Number>
bool take_hex(std::string_view& text, char end, Number& into) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), into, 16);
  if (parsed.ec != std::errc() || parsed.ptr == text.data() + text.size() || *parsed.ptr != end) return false;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()) + 1);
  return true;
}

// "7f12-7f34 rw-p 00000000 00:00 0    [heap]", proc_pid_maps(5).
std::optional<Mapping> parse_mapping(std::string_view line) {
  Mapping mapping;
  if (!take_hex(line, '-', mapping.range.begin) || !take_hex(line, ' ', mapping.range.end)) return std::nullopt;
  mapping.reserved = line.starts_with("---p");
  mapping.shared_heap = line.ends_with("[heap]");
  return mapping;
}

// The mapping that contains `address`, with what is reserved right behind it.
Result<Mapping> mapping_of(std::uintptr_t address) {
  PERDURE_ASSIGN(const std::string maps, read_file("/proc/self/maps", kMaxMapsBytes));
  std::optional<Mapping> found;
  for (std::string_view rest = maps; !rest.empty();) {
    const std::size_t end = rest.find('\n');
    const auto mapping = parse_mapping(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!mapping) continue;
    if (found) {
      if (mapping->reserved && mapping->range.begin == found->range.end) found->range.end = mapping->range.end;
      return *found;
    }
    if (address >= mapping->range.begin && address < mapping->range.end) found = mapping;
  }
  if (found) return *found;
  return fail(ErrorCode::kUnsupported, "find this thread's heap in '/proc/self/maps'");
}

std::vector<Range> loaded_segments() {
  std::vector<Range> segments;
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* into) {
        const std::uintptr_t page = page_bytes();
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const ElfW(Phdr)& header = object->dlpi_phdr[i];
          if (header.p_type != PT_LOAD || header.p_memsz == 0) continue;
          const std::uintptr_t begin = object->dlpi_addr + header.p_vaddr;
          const Range range{begin / page * page, (begin + header.p_memsz + page - 1) / page * page};
          static_cast<std::vector<Range>*>(into)->push_back(range);
        }
        return 0;
      },
      &segments);
  return segments;
}

}  // namespace

LockedStack::~LockedStack() {
  if (!mapping_.empty()) ::munmap(mapping_.data(), mapping_.size());
}

Status LockedStack::map() {
  const std::size_t guard = page_bytes();
  void* const memory = ::mmap(nullptr, guard + kStackBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return fail_errno(std::format("map a stack of {} bytes", kStackBytes));
  mapping_ = {static_cast<std::byte*>(memory), guard + kStackBytes};
  if (::mprotect(memory, guard, PROT_NONE) != 0) return fail_errno("guard a stack");
  usable_ = mapping_.subspan(guard);
  return {};
}

Status LockedStack::lock() {
  if (::mlock(usable_.data(), usable_.size()) != 0) return fail_to_lock("the stack", usable_.size());
  return {};
}

Status lock_code() {
  std::size_t bytes = 0;
  const std::vector<Range> segments = loaded_segments();
  for (const Range& range : segments) bytes += range.size();
  for (const Range& range : segments) {
    // Gaps that the linker left between segments are no memory; what is in them cannot be run.
    if (::mlock(reinterpret_cast<void*>(range.begin), range.size()) != 0) return fail_to_lock("program and libraries", bytes);
  }
  return {};
}

Status lock_own_heap() {
  // As small as no allocator would map for itself.
  const std::unique_ptr<std::byte> probe(new std::byte{});
  PERDURE_ASSIGN(const Mapping heap, mapping_of(reinterpret_cast<std::uintptr_t>(probe.get())));
  if (heap.shared_heap || heap.range.size() > kMaxHeapBytes) {
    return fail(ErrorCode::kUnsupported,
                "lock the heap of this thread: malloc serves it from one that the whole process uses");
  }
  // Not before it is touched: most of it is address space only.
  if (::mlock2(reinterpret_cast<void*>(heap.range.begin), heap.range.size(), MLOCK_ONFAULT) != 0) {
    return fail_to_lock("the heap", heap.range.size());
  }
  return {};
}

}  // namespace perdure::io
