// Loaded into a CRIU (LD_PRELOAD) that waits for a restore (criu_standby.h).
//
// It stops before main(), linked and a member of the container's v1 cgroups, until its order comes. Then it has
// a twin: born in the container's v2 cgroup (CLONE_INTO_CGROUP), a child of perdured (CLONE_PARENT), which goes
// on to main(). So nothing that costs milliseconds is left for the time in which the container is dead: neither
// exec and dynamic linking, nor the RCU grace period of moving a process between cgroups.
//
// There, what CRIU reads into fresh memory of the container goes faster: the pages are made in one call instead of
// one fault each (200 MB through a pipe: 75 ms instead of 127 ms).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "capsule/criu/standby_order.h"

enum { DESCRIPTORS = PERDURE_STANDBY_TARGETS + 1 };

// The number of descriptors, the cgroup's first; -1: nobody will ever ask, or what came is no order.
static int receive_order(int socket, struct perdure_standby_order* order, int* descriptors) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS)];
  } control;
  struct iovec data = {order, sizeof(*order)};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
  ssize_t got;
  do {
    got = recvmsg(socket, &message, 0);
  } while (got < 0 && errno == EINTR);
  const struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (got != sizeof(*order) || header == NULL || header->cmsg_type != SCM_RIGHTS) return -1;
  const int count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  if (order->count > PERDURE_STANDBY_TARGETS || count != (int)order->count + 1) return -1;
  memcpy(descriptors, CMSG_DATA(header), sizeof(int) * (size_t)count);
  return count;
}

static long bear(int cgroup) {
  struct clone_args arguments = {
      .flags = CLONE_PARENT | CLONE_INTO_CGROUP,
      .cgroup = (__u64)cgroup,
  };
  return syscall(SYS_clone3, &arguments, sizeof(arguments));
}

__attribute__((constructor)) static void wait_for_order(void) {
  const char* number = getenv(PERDURE_STANDBY_VARIABLE);
  if (number == NULL) return;  // a helper that CRIU runs
  const int socket = atoi(number);
  struct perdure_standby_order order;
  int descriptors[DESCRIPTORS];
  const int count = receive_order(socket, &order, descriptors);
  if (count < 0) _exit(0);
  const long twin = bear(descriptors[0]);
  if (twin > 0) _exit(0);
  if (twin == 0) setsid();  // before the answer, after which the process group of the other is killed
  const int answer = twin == 0 ? (int)syscall(SYS_getpid) : -errno;
  (void)!write(socket, &answer, sizeof(answer));
  if (twin < 0) _exit(0);
  // The numbers that came are the lowest free ones, the targets lie above them.
  for (int i = 1; i < count; ++i) {
    if (dup2(descriptors[i], order.targets[i - 1]) < 0) _exit(1);
  }
  for (int i = 0; i < count; ++i) close(descriptors[i]);
  close(socket);
  unsetenv(PERDURE_STANDBY_VARIABLE);
  unsetenv("LD_PRELOAD");
}

enum {
  PAGE_BYTES = 4096,
  WORTH_MAKING_BYTES = 4 * PAGE_BYTES,
  MAKE_AT_ONCE_BYTES = 1 << 20, /* what the pipe holds, and the cache: made, then filled */
};

// Pages of an image come through a pipe, of which any reader must take short counts.
ssize_t read(int fd, void* to, size_t size) {
  static ssize_t (*next)(int, void*, size_t);
  if (next == NULL) next = (ssize_t(*)(int, void*, size_t))dlsym(RTLD_NEXT, "read");
  struct stat info;
  if (size < WORTH_MAKING_BYTES || (uintptr_t)to % PAGE_BYTES != 0 || fstat(fd, &info) != 0 || !S_ISFIFO(info.st_mode))
    return next(fd, to, size);
  const size_t piece = size < MAKE_AT_ONCE_BYTES ? size : MAKE_AT_ONCE_BYTES;
  const int error = errno;
  madvise(to, piece & ~(size_t)(PAGE_BYTES - 1), MADV_POPULATE_WRITE);  // where it cannot, read() faults them in
  errno = error;
  return next(fd, to, piece);
}
