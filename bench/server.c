// The service of bench/recovery. Usage: server PORT MEGABYTES. Its answers tell one life from another, and what was restored from
// what went on: both numbers are in memory only.
//
//   pid    the number that was drawn when the program began
//   get    a counter
//   incr   adds one and answers it
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t life;
static uint64_t count;

static void fail(const char* what) {
  perror(what);
  exit(1);
}

/* Every page is resident, and no two are the same nor can they be compressed. */
static void fill(size_t megabytes) {
  const size_t bytes = megabytes << 20;
  if (bytes == 0) return;
  uint64_t* words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (words == MAP_FAILED) fail("mmap");
  uint64_t state = life | 1;
  for (size_t i = 0; i < bytes / sizeof *words; ++i) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;  // xorshift64
    words[i] = state;
  }
}

static int listen_at(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  if (listener < 0 || bind(listener, (const struct sockaddr*)&at, sizeof at) != 0 || listen(listener, 256) != 0) fail("listen");
  return listener;
}

/* A question is one short line, which comes in one piece. */
static void answer(int connection) {
  char text[64];
  const ssize_t size = recv(connection, text, sizeof text - 1, 0);
  if (size <= 0) {
    close(connection);
    return;
  }
  text[size] = 0;
  if (strncmp(text, "incr", 4) == 0) ++count;
  const int length = snprintf(text, sizeof text, "%llu\n", (unsigned long long)(strncmp(text, "pid", 3) == 0 ? life : count));
  send(connection, text, (size_t)length, MSG_NOSIGNAL);
}

int main(int argc, char** argv) {
  if (argc != 3) return fprintf(stderr, "usage: server PORT MEGABYTES\n"), 2;
  if (getrandom(&life, sizeof life, 0) != sizeof life) fail("getrandom");
  fill(strtoul(argv[2], NULL, 10));
  const int listener = listen_at(atoi(argv[1]));
  const int events = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(events, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    if (epoll_wait(events, &event, 1, -1) != 1) continue;
    if (event.data.fd != listener) {
      answer(event.data.fd);
      continue;
    }
    const int connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    event = (struct epoll_event){.events = EPOLLIN, .data.fd = connection};
    if (connection >= 0) epoll_ctl(events, EPOLL_CTL_ADD, connection, &event);
  }
}
