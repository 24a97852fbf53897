// A clock inside a container: sends a numbered reading of the monotonic clock each millisecond, and is outside of the
// program that is measured. Usage: probe ADDRESS PORT PROGRAM [ARGUMENT...]; PROGRAM takes over this process.
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static void tick(const char* address, int port) {
  const int sender = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  const struct itimerspec period = {{0, 1000000}, {0, 1000000}};
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  if (sender < 0 || timer < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
      timerfd_settime(timer, 0, &period, NULL) != 0) {
    perror("probe");
    exit(1);
  }
  uint64_t message[2] = {0, 0};
  for (;;) {
    uint64_t expired;
    if (read(timer, &expired, sizeof expired) < 0) continue;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ++message[0];
    message[1] = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    sendto(sender, message, sizeof message, 0, (const struct sockaddr*)&to, sizeof to);
  }
}

int main(int argc, char** argv) {
  if (argc < 4) return fprintf(stderr, "usage: probe ADDRESS PORT PROGRAM [ARGUMENT...]\n"), 2;
  if (fork() == 0) tick(argv[1], atoi(argv[2]));
  execvp(argv[3], argv + 3);
  perror(argv[3]);
  return 127;
}
