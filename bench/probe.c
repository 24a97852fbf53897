// A clock inside a container: sends a numbered reading of the monotonic clock each millisecond, and is outside of the
// program that is measured. Usage: probe ADDRESS PORT PROGRAM [ARGUMENT...]; PROGRAM takes over this process.
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void tick(const char* address, int port) {
  const int sender = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (sender < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1) {
    perror("probe");
    exit(1);
  }
  const uint64_t period = 1000000;
  uint64_t message[2] = {0, 0};
  uint64_t due = 0;
  for (;;) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    const uint64_t now = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    ++message[0];
    message[1] = now;
    sendto(sender, message, sizeof message, 0, (const struct sockaddr*)&to, sizeof to);
    due = due + period > now ? due + period : now + period;
    time = (struct timespec){.tv_sec = (time_t)(due / 1000000000u), .tv_nsec = (long)(due % 1000000000u)};
    /* No timer that has to be restored: what runc brings back with a periodic timerfd may never tick again. */
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
  }
}

int main(int argc, char** argv) {
  if (argc < 4) return fprintf(stderr, "usage: probe ADDRESS PORT PROGRAM [ARGUMENT...]\n"), 2;
  if (fork() == 0) tick(argv[1], atoi(argv[2]));
  execvp(argv[3], argv + 3);
  perror(argv[3]);
  return 127;
}
