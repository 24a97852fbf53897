// Loaded into CRIU (LD_PRELOAD) while it dumps a container whose memory is tracked.
//
// CRIU asks the kernel which pages of a mapping exist (PAGEMAP_SCAN) and then reads every one of them while
// the container is frozen. Mappings under asynchronous write protection are Perdure's own business: it
// knows which of their pages changed and reads only those (page_tracker.h). So the answer that CRIU gets
// leaves them out. Both sides take the same question to the kernel, "is this page in a mapping under
// asynchronous write protection?", so no page can fall between them.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>

#include "capsule/criu/pagemap_scan.h"

typedef int (*ioctl_function)(int, unsigned long, void*);

int ioctl(int fd, unsigned long request, ...) {
  static ioctl_function next;
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  if (next == NULL) next = (ioctl_function)dlsym(RTLD_NEXT, "ioctl");
  if (request != PERDURE_PAGEMAP_SCAN) return next(fd, request, argument);

  struct perdure_pm_scan_arg* scan = argument;
  const __u64 inverted = scan->category_inverted;
  const __u64 mask = scan->category_mask;
  scan->category_inverted |= PERDURE_PAGE_IS_WPALLOWED;
  scan->category_mask |= PERDURE_PAGE_IS_WPALLOWED;
  const int result = next(fd, request, argument);
  scan->category_inverted = inverted;
  scan->category_mask = mask;
  return result;
}
